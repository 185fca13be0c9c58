"""The parts that run.py, slurm.py and sge.py share: one command line, one task script, one log form.

    PROGRAM [OPTION...] [JOB=1:N] LOG COMMAND [ARGUMENT...]

Each word of the command reaches the program as it is (blanks, quotes, $, * and all); only a word that
is nothing but `|`, `||`, `&&`, `;`, `<`, `>`, `>>`, `2>` or `2>&1` keeps its meaning for the shell, which
runs with -e and pipefail. The job's number replaces JOB, in the log's name too, where no letter, digit
or $ stands before it and no letter, digit or _ after it (x.JOB.gz, x_JOB.gz, but not JOBS, JOB_ID or
XJOB), and {JOB} anywhere; the command also finds it in its environment as $JOB.

Options (--name value or --name=value), before or after JOB=:
  --mem 4G           memory of a job
  --time T           limit: minutes, H:MM:SS or D-HH:MM:SS
  --num-threads N    cores of a job; sets OMP_NUM_THREADS
  --gpu N            GPUs of a job
  --max-jobs-run N   run no more jobs than this at a time
  --retries N        start a failed job again up to N times
  --show-output      copy what the jobs write to the terminal as well
  --native=WORD      a word for the scheduler's own command (--native=--partition=gpu), repeatable

What a job writes goes to its log, with the command, host, start, end and exit status. The status that
counts is a file that the job itself leaves, by rename, beside the task script in the directory q.
Exit status: 0 all jobs succeeded; 1 some failed (their last lines are printed) or were refused; 2 INT, TERM or HUP came
and the jobs were ended; 255 the command line is wrong.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from utils import atomic, job_logs, processes

OPERATORS = {"|", "||", "&&", ";", "<", ">", ">>", "2>", "2>&1"}

TASK_SCRIPT = """#!/usr/bin/env bash
# Written by {program}. Runs one task: bash SCRIPT ATTEMPT OFFSET [TASK]; of a scheduler's array it is OFFSET + index.
attempt=$1
task=${{3:-$(($2 + ${{SLURM_ARRAY_TASK_ID:-${{SGE_TASK_ID:-0}}}}))}}
cd {directory} || exit 1
log={log}
status={status}/$attempt.$task
threads={threads}
command={command}
export {exports}
. {task_script}
"""


class UsageError(ValueError):
    """The command line is wrong."""


@dataclass
class Job:
    """A command line as read: what to run, how often, and with what."""

    program: str
    mem: str | None = None
    seconds: int | None = None
    num_threads: int | None = None
    gpu: int = 0
    max_jobs_run: int | None = None
    retries: int = 0
    show_output: bool = False
    native: list[str] = field(default_factory=list)
    variable: str = ""  # the name that stands for the number; empty without JOB=
    tasks: list[int] = field(default_factory=lambda: [1])
    log: str = ""
    command: str = ""

    @property
    def name(self) -> str:
        """Name of the job, made from its log's: fbank.JOB.log -> fbank."""
        parts = [part for part in Path(self.log).name.removesuffix(".log").split(".") if part != self.variable]
        return ".".join(parts) or "job"

    @property
    def queue_dir(self) -> Path:
        """Where task scripts and statuses lie: exp/x/q for a log in exp/x/log or in exp/x."""
        folder = Path(replace(self.log, self.variable, "1")).absolute().parent
        return (folder.parent if folder.name == "log" else folder) / "q"

    @property
    def status_dir(self) -> Path:
        return self.queue_dir / f"{self.name}.run.{os.getpid()}"

    @property
    def scheduler_log(self) -> Path:
        """What the scheduler itself has to say."""
        return self.queue_dir / f"{self.name}.out"

    def log_of(self, task: int) -> Path:
        return Path(replace(self.log, self.variable, str(task)))


def number_pattern(variable: str) -> str:
    """The regular expression for the places where the job's number goes; nothing matches without a JOB=."""
    if not variable:
        return "(?!)"
    return rf"(?<!\$)\{{{variable}\}}|(?<![A-Za-z0-9$])(?<!\$\{{){variable}(?![A-Za-z0-9_])"


def replace(text: str, variable: str, value: str) -> str:
    """Puts the job's number into a text."""
    return re.sub(number_pattern(variable), value, text)


def read_command_line(program: str, words: list[str]) -> Job:
    """Reads the words after the program's name. Raises UsageError naming the word that is wrong."""
    job, words = Job(program), list(words)
    spec = None
    while words and (words[0].startswith("--") or re.fullmatch(r"[A-Za-z_]\w*=\S*", words[0])):
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            spec = word
        elif name == "--show-output":
            job.show_output = True
        else:
            if not equals:
                if not words or words[0].startswith("--"):
                    raise UsageError(f"{name} lacks its value")
                value = words.pop(0)
            set_option(job, name, value)
    if spec is not None:
        match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", spec)
        if not match or not 1 <= int(match[2]) <= int(match[3] or match[2]):
            raise UsageError(f"{spec}: expected JOB=FIRST:LAST with 1 <= FIRST <= LAST, or JOB=NUMBER")
        job.variable = match[1]
        job.tasks = list(range(int(match[2]), int(match[3] or match[2]) + 1))
    if len(words) < 2:
        raise UsageError("a log file and a command are needed: [OPTION...] [JOB=1:N] LOG COMMAND [ARGUMENT...]")
    job.log = words[0]
    if len(job.tasks) > 1 and not re.search(number_pattern(job.variable), job.log):
        raise UsageError(f"{len(job.tasks)} jobs cannot share the log {job.log}: put {job.variable} into its name")
    job.command = " ".join(word if word in OPERATORS else shlex.quote(word) for word in words[1:])
    return job


def set_option(job: Job, name: str, value: str) -> None:
    """Sets one option of a job from its text."""
    key = name[2:].replace("-", "_")
    if key == "native":
        job.native.append(value)
    elif key == "mem":
        if not re.fullmatch(r"\d+[KMGT]?", value):
            raise UsageError(f"{name} takes an amount like 500M or 4G, not {value!r}")
        job.mem = value
    elif key == "time":
        job.seconds = read_time(value)
    elif key in ("num_threads", "gpu", "max_jobs_run", "retries"):
        least = 0 if key in ("gpu", "retries") else 1
        if not value.isdecimal() or int(value) < least:
            raise UsageError(f"{name} takes a number of at least {least}, not {value!r}")
        setattr(job, key, int(value))
    else:
        raise UsageError(f"unknown option {name} (--native={name}={value} hands it to the scheduler)")


def read_time(text: str) -> int:
    """Seconds of `90` (minutes), `1:30:00` or `2-00:00:00`."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):(\d\d):(\d\d)|(\d+))", text)
    if not match:
        raise UsageError(f"--time takes minutes, H:MM:SS or D-HH:MM:SS, not {text!r}")
    days, hours, minutes, seconds, alone = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes + alone) * 60 + seconds


def write_script(job: Job) -> Path:
    """Writes the script that runs one task, and makes the directories of logs and statuses."""

    def with_task(text: str) -> str:
        return '"$task"'.join(shlex.quote(piece) for piece in re.split(number_pattern(job.variable), text))

    for task in job.tasks:
        job.log_of(task).parent.mkdir(parents=True, exist_ok=True)
        job.log_of(task).unlink(missing_ok=True)
    job.queue_dir.mkdir(parents=True, exist_ok=True)
    for old in job.queue_dir.iterdir():
        if old.name.startswith(f"{job.name}.run."):  # left behind by a run that was killed
            atomic.remove(old)
    job.scheduler_log.unlink(missing_ok=True)
    job.status_dir.mkdir()
    script = job.queue_dir / f"{job.name}.sh"
    text = TASK_SCRIPT.format(
        program=job.program,
        directory=shlex.quote(str(Path.cwd())),
        log=with_task(job.log),
        status=shlex.quote(str(job.status_dir)),
        command=with_task(job.command),
        threads=job.num_threads or 1,
        exports=f"{job.variable or 'JOB'}=$task" + (" OMP_NUM_THREADS=$threads" if job.num_threads else ""),
        task_script=shlex.quote(str(Path(__file__).with_name("task.sh").resolve())),
    )
    atomic.write_text(script, text)
    return script


class Backend(Protocol):
    """What starts the tasks: this machine or a scheduler."""

    settle: float  # seconds after which a task that is gone and has left no status counts as lost
    longest_pause: float  # seconds between two looks at most; a 25th of it at first

    def submit(self, tasks: list[int], attempt: int) -> None:
        """Starts the tasks, or queues them."""

    def gone(self, tasks: set[int]) -> dict[int, str]:
        """Those of the tasks that no longer wait or run, and what is known of their end."""

    def cancel(self) -> None:
        """Ends all that is left."""


class Scheduler:
    """What the back ends of a cluster have in common."""

    patience = 30.0  # seconds for a question to the scheduler
    settle = 10.0  # a shared file system may show a status late
    longest_pause = 5.0

    def __init__(self, job: Job, script: Path) -> None:
        self.job, self.script = job, script
        self.said = ""

    def say(self, message: str) -> None:
        """Prints a message unless it was the last one."""
        if message != self.said:
            print(f"{self.job.program}: {message}", file=sys.stderr)
        self.said = message


class Interrupted(Exception):
    """INT, TERM or HUP came."""


def pause(seconds: float) -> None:
    """Waits, but no longer than until a child ends. Raises Interrupted when a signal asks us to end."""
    info = signal.sigtimedwait({signal.SIGCHLD, *processes.heeded()}, seconds)
    # After Ctrl-Z and `fg` Python may return a number that is no signal at all (its EINTR handling).
    if info and info.si_signo in processes.heeded():
        raise Interrupted(signal.Signals(info.si_signo).name)


def unblock() -> None:
    """Runs in a new child: the signals that `run` blocks in itself are not blocked there."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ask(*words: str, patience: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs one of the scheduler's commands, for no longer than `patience` seconds.

    Raises UsageError if there is no such command here.
    """
    if shutil.which(words[0]) is None:
        raise UsageError(f"there is no {words[0]} on this machine (cmd_backend=local runs jobs on this one)")
    try:
        answer = subprocess.run(
            words, capture_output=True, text=True, check=False, preexec_fn=unblock, timeout=patience
        )
    except subprocess.TimeoutExpired:
        answer = subprocess.CompletedProcess(words, 1, "", f"no answer within {patience} s")
    signal.sigtimedwait({signal.SIGCHLD}, 0)  # of this command; `pause` is not to wake up for it
    return answer


def submit(*words: str) -> str:
    """What sbatch or qsub prints; tried again while the scheduler is away. Raises UsageError if it refuses."""
    for seconds in (1, 5, 10, 30, None):
        answer = ask(*words)
        if answer.returncode == 0:
            return answer.stdout.strip()
        if seconds is None or "unable to contact" not in answer.stderr.lower():
            raise UsageError(f"{words[0]} refused the job: {answer.stderr.strip()}")
        print(f"{answer.stderr.strip()}; trying again in {seconds} s", file=sys.stderr)
        pause(seconds)
    raise AssertionError


def run_tasks(job: Job, backend: Backend, tasks: list[int], attempt: int) -> dict[int, int | str]:
    """Runs the tasks to their end: each task's exit status, or in words how it was lost."""
    follower = job_logs.Follower([job.log_of(task) for task in job.tasks] if job.show_output else [])
    backend.submit(tasks, attempt)
    waiting, results, gone_since = set(tasks), {}, {}
    wait = backend.longest_pause / 25
    while True:
        gone = backend.gone(waiting)  # asked first: what a task writes before it goes is then seen below
        statuses = read_statuses(job, attempt)
        for task in sorted(waiting):
            status = statuses.get(task)
            if task not in gone:
                gone_since.pop(task, None)
            # A task that a signal has ended may be one that the scheduler starts again.
            if status is not None and (status <= 128 or task in gone):
                results[task] = status
            elif task in gone:
                since = gone_since.setdefault(task, time.monotonic())
                if time.monotonic() - since >= backend.settle:
                    results[task] = gone[task]
        waiting -= results.keys()
        follower.copy()
        if not waiting:
            if any(isinstance(result, str) for result in results.values()):
                backend.cancel()  # what is lost to us may still wait in a queue
            return results
        pause(wait)
        wait = min(wait * 1.3, backend.longest_pause)


def read_statuses(job: Job, attempt: int) -> dict[int, int]:
    """The exit status of each task that has left one."""
    found = {}
    for path in job.status_dir.iterdir():
        number, _, task = path.name.partition(".")
        if number == str(attempt) and task.isdecimal():
            found[int(task)] = int(path.read_text())
    return found


def run(program: str, make_backend: Callable[[Job, Path], Backend]) -> None:
    """The whole of a job runner; exits with its status. `make_backend(job, script)` gives the Backend."""
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print((__doc__ or "").replace("PROGRAM", program))
        sys.exit(0)
    try:
        job = read_command_line(program, sys.argv[1:])
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *processes.heeded()})
        backend = make_backend(job, write_script(job))
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(255)
    try:
        status = run_with_retries(job, backend)
    except UsageError as error:
        backend.cancel()
        print(f"{program}: {error}", file=sys.stderr)
        status = 1
    except Interrupted as error:
        backend.cancel()
        print(f"{program}: {error} came, the jobs of {job.log} were ended", file=sys.stderr)
        status = 2
    finally:
        shutil.rmtree(job.status_dir, ignore_errors=True)
    sys.exit(status)


def run_with_retries(job: Job, backend: Backend) -> int:
    """Runs all tasks, those that failed up to `retries` times more; 0 if all succeeded in the end, else 1."""
    tasks = job.tasks
    for attempt in range(1, job.retries + 2):
        results = run_tasks(job, backend, tasks, attempt)
        tasks = sorted(task for task, result in results.items() if result != 0)
        if not tasks:
            return 0
        if attempt <= job.retries:
            print(f"{job.program}: {job_logs.format_ranges(tasks)} failed, attempt {attempt + 1}", file=sys.stderr)
    job_logs.report(job.program, {task: job.log_of(task) for task in job.tasks}, results, job.scheduler_log)
    return 1
