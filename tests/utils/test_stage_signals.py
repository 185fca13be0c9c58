"""utils/stage.sh when runs are interrupted, killed or started twice: no process and no half-done stage is left."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

RECIPE = """#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
body=none # what stage 1 does
exp=exp
. "{root}/utils/stage.sh"
PATH="{root}/utils:$PATH"

if stage 0 "first" --out first.txt; then
  echo 1 >first.txt
fi
if stage 1 "slow" --in first.txt --out second.txt; then
  touch started
  case $body in
    plain) sleep {naps} ;;
    pipe) sleep {naps} | cat && echo went on >wrong ;;
    jobs) run.py JOB=1:3 log/x.JOB.log bash nap.sh ;;
    away) (setsid bash nap.sh &) && bash nap.sh ;;
    fail) run.py JOB=1:3 log/x.JOB.log bash -c 'echo "hello from $JOB"; [ $JOB != 2 ]' ;;
  esac
  echo 2 >second.txt
fi
"""


class Run:
    """A run of the recipe in a process group of its own; its naps are found by their odd length."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.naps = str(10_000 + os.getpid() + hash(folder) % 1000 / 1000)
        (folder / "run.sh").write_text(RECIPE.replace("{root}", str(root)).replace("{naps}", self.naps))
        (folder / "nap.sh").write_text(f"sleep {self.naps} &\nsetsid sleep {self.naps} &\nsleep {self.naps}\n")
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(self, body: str, **options) -> subprocess.Popen:
        (self.folder / "started").unlink(missing_ok=True)
        process = subprocess.Popen(
            ["bash", "run.sh", "--body", body],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
            cwd=self.folder,
            env=self.environment,
            text=True,
            start_new_session=True,
        )
        if body not in ("none", "fail"):
            wait_for(lambda: (self.folder / "started").exists() and self.list_naps())
            time.sleep(0.2)  # all naps of this body
        return process

    def finish(self, process: subprocess.Popen) -> str:
        return process.communicate(timeout=60)[0]

    def list_naps(self) -> list[int]:
        """The naps of this run that are alive."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_text() == f"sleep\0{self.naps}\0":
                    found.append(int(path.parent.name))
        return found

    def list_stages(self) -> str:
        words = ["bash", "run.sh", "--list-stages"]
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def record(self) -> dict:
        return json.loads((self.folder / "exp/.stages/01.json").read_text())


def wait_for(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def run(tmp_path: Path, root: Path):
    run = Run(tmp_path, root)
    yield run
    left = run.list_naps()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (signal.SIGTERM, "plain"),
        (signal.SIGTERM, "pipe"),
        (signal.SIGTERM, "jobs"),
        (signal.SIGTERM, "away"),
        (signal.SIGINT, "plain"),
        (signal.SIGINT, "jobs"),
        (signal.SIGHUP, "jobs"),
    ],
)
def test_a_signal_ends_everything_and_the_stage_counts_as_failed(run, number, body):
    process = run.start(body)
    process.send_signal(number)  # to run.sh alone, as `kill PID` does
    output = run.finish(process)
    assert process.returncode == 128 + number
    assert not run.list_naps()
    assert "1      slow   FAILED" in output
    assert f"it was ended by {signal.Signals(number).name}" in output
    assert run.record()["state"] == "failed"
    assert not (run.folder / "wrong").exists()
    again = run.start("none")
    output = run.finish(again)
    assert again.returncode == 0
    assert "0      first  skipped" in output
    assert "1      slow   ok" in output


def test_control_c_on_a_terminal(run):
    """The whole foreground process group gets INT from the terminal, and the supervisor among it."""
    terminal, slave = pty.openpty()
    process = run.start(
        "jobs",
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    os.write(terminal, b"\x03")
    assert process.wait(timeout=60) == 130
    os.close(terminal)
    assert not run.list_naps()
    assert run.record()["state"] == "failed"


def test_what_a_kill_9_leaves_behind_is_ended_by_the_next_run(run):
    process = run.start("jobs")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run.list_naps()  # the jobs have sessions of their own
    assert run.record()["state"] == "running"
    assert "1      slow   failed" in run.list_stages()
    again = run.start("none")
    output = run.finish(again)
    assert again.returncode == 0, output
    assert "ending what a killed run has left behind" in output
    assert not run.list_naps()


def test_two_runs_are_kept_apart(run):
    first = run.start("plain")
    second = run.start("none")
    output = run.finish(second)
    assert second.returncode == 1
    assert f"another run is at work in exp: process {first.pid} on {os.uname().nodename}" in output
    assert "1      slow   running" in run.list_stages()
    first.terminate()
    run.finish(first)


def test_a_failing_job_stops_the_stage_and_its_log_is_quoted(run):
    process = run.start("fail")
    output = run.finish(process)
    assert process.returncode == 1
    assert "run.py: 1 / 3 jobs failed (2), log is in log/x.2.log" in output
    assert "--- log/x.2.log (exit status 1) ends with:" in output
    assert "hello from 2" in output
    assert "hello from 1" not in output
    assert "stage 1 (slow) failed with status 1: run.py JOB=1:3 log/x.JOB.log" in output
    assert not (run.folder / "second.txt").exists()


def test_nohup_keeps_its_meaning(run):
    process = run.start("plain", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    assert run.list_naps()
    process.terminate()
    run.finish(process)
