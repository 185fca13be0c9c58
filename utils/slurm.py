#!/usr/bin/env -S python3 -I -S
"""Runs jobs through Slurm, as one array for each attempt. The command line is that of utils/jobs.py.

Partition, account and the like: --native=--partition=NAME, or Slurm's own SBATCH_PARTITION and so on.
What squeue says decides only whether a task is gone; a controller that cannot be reached decides nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import job_logs, jobs

CHUNK = 1000  # tasks in one array: Slurm's MaxArraySize is 1001 unless the site has raised it
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
UNKNOWN = "no longer known to Slurm"


class Slurm(jobs.Scheduler):
    """Submits arrays with sbatch and looks after them with squeue."""

    def __init__(self, job: jobs.Job, script: Path) -> None:
        super().__init__(job, script)
        self.offsets: dict[str, int] = {}  # of each array: its job id, and what to add to its indices

    def submit(self, tasks: list[int], attempt: int) -> None:
        self.offsets = {}
        for offset in sorted({(task - 1) // CHUNK * CHUNK for task in tasks}):
            indices = [task - offset for task in tasks if 0 < task - offset <= CHUNK]
            answer = jobs.submit("sbatch", *self.options(indices), str(self.script), str(attempt), str(offset))
            self.offsets[answer.partition(";")[0]] = offset

    def options(self, indices: list[int]) -> list[str]:
        job = self.job
        limit = f"%{job.max_jobs_run}" if job.max_jobs_run else ""
        output = str(job.scheduler_log).replace("%", "%%")
        words = ["--parsable", "--export=ALL", "--open-mode=append", f"--job-name={job.name}"]
        words += [f"--output={output}", f"--array={job_logs.format_ranges(indices)}{limit}"]
        words += [f"--mem={job.mem}"] if job.mem else []
        words += [f"--time={-(-job.seconds // 60)}"] if job.seconds else []
        words += [f"--cpus-per-task={job.num_threads}"] if job.num_threads else []
        words += [f"--gres=gpu:{job.gpu}"] if job.gpu else []
        return words + job.native

    def gone(self, tasks: set[int]) -> dict[int, str]:
        query = ["-h", "-r", "-t", "all", "-o", "%F|%K|%T|%r", "-j", ",".join(self.offsets)]
        answer = jobs.ask("squeue", *query, patience=self.patience)
        if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
            self.say(f"squeue: {answer.stderr.strip()}; the jobs may well run, waiting")
            return {}
        found = dict.fromkeys(tasks, UNKNOWN)
        for line in answer.stdout.splitlines():
            array, index, state, reason = line.split("|", 3)
            if array in self.offsets and index.isdecimal():
                task = int(index) + self.offsets[array]
                if state in ENDED:
                    found[task] = f"{state}, {reason}"
                else:
                    found.pop(task, None)
        return {task: how for task, how in found.items() if task in tasks}

    def cancel(self) -> None:
        if self.offsets:
            jobs.ask("scancel", *self.offsets)


if __name__ == "__main__":
    jobs.run("slurm.py", Slurm)
