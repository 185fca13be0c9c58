# shellcheck shell=bash
# The environment of every script here. Source it: . ../../../path.sh
#
# Sets RECIPE_ROOT, PATH and PYTHONPATH, and sees to it that `python3` has what requirements.txt asks for: that
# of the active environment if it does, else that of .venv, which utils/setup_env.sh makes when need be.
#   RECIPE_ENV=active  take the active environment as it is (another torch, a cluster's module)
#   ICEFALL=DIR        a checkout of icefall, for the comparisons with it

# Puts a value in front of a list with colons, unless it is there: sourcing this file twice changes nothing.
_recipe_prepend() { # VARIABLE VALUE
  case "${!1:-}:" in
    "$2":*) ;;
    *) printf -v "$1" '%s' "$2${!1:+:${!1}}" ;;
  esac
}

_recipe_environment() {
  local venv=$RECIPE_ROOT/.venv setup=$RECIPE_ROOT/utils/setup_env.sh
  if [[ ${RECIPE_ENV:-} == active ]]; then
    return 0
  fi
  if [[ $(command -v python3) != "$venv/bin/python3" ]]; then
    # Without an activated environment, a finished .venv is taken unasked: asking costs more than all the rest.
    if [[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || ! "$setup" --check; then
      if python3 "$RECIPE_ROOT/utils/requirements.py" >/dev/null 2>&1; then
        return 0
      fi
    fi
    PATH=$venv/bin:$PATH
  fi
  "$setup" --check || "$setup"
}

_recipe_path() {
  RECIPE_ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P) || return
  if [[ -n ${ICEFALL:-} && ! -d $ICEFALL ]]; then
    echo "path.sh: ICEFALL=$ICEFALL is not a directory; expected a checkout of icefall" >&2
    return 1
  fi
  _recipe_prepend PYTHONPATH "$RECIPE_ROOT${ICEFALL:+:$ICEFALL}"
  export RECIPE_ROOT PATH PYTHONPATH PYTHONSAFEPATH=1
  # Waiting threads of torch spin, by default so long that on a machine with other work a training step takes
  # fifty times as long. This little costs a few per cent on a quiet machine.
  export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-2000}
  _recipe_environment || return
  _recipe_prepend PATH "$RECIPE_ROOT/utils"
}

_recipe_path
