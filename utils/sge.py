#!/usr/bin/env -S python3 -I -S
"""Runs jobs through Grid Engine, as array jobs. The command line is that of utils/jobs.py.

Queue, project and the like: --native=-q --native=all.q. How a resource is asked for differs from site to
site: RESOURCES below is the place to change it. What qstat says decides only whether a task is gone.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import job_logs, jobs

RESOURCES = {
    "mem": ["-l", "mem_free={}"],
    "seconds": ["-l", "h_rt={}"],
    "num_threads": ["-pe", "smp", "{}"],
    "gpu": ["-l", "gpu={}"],
}


class GridEngine(jobs.Scheduler):
    """Submits arrays with qsub and looks after them with qstat."""

    def __init__(self, job: jobs.Job, script: Path) -> None:
        super().__init__(job, script)
        self.arrays: list[str] = []

    def submit(self, tasks: list[int], attempt: int) -> None:
        self.arrays = []
        for tasks_in_a_row in job_logs.format_ranges(tasks).split(","):
            answer = jobs.submit("qsub", *self.options(tasks_in_a_row), str(self.script), str(attempt), "0")
            self.arrays.append(answer.split()[-1].partition(".")[0])

    def options(self, tasks_in_a_row: str) -> list[str]:
        job = self.job
        words = ["-terse", "-V", "-cwd", "-S", "/bin/bash", "-N", f"j{job.name}", "-j", "y"]
        words += ["-o", str(job.scheduler_log), "-t", tasks_in_a_row]
        words += ["-tc", str(job.max_jobs_run)] if job.max_jobs_run else []
        for name, resource in RESOURCES.items():
            value = getattr(job, name)
            words += [word.format(value) for word in resource] if value else []
        return words + job.native

    def gone(self, tasks: set[int]) -> dict[int, str]:
        answer = jobs.ask("qstat", "-u", pwd.getpwuid(os.getuid()).pw_name, patience=self.patience)
        if answer.returncode != 0:
            self.say(f"qstat: {answer.stderr.strip()}; the jobs may well run, waiting")
            return {}
        found = dict.fromkeys(tasks, "no longer known to Grid Engine")
        for fields in map(str.split, answer.stdout.splitlines()):
            if fields and fields[0] in self.arrays:
                for task in read_tasks(fields[-1]) & tasks:
                    if "E" in fields[4]:
                        found[task] = f"in state {fields[4]}: qstat -j {fields[0]} -explain E says why"
                    else:
                        found.pop(task, None)
        return found

    def cancel(self) -> None:
        if self.arrays:
            jobs.ask("qdel", *self.arrays)


def read_tasks(text: str) -> set[int]:
    """The tasks of qstat's last column: 3 or 1,4 or 5-9:2."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, rest = part.partition("-")
        high, _, step = rest.partition(":")
        found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


if __name__ == "__main__":
    jobs.run("sge.py", GridEngine)
