# shellcheck shell=bash
# One task of a job: sourced by the script that utils/jobs.py writes (exp/x/q/NAME.sh), on whatever machine
# it runs. That script sets task, attempt, log, status, command and threads.
: "${task:?}" "${attempt:?}" "${log:?}" "${status:?}" "${command:?}" "${threads:?}"

# The command gets these signals too; here they only must not keep the end from being written down.
trap : INT TERM HUP
{
  printf '# %s\n' "${command//$'\n'/$'\n# '}"
  echo "# Host $HOSTNAME (attempt $attempt${CUDA_VISIBLE_DEVICES:+, GPU $CUDA_VISIBLE_DEVICES})"
  printf '# Started at %(%F %T)T\n#\n' -1
} >>"$log"

bash -e -o pipefail -c "$command" </dev/null >>"$log" 2>&1
code=$?

end="code $code"
((code <= 128)) || end+="; signal $((code - 128))"
newline=
[[ -z $(tail -c 1 "$log") ]] || newline=$'\n'
{
  echo "$newline# Accounting: time=$SECONDS threads=$threads"
  printf '# Ended (%s) at %(%F %T)T, elapsed time %d seconds\n' "$end" -1 "$SECONDS"
} >>"$log"
echo "$code" >"$status.part" && mv -f "$status.part" "$status"
exit "$code"
