# shellcheck shell=bash
# Options and stages of a recipe. Head of a run.sh, which then needs no options of its own for stages:
#
#   #!/usr/bin/env bash
#   # What the recipe does; --help prints this block and the options.
#   set -euo pipefail
#   cd "$(dirname "$0")"
#   corpus=aishell # aishell | mini
#   exp=           # where the models go [exp/CORPUS]
#   . ../../../utils/stage.sh                           # reads the command line
#   if stages_run; then . ../../../path.sh; fi          # --list-stages and --dry-run need no environment
#   . ../../../cmd.sh
#   exp=${exp:-exp/$corpus}
#
#   if stage 2 "features" --in "data/$corpus/recordings.jsonl.gz" conf/fbank.yaml --out "data/$corpus/cuts.jsonl.gz"; then
#     $train_cmd JOB=1:$nj "$exp/log/fbank.JOB.log" python3 -m steps.compute_fbank ...
#   fi
#
# `stage` closes the stage before it and decides whether this one runs; the end of the script closes the
# last one and prints a table. Numbers ascend and stand in the script as `if stage N "title"`. Each --in
# and --out takes files or directories as separate words. What is remembered is in $exp/.stages/NN.json.
# A recipe may add to stage_neutral the options that change no result, and set stage_summary_file to a
# file whose text is printed below the table of a successful run. stage_command is the command line.
#
# The script runs as a child of utils/processes.py, which ends everything it started on INT, TERM or HUP.

# The words of the command line, before the parser takes its share.
_stage_words=("$@")
_stage_utils=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

stage=            # run from this stage on, done or not
stop_stage=       # run no stage after this one
skip_stages=      # stages to leave out, as in "3 5"
resume=false      # run from the first stage that is not done
force=false       # run the selected stages again and replace what they made
list_stages=false # print each stage with its state (done, stale, failed, running, never) and end
dry_run=false     # print what would run, with inputs and outputs, and end
# shellcheck source-path=SCRIPTDIR source=parse_options.sh
. "$_stage_utils/parse_options.sh"

set -Eeuo pipefail
shopt -s inherit_errexit

printf -v stage_command '%q ' "./${0##*/}" "${_stage_words[@]}" # for a recipe that notes how a result was made
stage_command=${stage_command% }

stage_neutral=(nj ngpu cmd_backend stage stop_stage skip_stages resume force list_stages dry_run)
stage_summary_file=''
_stage_python=python3
_stage_numbers=() _stage_calls=() _stage_out=() _stage_outputs=() _stage_makers=() _stage_remade=()
_stage_current='' _stage_fd='' _stage_always=$force _stage_failure='' _stage_ran=0
declare -A _stage_title=() _stage_result=() _stage_seconds=() _stage_said=()

# Whether stages are to run, rather than to be listed.
stages_run() { [[ $list_stages == false && $dry_run == false ]]; }

_stage_say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

_stage_state() { "$_stage_python" -I -S "$_stage_utils/stage_state.py" "$@"; }

# Reads the stages from the text of the script, so that a wrong --stage is found before anything runs.
_stage_find() {
  local line
  _stage_script=$PWD/$0
  [[ $0 != /* ]] || _stage_script=$0
  [[ -r $_stage_script ]] || _stage_script=${OLDPWD-}/$0 # the script has changed its directory
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[[:space:]]*if[[:space:]]+stage[[:space:]]+(0|-?[1-9][0-9]*)[[:space:]]+(\"([^\"]*)\"|[^[:space:]]+) ]] || continue
    ((${#_stage_numbers[@]} == 0 || BASH_REMATCH[1] > _stage_numbers[-1])) ||
      { _stage_say "stage ${BASH_REMATCH[1]} stands after stage ${_stage_numbers[-1]}" && exit 2; }
    _stage_numbers+=("${BASH_REMATCH[1]}")
    _stage_title[${BASH_REMATCH[1]}]=${BASH_REMATCH[3]:-${BASH_REMATCH[2]}}
  done <"$_stage_script"
  ((${#_stage_numbers[@]} > 0)) || { _stage_say "there is no line: if stage N \"title\" ...; then" && exit 2; }
}

# Ends the script with status 2 unless NUMBER is one of its stages.
_stage_check_number() { # OPTION NUMBER
  [[ $2 =~ ^-?[0-9]+$ ]] || { _stage_say "$1 takes the number of a stage, not '$2'" && exit 2; }
  [[ " ${_stage_numbers[*]} " == *" $2 "* ]] ||
    { _stage_say "$1 $2: there is no such stage; the stages are ${_stage_numbers[*]}" && exit 2; }
}

# Works out which stages are selected; a selection of none is a mistake.
_stage_select() {
  local number
  [[ -z $stage ]] || _stage_check_number --stage "$stage"
  [[ -z $stop_stage ]] || _stage_check_number --stop-stage "$stop_stage"
  for number in ${skip_stages//,/ }; do _stage_check_number --skip-stages "$number"; done
  [[ -z $stage || $resume == false ]] || { _stage_say "give --stage or --resume, not both" && exit 2; }
  [[ -z $stage ]] || _stage_always=true
  for number in "${_stage_numbers[@]}"; do
    [[ $(_stage_mode "$number") != leave ]] && return
  done
  _stage_say "no stage is selected: --stage '$stage' --stop-stage '$stop_stage' --skip-stages '$skip_stages'"
  exit 2
}

# Prints leave, auto (run unless done) or always.
_stage_mode() { # NUMBER
  if (($1 < ${stage:-$1} || $1 > ${stop_stage:-$1})) || [[ " ${skip_stages//,/ } " == *" $1 "* ]]; then
    echo leave
  elif [[ $_stage_always == true ]]; then
    echo always
  else
    echo auto
  fi
}

# stage NUMBER TITLE [--in FILE...] [--out FILE...]: true if the stage is to run now.
# (Its variables start with _ because it reads the recipe's options, whose names it cannot know.)
stage() {
  local _number=$1 _title=$2 _mode _inputs=() _groups=(--options)
  shift 2
  [[ -v _stage_title[$_number] ]] || { _stage_say "write in one line: if stage $_number \"$_title\"" && exit 2; }
  _stage_close || exit 1
  _stage_title[$_number]=$_title
  _mode=$(_stage_mode "$_number")
  _stage_read_groups "$@"
  _stage_list_options
  _groups+=(--in "${_inputs[@]}" --out "${_stage_out[@]}")
  if ! stages_run; then
    _stage_calls+=(--stage "$_number" "$_title" "$_mode" "${_groups[@]}")
    return 1
  fi
  [[ -n $_stage_fd ]] || _stage_lock
  _stage_remember_outputs "$_number"
  [[ $_mode != leave ]] && _stage_begin "$_number" "$_title" "$_mode" || return 1
  [[ $resume == false ]] || _stage_always=true
  _stage_current=$_number
  _stage_remade+=("${_stage_out[@]}")
  _stage_ran=$((_stage_ran + 1))
  printf '\n%s stage %s: %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$_number" "$_title"
}

# Splits the words after the title into the array _inputs of `stage` and _stage_out.
_stage_read_groups() {
  local word group=''
  _stage_out=()
  for word in "$@"; do
    case $word in
      --in | --out) group=$word ;;
      *) case $group in
        --in) _inputs+=("$word") ;;
        --out) _stage_out+=("$word") ;;
        *) _stage_say "stage $_number: '$word' stands before --in or --out" && exit 2 ;;
      esac ;;
    esac
  done
}

# Adds NAME=VALUE of each option that may change results to the array _groups of `stage`.
_stage_list_options() {
  local _name
  for _name in "${option_names[@]}"; do
    [[ " ${stage_neutral[*]} " == *" $_name "* ]] || _groups+=("$_name=${!_name}")
  done
  _groups+=("arguments=$_stage_arguments")
}

# Creates $exp and takes its lock, once, before the first stage.
_stage_lock() {
  [[ -n ${exp-} ]] || { _stage_say "set exp, the directory of the experiment, before the first stage" && exit 2; }
  mkdir -p "$exp/.stages"
  exec {_stage_fd}<>"$exp/.lock"
  _stage_state lock "$_stage_fd" "$exp/.lock" "$RECIPE_SUPERVISOR" || { _stage_fd='' && exit 1; }
}

# Whether a stage runs, which is then noted; says why it does or what has changed since it did.
_stage_begin() { # NUMBER TITLE MODE
  local reply lines line
  reply=$(_stage_state begin "$exp/.stages" "$1" "$2" "$3" "${_groups[@]}" --remade "${_stage_remade[@]}") || exit 1
  mapfile -t lines <<<"$reply"
  for line in "${lines[@]:1}"; do
    [[ -n ${_stage_said[$line]-} ]] || _stage_say "$line"
    _stage_said[$line]=true
  done
  [[ ${lines[0]} != missing ]] || _stage_lacks_inputs "$1"
  [[ ${lines[0]} == run ]]
}

_stage_remember_outputs() { # NUMBER
  local path
  for path in "${_stage_out[@]}"; do
    _stage_outputs+=("$path") _stage_makers+=("$1")
  done
}

# Stops before the stage, naming for each missing input the stage that makes it.
_stage_lacks_inputs() { # NUMBER
  local path i maker
  for path in "${_inputs[@]}"; do
    [[ -e $path ]] && continue
    maker='which no stage before it makes: is the path right?'
    for i in "${!_stage_outputs[@]}"; do
      [[ $path != "${_stage_outputs[i]}" && $path != "${_stage_outputs[i]}"/* || ${_stage_makers[i]} == "$1" ]] ||
        maker="made by stage ${_stage_makers[i]}: --stage ${_stage_makers[i]} runs it"
    done
    _stage_say "stage $1 needs $path, $maker"
  done
  _stage_result[$1]=FAILED
  exit 1
}

# Closes the stage whose body has just come to its end, if there is one; false if outputs are missing.
_stage_close() {
  local path missing=()
  [[ -n $_stage_current ]] || return 0
  for path in "${_stage_out[@]}"; do [[ -e $path ]] || missing+=("$path"); done
  if ((${#missing[@]} > 0)); then
    _stage_failure="it ended without making ${missing[*]}"
    return 1
  fi
  _stage_end ok 'done'
}

_stage_end() { # RESULT STATE [KEY=VALUE...]
  _stage_result[$_stage_current]=$1
  _stage_seconds[$_stage_current]=$(_stage_state end "$exp/.stages" "$_stage_current" "${@:2}")
  _stage_current=''
}

_stage_print_table() {
  local number result width=5
  for number in "${_stage_numbers[@]}"; do
    ((width >= ${#_stage_title[$number]})) || width=${#_stage_title[$number]}
  done
  printf "\n%-5s  %-${width}s  %-7s  %9s\n" stage title result seconds
  for number in "${_stage_numbers[@]}"; do
    result=never
    [[ ! -e $(printf '%s/.stages/%02d.json' "$exp" "$number") ]] || result=skipped
    printf "%-5s  %-${width}s  %-7s  %9s\n" "$number" "${_stage_title[$number]}" \
      "${_stage_result[$number]-$result}" "${_stage_seconds[$number]-}"
  done
}

# Prints the recipe's own summary, unless it belongs to an earlier run and later stages were left out.
_stage_print_summary() {
  ((_stage_ran > 0)) ||
    printf '%s\n' "nothing to do: all selected stages are done (--stage N runs from stage N on again, --force all)"
  if [[ -s $stage_summary_file ]]; then
    [[ $(_stage_mode "${_stage_numbers[-1]}") == leave && ! $stage_summary_file -nt $exp/.lock ]] ||
      { echo && cat "$stage_summary_file"; }
  fi
}

# Runs at the end of the script, however it comes.
_stage_exit() { # STATUS
  local status=$1 failed=''
  trap - EXIT ERR
  trap '' INT TERM HUP
  set +e
  if ! stages_run; then
    ((status != 0)) || _stage_print_plan || status=$?
    exit "$status"
  fi
  [[ -n $_stage_fd ]] || exit "$status"
  ((status != 0)) || _stage_close || status=1
  if [[ -n $_stage_current ]]; then
    failed=$_stage_current
    _stage_end FAILED failed "exit_status=$status" "failure=$_stage_failure"
  fi
  _stage_print_table
  ((status != 0)) || _stage_print_summary
  [[ -z $failed ]] || _stage_say "stage $failed (${_stage_title[$failed]}) failed with status $status: ${_stage_failure:-exit}"
  flock -u "$_stage_fd"
  exit "$status"
}

_stage_print_plan() {
  if [[ $list_stages == true ]]; then
    _stage_state list "${exp:-}/.stages" "${_stage_calls[@]}"
  else
    _stage_state dry-run "$resume" "${exp:-}/.stages" "${_stage_calls[@]}"
  fi
}

_stage_signal() { # NAME STATUS
  _stage_failure="it was ended by SIG$1"
  exit "$2"
}

_stage_arguments=$*
[[ $force == false ]] || export RECIPE_FORCE=true
_stage_find
_stage_select
if stages_run; then
  if [[ ${RECIPE_SUPERVISOR-} != "$PPID" ]]; then
    _stage_trace=${-//[^x]/} # bash -x stays bash -x
    exec python3 -I -S "$_stage_utils/processes.py" "$BASH" ${_stage_trace:+-x} "$_stage_script" "${_stage_words[@]}"
  fi
  _stage_python=$RECIPE_PYTHON
fi
trap '_stage_failure="$BASH_COMMAND (${BASH_SOURCE[0]##*/}:$LINENO)"' ERR
trap '_stage_signal INT 130' INT
trap '_stage_signal TERM 143' TERM
trap '_stage_signal HUP 129' HUP
trap '_stage_exit $?' EXIT
