#!/usr/bin/env bash
# Makes the Python environment of this repository: .venv, with what requirements.txt asks for.
#
# Usage: utils/setup_env.sh [--k2] [--check]
#
#   --k2     make .venv-k2 instead: k2 with the older torch that the package index has it for (tests only)
#   --check  change nothing; exit 0 if the environment is up to date, 1 if not
#
# Does nothing when the environment is up to date. It may be interrupted at any moment: the environment counts
# only once its stamp is written, last of all; without it the next start builds it anew, from the installer's
# cache where that got. Needs Python 3.10 to 3.14 with its venv module, and a package index: the user's settings
# for pip and uv hold (uv does not read pip's, so they are handed on).
#   PYTHON=/path/to/python3  take this interpreter
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
environment=.venv
inputs=(requirements.txt constraints.txt)
optional=requirements-optional.txt
oldest=10 newest=14 # Python 3.x
size="3 GB to download, 5 GB on disk"
uv_version=0.13.8
use_uv=true
adopted=false
check=false

say() { printf 'setup_env: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# What the stamp of a finished environment holds: the place, since scripts in bin/ name it, and the requirements.
wanted() {
  printf '%s\n' "$env" && cat "${inputs[@]}"
  [[ $environment != .venv || ! -f $optional ]] || cat "$optional"
}
works() { [[ -x $env/bin/python3 ]] && "$env/bin/python3" -c '' 2>/dev/null; }
stamped() { [[ -f $stamp ]] && printf '%s' "$(<"$stamp")"; }
up_to_date() { [[ -x $env/bin/python3 && "$(stamped)" == "$(wanted)" ]]; }
satisfied() { "$env/bin/python3" -I utils/requirements.py "${inputs[0]}"; }

in_range() {
  local code="import sys; v = sys.version_info; sys.exit(not (v[0] == 3 and $oldest <= v[1] <= $newest))"
  "$1" -c "$code" 2>/dev/null
}

# The interpreter that makes the environment must not be the one in it, which may have to go.
leave_environment() {
  local path=:$PATH:
  while [[ $path == *":$env/bin:"* ]]; do path=${path//":$env/bin:"/:}; done
  path=${path#:}
  PATH=${path%:}
}

# Prints the first interpreter of the right version: PYTHON, or else one on the PATH.
find_python() {
  local minor candidate found candidates=("${PYTHON:-python3}")
  if [[ -z ${PYTHON:-} ]]; then
    for minor in 11 12 13 10 14; do candidates+=("python3.$minor"); done
  fi
  for candidate in "${candidates[@]}"; do
    if in_range "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  found=$("${candidates[0]}" --version 2>&1) || found="none"
  say "needs Python 3.$oldest to 3.$newest; ${candidates[0]} is: $found."
  if [[ $environment == .venv-k2 ]]; then
    die "the package index has k2 for these versions alone; for another, see what utils/doctor.py says of k2."
  fi
  die "install one (Debian: apt install python3 python3-venv), or name it: PYTHON=/path/to/python3 $0"
}

require_venv() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  local version
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  die "$1 has no venv module; install it (Debian, Ubuntu: apt install python$version-venv) and start again"
}

lock() {
  exec 9>"$env/.setup-lock"
  command -v flock >/dev/null || return 0
  flock -n 9 && return
  say "another setup_env.sh is making $env; waiting for it"
  flock 9
}

# Leaves an environment to install into. Whatever is there without a stamp of ours is either somebody's own
# or was interrupted, when nobody can say which files are missing.
prepare() {
  local state
  state=$(stamped) || state=""
  if [[ -z $state && -n $(find "$env" -mindepth 1 ! -name .setup-lock -print -quit) ]]; then
    if works && satisfied >&2; then
      say "$env was made by other means and has everything: taken as it is"
      adopted=true
      return
    fi
    die "$env exists, but this script did not make it, and it lacks what ${inputs[0]} asks for (above, if it runs)." \
      "Move it away, or activate it and run: pip install -r ${inputs[0]}"
  fi
  printf 'unfinished\n' >"$stamp"
  if [[ ${state%%$'\n'*} == "$env" ]] && works; then
    say "${inputs[0]} has changed: bringing $env up to date"
    return
  fi
  find "$env" -mindepth 1 -maxdepth 1 ! -name .setup-lock ! -name "${stamp##*/}" -exec rm -rf {} +
  say "making $env with $("$python" --version) ($python): $size"
  "$python" -m venv "$env"
}

# uv installs many times faster than pip, but knows nothing of pip.conf: a mirror named there counts for it too.
get_uv() {
  local index
  if ! "$env/bin/python3" -m pip install --quiet "uv==$uv_version"; then
    say "uv $uv_version cannot be had (above); installing with pip, which takes some minutes"
    use_uv=false
    return
  fi
  index=${PIP_INDEX_URL:-$("$env/bin/python3" -m pip config get global.index-url 2>/dev/null || true)}
  if [[ -n $index && -z ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} ]]; then
    export UV_DEFAULT_INDEX=$index
  fi
  if [[ -n ${PIP_CERT:-} ]]; then
    export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
  fi
}

install() {
  if [[ $use_uv == true ]]; then
    "$env/bin/uv" pip install --python "$env/bin/python3" "$@" && return
    say "uv could not (above); trying pip, which reads its own configuration"
    use_uv=false
  fi
  "$env/bin/python3" -m pip install "$@" && return
  die "cannot install (above). Is a package index within reach? A mirror is set with PIP_INDEX_URL or in pip.conf;" \
    "what was downloaded is kept, so start again when it is"
}

# Nothing that the recipes cannot do without; what it is for is said where it is missed.
install_optional() {
  [[ -f $optional ]] || return 0
  if [[ $use_uv == true ]]; then
    "$env/bin/uv" pip install --quiet --python "$env/bin/python3" -r "$optional" && return
  else
    "$env/bin/python3" -m pip install --quiet -r "$optional" && return
  fi
  say "$optional cannot be installed (above); going on without: scores will lack what it gives"
}

install_all() {
  if [[ $environment == .venv ]]; then
    install -r requirements.txt
    install_optional
    return
  fi
  grep '^k2==' requirements-k2.txt >"$env/k2.txt"
  grep -v '^k2==' requirements-k2.txt >"$env/others.txt"
  install --no-deps -r "$env/k2.txt"
  install -r "$env/others.txt"
  "$env/bin/python3" -c 'import k2' || die "k2 was installed into $env but does not import (above)"
}

while (($#)); do
  case $1 in
    --k2)
      environment=.venv-k2 inputs=(requirements-k2.txt) newest=11 size="2 GB to download, 4 GB on disk"
      ;;
    --check) check=true ;;
    --help | -h)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      say "unknown option '$1'; known: --k2 --check --help"
      exit 2
      ;;
  esac
  shift
done

cd -- "$root"
env=$root/$environment
stamp=$env/.made-from
unset PYTHONPATH PYTHONHOME # pip is to see the new environment alone
if [[ $check == true ]]; then
  up_to_date
  exit
fi
if up_to_date; then
  say "$env is up to date"
  exit 0
fi
leave_environment
python=$(find_python)
require_venv "$python"
mkdir -p -- "$env"
lock
if up_to_date; then # made while we waited
  say "$env is up to date"
  exit 0
fi
trap 'exit 130' INT # an interrupted installer must not send us on to the next one
trap 'exit 143' TERM
SECONDS=0
prepare
if [[ $adopted == false ]]; then
  get_uv
  install_all
  satisfied || die "$env still lacks the above, though the installer reported success"
fi
wanted >"$stamp.new"
mv -- "$stamp.new" "$stamp"
say "$env is ready ($SECONDS s)"
