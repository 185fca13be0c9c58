"""Logs of the jobs of run.py, slurm.py and sge.py: shown while they grow, quoted when a job failed."""

from __future__ import annotations

import sys
from pathlib import Path

TAIL_LINES = 15
TAIL_LOGS = 3


class Follower:
    """Copies to stderr what is added to logs."""

    def __init__(self, logs: list[Path]) -> None:
        self.offsets = {log: log.stat().st_size if log.exists() else 0 for log in logs}

    def copy(self) -> None:
        """Copies what is new since the last call."""
        for log, offset in self.offsets.items():
            if log.exists():
                with log.open("rb") as file:
                    file.seek(offset)
                    text = file.read()
                self.offsets[log] += len(text)
                sys.stderr.buffer.write(text)
        sys.stderr.flush()


def format_ranges(tasks: list[int]) -> str:
    """1, 2, 3, 7 -> 1-3,7"""
    ranges: list[list[int]] = []
    for task in sorted(tasks):
        if ranges and task == ranges[-1][1] + 1:
            ranges[-1][1] = task
        else:
            ranges.append([task, task])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def report(program: str, logs: dict[int, Path], results: dict[int, int | str], scheduler_log: Path) -> None:
    """Says on stderr which jobs failed, and what the first of them wrote last into which log.

    `results` has an exit status, or in words how the task was lost, for each of the last attempt's tasks;
    when one was lost, the last words of the scheduler are shown as well.
    """
    failed = sorted(task for task, result in results.items() if result != 0)
    which = "job failed" if len(logs) == 1 else f"{len(failed)} / {len(logs)} jobs failed ({format_ranges(failed)})"
    print(f"{program}: {which}, log is in {', '.join(str(logs[task]) for task in failed[:TAIL_LOGS])}", file=sys.stderr)
    for task in failed[:TAIL_LOGS]:
        result = results[task]
        cause = f"exit status {result}" if isinstance(result, int) else result
        print(f"--- {logs[task]} ({cause}) ends with:", *tail(logs[task]), sep="\n", file=sys.stderr)
    if any(isinstance(results[task], str) for task in failed) and scheduler_log.exists():
        print(f"--- {scheduler_log} ends with:", *tail(scheduler_log), sep="\n", file=sys.stderr)


def tail(log: Path) -> list[str]:
    """The last lines of a log; of a progress bar only its last state."""
    if not log.exists():
        return [f"(there is no {log}: the job did not start)"]
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines if line][-TAIL_LINES:]
