#!/usr/bin/env bash
# Makes the environments if need be and runs all tests: style, quick tests in parallel, the recipes from data
# to report, then the tests marked k2 in .venv-k2. All of it runs even when something fails.
#
# Usage: tests/run.sh [--no-k2] [pytest's options and paths, seen from the top of the repository ...]
#
#   --no-k2  leave out .venv-k2 and its tests (the package index has k2 for Python 3.10 and 3.11 alone)
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../path.sh"
cd -- "$RECIPE_ROOT"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

with_k2=true
paths=() options=()
for argument in "$@"; do
  case $argument in
    --no-k2) with_k2=false ;;
    --help | -h)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' tests/run.sh
      exit 0
      ;;
    *) if [[ -e ${argument%%::*} ]]; then paths+=("$argument"); else options+=("$argument"); fi ;;
  esac
done

reports=$(mktemp -d)
trap 'rm -rf -- "$reports"' EXIT
export RECIPE_K2_FIXTURE=$reports/k2 # the recipes' tests leave posteriors there for the tests of k2
failed=()

check() { # NAME COMMAND ...
  printf '\n== %s\n' "$1"
  "${@:2}" || failed+=("$1")
}

tests() { # NAME PYTHON ARGUMENT ...: one pytest run; to select nothing is no failure of one run among several
  printf '\n== %s\n' "$1"
  local status=0
  "$2" -m pytest --junitxml="$reports/$1.xml" "${@:3}" ${options[@]+"${options[@]}"} || status=$?
  if ((status != 0 && status != 5)); then failed+=("$1"); fi
}

# .venv-k2 lacks what other tests import, so only files that have tests for it are looked at there.
k2_tests() {
  local files=() roots=(tests)
  if ((${#paths[@]})); then roots=("${paths[@]%%::*}"); fi
  mapfile -d '' files < <(grep -rlZE --include='test_*.py' 'mark\.k2\b' "${roots[@]}" || true)
  if ((${#files[@]} == 0)); then return; fi
  if utils/setup_env.sh --k2; then
    tests k2 .venv-k2/bin/python3 -m k2 "${files[@]}"
  else
    failed+=("k2 (no environment; --no-k2 leaves it out)")
  fi
}

check "ruff check" ruff check --quiet .
check "ruff format" ruff format --check --quiet .
tests quick python3 -n 2 -m "not slow and not k2" ${paths[@]+"${paths[@]}"}
tests recipes python3 -m "slow and not k2" ${paths[@]+"${paths[@]}"}
if [[ $with_k2 == true ]]; then k2_tests; fi

# The last line sums up all runs in pytest's own words.
if ((${#failed[@]})); then printf '\nfailed: %s\n' "${failed[*]}"; fi
python3 - "$reports" "${#failed[@]}" <<'END'
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

suites = [suite for file in Path(sys.argv[1]).glob("*.xml") for suite in xml.parse(file).iter("testsuite")]
total = {key: sum(int(suite.get(key)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")}
bad = total["failures"], total["errors"]
words = [(bad[0], "failed"), (total["tests"] - sum(bad) - total["skipped"], "passed")]
words += [(total["skipped"], "skipped"), (bad[1], "errors")]
seconds = sum(float(suite.get("time")) for suite in suites)
summary = ", ".join(f"{count} {word}" for count, word in words if count) or "no tests ran"
print(f"==== {summary} in {seconds:.2f}s ====")
sys.exit(bool(int(sys.argv[2]) or not total["tests"]))
END
