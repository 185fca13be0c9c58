# shellcheck shell=bash
# Sourced by the stand-ins for sbatch and qsub: runs an array's tasks at once, in the background.
# Everything is noted in $FAKE_CLUSTER: the number of the last array, and ID.TASK.pid for each task.

# start_array VARIABLE RANGES OUTPUT SCRIPT...: sets array to the new array's number.
start_array() {
  local variable=$1 ranges=$2 output=$3 range task
  shift 3
  array=$(($(cat "$FAKE_CLUSTER/last" 2>/dev/null || echo 100) + 1))
  echo "$array" >"$FAKE_CLUSTER/last"
  for range in ${ranges//,/ }; do
    for ((task = ${range%-*}; task <= ${range#*-}; task++)); do
      env "$variable=$task" setsid bash "$@" </dev/null >>"$output" 2>&1 &
      echo $! >"$FAKE_CLUSTER/$array.$task.pid"
    done
  done
}

# is_alive ARRAY.TASK: whether the task still runs.
is_alive() { kill -0 "$(cat "$FAKE_CLUSTER/$1.pid")" 2>/dev/null; }

# end_array ARRAY: ends its tasks.
end_array() {
  local file
  for file in "$FAKE_CLUSTER/$1".*.pid; do kill -TERM -- "-$(cat "$file")" 2>/dev/null || true; done
}
