#!/usr/bin/env -S python3 -I -S
"""Processes and all that they started: finding them in /proc, and ending them. Linux, standard library only.

`processes.py COMMAND...` runs a command under supervision: see `supervise`. utils/stage.sh does so
with every recipe, because a shell that waits for a command looks at its own signals only afterwards.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE = 10.0  # seconds between the polite signal and SIGKILL
PR_SET_CHILD_SUBREAPER = 36


def heeded() -> list[int]:
    """INT, TERM and HUP, without those that this process was started to ignore (nohup ignores HUP)."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def start_time(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None if there is no such process (or it is a zombie)."""
    fields = read_stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def read_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def all_processes() -> list[int]:
    """The numbers of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def parents() -> dict[int, int]:
    """Every living process and its parent, zombies left out."""
    found = {}
    for pid in all_processes():
        fields = read_stat(pid)
        if fields and fields[0] != "Z":
            found[pid] = int(fields[1])
    return found


def descendants(pid: int) -> set[int]:
    """The children of a process, their children, and so on."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = [child for child in children.get(todo.pop(), []) if child not in found]
        found.update(new)
        todo += new
    return found


def tell(pids: Iterable[int], number: int) -> None:
    """Sends a signal to those of the processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def holders(path: Path) -> set[int]:
    """The processes (of this user) that have the file open."""
    wanted = path.stat()
    found = set()
    for pid in all_processes():
        with contextlib.suppress(OSError):
            for opened in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.path.samestat(opened.stat(), wanted):
                        found.add(pid)
    return found


class Ending:
    """Ends what a supervised command started, from the top down, so that each may clean up after its own.

    The direct children of the command and of the supervisor (orphans come to it) are told to
    terminate, and as they go, those they leave behind. After GRACE seconds everything is killed.
    """

    def __init__(self, command: int, number: int | None) -> None:
        self.command = command
        self.deadline = time.monotonic() + GRACE
        self.told: set[int] = set()
        self.before = descendants(os.getpid())  # what the command starts from now on is its own cleaning up
        if number is not None:
            tell([command], number)

    def step(self) -> bool:
        """Takes one round; returns whether nothing but the command is left."""
        own, family = os.getpid(), parents()
        if time.monotonic() > self.deadline:
            tell(descendants(own), signal.SIGKILL)
        for pid, parent in family.items():
            orphan = parent == own and pid != self.command
            if (orphan or (parent == self.command and pid in self.before)) and pid not in self.told:
                self.told.add(pid)
                tell([pid], signal.SIGTERM)
        return not descendants(own) - {self.command}


def supervise(command: list[str]) -> int:
    """Runs a command and returns its exit status (128 + signal when a signal ended it).

    INT, TERM or HUP sent to the supervisor ends the command with everything it started, wherever
    that hid (own sessions, daemons), and the status is 130, 143 or 129. When the command fails,
    what it left running is ended as well.
    """
    import ctypes  # only here, because it takes a while

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    waited = {signal.SIGCHLD, *heeded()}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.posix_spawnp(command[0], command, os.environ, setsigmask=[], setsigdef=[signal.SIGPIPE])
    status, caught, ending = None, None, None
    while True:
        info = signal.sigtimedwait(waited, 0.1 if ending else 60)
        # (After SIGSTOP and SIGCONT Python may return a number that is no signal at all.)
        if info and info.si_signo in heeded() and caught is None:
            caught = info.si_signo
            ending = Ending(child, caught)
        for pid, raw in reap():
            if pid == child:
                status = os.waitstatus_to_exitcode(raw)
                status = status if status >= 0 else 128 - status
                ending = ending or (Ending(child, None) if status != 0 else None)
        if (ending is None or ending.step()) and status is not None:
            return status if caught is None else 128 + caught


def reap() -> list[tuple[int, int]]:
    """The children that have ended since the last call: (process, raw status)."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (result := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(result)
    return ended


if __name__ == "__main__":
    os.environ.update(RECIPE_SUPERVISOR=str(os.getpid()), RECIPE_PYTHON=sys.executable)
    sys.exit(supervise(sys.argv[1:]))
