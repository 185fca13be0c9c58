#!/usr/bin/env -S python3 -I -S
"""Runs jobs on this machine. The command line is that of utils/jobs.py; --mem and --time have no effect here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import jobs, processes


class Local:
    """Starts each task in a session of its own, as many at a time as there are cores or GPUs for."""

    settle = 0.0

    def __init__(self, job: jobs.Job, script: Path) -> None:
        self.job, self.script = job, script
        self.longest_pause = 0.3 if job.show_output else 1.0
        self.gpus = find_gpus() if job.gpu else []
        if job.gpu and not self.gpus:
            print(f"{job.program}: no GPU here, --gpu {job.gpu} has no effect", file=sys.stderr)
        elif len(self.gpus) < job.gpu:
            raise jobs.UsageError(f"--gpu {job.gpu}, but there are only {len(self.gpus)}: {' '.join(self.gpus)}")
        cores = len(os.sched_getaffinity(0)) // (job.num_threads or 1)
        fitting = len(self.gpus) // job.gpu if self.gpus else max(1, cores)
        self.limit = min(job.max_jobs_run or fitting, fitting if self.gpus else len(job.tasks))
        self.waiting: list[int] = []
        self.attempt = 0
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.devices: dict[int, list[str]] = {}
        self.ended: dict[int, str] = {}

    def submit(self, tasks: list[int], attempt: int) -> None:
        self.waiting, self.attempt, self.ended = list(tasks), attempt, {}
        self.start()

    def start(self) -> None:
        """Starts waiting tasks while there is room."""
        while self.waiting and len(self.running) < self.limit:
            task = self.waiting.pop(0)
            environment = dict(os.environ)
            if self.gpus:
                self.devices[task] = [self.gpus.pop(0) for _ in range(self.job.gpu)]
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices[task])
            self.running[task] = subprocess.Popen(
                ["bash", str(self.script), str(self.attempt), "0", str(task)],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=False,  # the lock of the recipe stays held while the job lives
                preexec_fn=jobs.unblock,
            )

    def gone(self, tasks: set[int]) -> dict[int, str]:
        for task, process in list(self.running.items()):
            status = process.poll()
            if status is not None:
                del self.running[task]
                self.gpus += self.devices.pop(task, [])
                self.ended[task] = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        self.start()
        return {task: how for task, how in self.ended.items() if task in tasks}

    def cancel(self) -> None:
        """Ends the tasks with all that they started: politely, and after some seconds by SIGKILL."""
        leaders = {process.pid for process in self.running.values()}
        left = leaders.union(*map(processes.descendants, leaders))
        for pid in leaders:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)  # all at once, so that no shell goes on with its next command
        told = leaders
        deadline = time.monotonic() + processes.GRACE / 2
        while left := {pid for pid in left if processes.start_time(pid) is not None}:
            left = left.union(*map(processes.descendants, left))
            late = time.monotonic() > deadline
            processes.tell(left if late else left - told, signal.SIGKILL if late else signal.SIGTERM)
            told |= left
            time.sleep(0.02)


def find_gpus() -> list[str]:
    """The GPUs that this process may use, those with the least memory in use first."""
    if shutil.which("nvidia-smi") is None:
        return []
    answer = jobs.ask("nvidia-smi", "--query-gpu=index,uuid,memory.used", "--format=csv,noheader,nounits")
    used = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        index, uuid, memory = (part.strip() for part in line.split(","))
        with contextlib.suppress(ValueError):
            used[index] = used[uuid] = int(memory)
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [n for n in used if n.isdecimal()] if allowed is None else [n for n in allowed.split(",") if n in used]
    return sorted(names, key=lambda name: used[name])


if __name__ == "__main__":
    jobs.run("run.py", Local)
