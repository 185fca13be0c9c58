# shellcheck shell=bash
# Command-line options from a script's own defaults. Source it after the defaults:
#
#   nj=8             # parallel jobs
#   speed=1.0        # playing speed
#   skip_noise=false # leave the noise out
#   . utils/parse_options.sh
#
# Every `name=value` line that starts in the first column above the sourcing line is an option (lower
# case, set at that point); nothing else is, whatever the environment holds. `--some-name value` and
# `--some-name=value` set some_name. The default decides the type: true/false, integer, float, string;
# `--skip-noise` alone means true. `--config FILE` reads `name: value` or `name=value` lines, before
# the command line and never as shell. `--help` prints the script's first comment block and the comment
# of each option. Options come first; `--` ends them; the words left over stay in "$@". A mistake ends
# the script with status 2. When a file that was sourced sources this one, both blocks count.
#
# Leaves the array option_names. Variables inside start with `_`, which no option can.

# Prints why the command line is wrong and ends the script.
_options_fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# Reads the option block of FILE, which ends where NEXT is sourced, into names, types and help.
_options_scan() { # FILE NEXT main|common
  local _line _name _last='' _header=true _file=$1
  [[ -r $_file || $_file == /* ]] || _file=${OLDPWD-}/$_file # the script has changed its directory
  [[ -r $_file ]] || _options_fail "cannot read the option block of $1"
  while IFS= read -r _line || [[ -n $_line ]]; do
    [[ $_line =~ ^[[:space:]]*(\.|source)[[:space:]] && $_line == *"${2##*/}"* ]] && break
    if $_header && [[ $_line == '#'* ]]; then
      [[ $_line == '#!'* || $_line == '# shellcheck '* ]] && continue
      _line=${_line#'#'}
      [[ $3 == main ]] && _options_header+=("${_line# }")
      continue
    fi
    _header=false
    if [[ $_line =~ ^([a-z][a-z0-9_]*)=([^\(].*)?$ && -v ${BASH_REMATCH[1]} ]]; then
      _name=${BASH_REMATCH[1]}
      [[ -n ${_options_type[$_name]-} ]] || option_names+=("$_name")
      _options_describe "$_name" "${BASH_REMATCH[2]}"
      [[ $3 == main ]] || _options_common[$_name]=true
      _last=$_name
    elif [[ -n $_last && $_line =~ ^[[:space:]]+'#'[[:space:]]?(.*)$ ]]; then
      _options_help[$_last]+=$'\n'${BASH_REMATCH[1]}
    else
      _last=
    fi
  done <"$_file"
}

# Notes type, default and comment of the option NAME, whose line goes on with TEXT after the `=`.
_options_describe() { # NAME TEXT
  local _quoted="\"[^\"]*\"|'[^']*'|[^[:space:]]*"
  _options_default[$1]=${!1}
  if [[ ${!1} == true || ${!1} == false ]]; then
    _options_type[$1]=boolean
  elif [[ ${!1} =~ $_options_integer ]]; then
    _options_type[$1]=integer
  elif [[ ${!1} =~ $_options_float ]]; then
    _options_type[$1]=float
  else
    _options_type[$1]=string
  fi
  _options_help[$1]=
  if [[ $2 =~ ^($_quoted)[[:space:]]*('#'[[:space:]]*(.*))?$ ]]; then
    _options_help[$1]=${BASH_REMATCH[3]-}
  elif [[ $2 =~ ^.*[[:space:]]'#'[[:space:]]+(.*)$ ]]; then
    _options_help[$1]=${BASH_REMATCH[1]}
  fi
}

_options_print_help() {
  local _name
  ((${#_options_header[@]} == 0)) || printf '%s\n' "${_options_header[@]}" ''
  printf '%s\n' "Options (--name value or --name=value; the default stands in brackets):"
  for _name in "${option_names[@]}"; do
    [[ -n ${_options_common[$_name]-} ]] || _options_print_option "$_name"
  done
  printf '\n%s\n' "Common options:"
  for _name in "${option_names[@]}"; do
    [[ -z ${_options_common[$_name]-} ]] || _options_print_option "$_name"
  done
  printf '  %-20s %s\n' --config "read options from a file of 'name: value' lines; the command line wins" \
    --help "print this and exit"
}

_options_print_option() { # NAME
  local _text=${_options_help[$1]} _default=${_options_default[$1]:+[${_options_default[$1]}]} _first
  _first=${_text%%$'\n'*}
  printf '  %-20s %s\n' "--${1//_/-}" "$_first${_default:+${_first:+ }$_default}"
  [[ $_text == "$_first" ]] || printf '%23s%s\n' '' "${_text#*$'\n'}"
}

# Prints the option whose name takes the fewest edits from NAME (Levenshtein distance; a beginning counts as one).
_options_nearest() { # NAME
  local _name _best='' _least=1000 _i _j _row _previous _cost
  for _name in "${option_names[@]}" config help; do
    _row=()
    for ((_j = 0; _j <= ${#_name}; _j++)); do _row[_j]=$_j; done
    for ((_i = 1; _i <= ${#1}; _i++)); do
      _previous=("${_row[@]}")
      _row[0]=$_i
      for ((_j = 1; _j <= ${#_name}; _j++)); do
        _cost=1
        [[ ${1:_i-1:1} == "${_name:_j-1:1}" ]] && _cost=0
        ((_row[_j] = _previous[_j - 1] + _cost))
        ((_row[_j] <= _previous[_j] + 1)) || ((_row[_j] = _previous[_j] + 1))
        ((_row[_j] <= _row[_j - 1] + 1)) || ((_row[_j] = _row[_j - 1] + 1))
      done
    done
    [[ $_name != "$1"* ]] || _row[-1]=1
    ((_row[-1] >= _least)) || { _least=${_row[-1]} && _best=$_name; }
  done
  printf '%s' "--${_best//_/-}"
}

# Assigns VALUE to option NAME after checking it; WHERE is how the user wrote it.
_options_assign() { # NAME VALUE WHERE
  case ${_options_type[$1]} in
    boolean) [[ $2 == true || $2 == false ]] || _options_fail "$3 takes true or false, not '$2'" ;;
    integer) [[ $2 =~ $_options_integer ]] || _options_fail "$3 takes an integer, not '$2'" ;;
    float) [[ $2 =~ $_options_float ]] || _options_fail "$3 takes a number, not '$2'" ;;
  esac
  printf -v "$1" '%s' "$2"
}

# Ends the script unless NAME is an option; WHERE is how the user wrote it.
_options_check() { # NAME WHERE
  [[ $1 =~ ^[A-Za-z][A-Za-z0-9_]*$ && -n ${_options_type[$1]-} ]] ||
    _options_fail "unknown option $2; the nearest is $(_options_nearest "$1") (--help lists them all)"
}

_options_read_config() { # FILE
  local _line _key _value _number=0
  [[ -f $1 && -r $1 ]] || _options_fail "--config: cannot read the file '$1'"
  while IFS= read -r _line || [[ -n $_line ]]; do
    _number=$((_number + 1))
    _line=${_line%$'\r'}
    [[ $_line =~ ^[[:space:]]*('#'|$) ]] && continue
    [[ $_line =~ ^[[:space:]]*(--)?([A-Za-z][A-Za-z0-9_-]*)[[:space:]]*[:=][[:space:]]*(.*)$ ]] ||
      _options_fail "$1:$_number: expected 'name: value' or 'name=value', found '$_line'"
    _key=${BASH_REMATCH[2]} _value=${BASH_REMATCH[3]}
    if [[ $_value =~ ^\"([^\"]*)\"[[:space:]]*('#'.*)?$ || $_value =~ ^\'([^\']*)\'[[:space:]]*('#'.*)?$ ]]; then
      _value=${BASH_REMATCH[1]}
    else
      [[ $_value != '#'* ]] || _value=''
      _value=${_value%%[[:space:]]#*}
      _value=${_value%"${_value##*[![:space:]]}"}
    fi
    _options_check "${_key//-/_}" "$_key ($1:$_number)"
    _options_assign "${_key//-/_}" "$_value" "$_key ($1:$_number)"
  done <"$1"
}

# Goes through the command line: PASS config reads the --config files, PASS line sets the options.
_options_walk() { # PASS WORD...
  local _pass=$1 _word _name _value
  shift
  while (($# > 0)); do
    _word=${1%%=*}
    case $1 in
      --)
        shift
        _options_rest=("$@")
        return
        ;;
      -h | --help) _options_print_help && exit 0 ;;
      --?*) ;;
      -[A-Za-z]*) _options_check "${_word#-}" "$1" && _options_fail "write -$1, with two dashes" ;;
      *) break ;;
    esac
    _name=${_word#--} && _name=${_name//-/_}
    [[ $_name == config ]] || _options_check "$_name" "$_word"
    if [[ $1 == *=* ]]; then
      _value=${1#*=}
    elif [[ ${_options_type[$_name]-} == boolean && (-z ${2+set} || $2 == --* || $2 == -h) ]]; then
      _value=true
    else
      [[ -n ${2+set} && $2 != --* ]] || _options_fail "$_word lacks its value (a value that starts with -- is written $_word=VALUE)"
      _value=$2 && shift
    fi
    shift
    if [[ $_name == config ]]; then
      [[ $_pass == line ]] || _options_read_config "$_value"
    elif [[ $_pass == line ]]; then
      _options_assign "$_name" "$_value" "$_word"
    fi
  done
  _options_rest=("$@")
  for _word in "$@"; do
    [[ $_word != --?* ]] ||
      _options_fail "$_word comes after '$1': options first, or -- before words that are no options"
  done
}

# Notes what the option block of every file on the way from the script to here offers.
_options_collect() {
  local _i _room=main
  for ((_i = ${#BASH_SOURCE[@]} - 1; _i > 1; _i--)); do
    [[ ${BASH_SOURCE[_i]} == "${BASH_SOURCE[_i - 1]}" ]] && continue
    _options_scan "${BASH_SOURCE[_i]}" "${BASH_SOURCE[_i - 1]}" "$_room"
    _room=common
  done
}

_options_parse() {
  local _options_integer='^[-+]?[0-9]+$' _options_float='^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$'
  local -A _options_type=() _options_help=() _options_default=() _options_common=()
  local -a _options_header=()
  option_names=()
  _options_collect
  _options_walk config "$@"
  _options_walk line "$@"
}

_options_parse "$@"
set -- "${_options_rest[@]}"
