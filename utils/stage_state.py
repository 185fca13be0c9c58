#!/usr/bin/env -S python3 -I -S
"""What utils/stage.sh remembers of each stage: one JSON file in exp/.stages, written by rename.

    stage_state.py lock FD LOCK PID                  take the lock that keeps two runs apart
    stage_state.py begin DIR N TITLE MODE [GROUP...] print run, skip or missing, then what to tell the user, a
                                                     line each; if run, note that the stage has started
    stage_state.py end DIR N STATE [KEY=VALUE...]    note how it ended; print its seconds
    stage_state.py list|dry-run DIR [STAGE...]       print the states, or what would run

GROUP is --in PATH..., --out PATH..., --options NAME=VALUE... or --remade PATH... (outputs made again
by this run); STAGE is --stage N TITLE MODE [GROUP...]; MODE is leave, auto (run unless done) or always.
Standard library only, and little of it: a finished recipe asks once for each stage.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import atomic, processes

HASHED_BYTES = 64 << 20  # a larger input is known by size and time alone
LISTED_FILES = 10_000  # of a directory, no more than these are looked at


class Stage:
    """One call of `stage` in a recipe: its number and title, how it was selected, and its groups."""

    def __init__(self, number: str, title: str, mode: str, *words: str) -> None:
        groups = read_groups(words)
        self.number, self.title, self.mode = int(number), title, mode
        self.inputs = groups["in"]
        self.outputs = groups["out"]
        self.remade = groups["remade"]
        self.options = dict(pair.split("=", 1) for pair in groups["options"])


def read_groups(words: Iterable[str]) -> dict[str, list[str]]:
    """Splits `--in a b --out c` into {"in": ["a", "b"], "out": ["c"], "options": [], "remade": []}."""
    groups: dict[str, list[str]] = {"in": [], "out": [], "options": [], "remade": []}
    current: list[str] = []
    for word in words:
        if word.startswith("--") and word[2:] in groups:
            current = groups[word[2:]]
        else:
            current.append(word)
    return groups


def quick_print(path: Path) -> str:
    """Identity by names, sizes and times of a file or of the files below a directory."""
    stats = [(name, file.stat()) for name, file in list_files(path)]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def content_print(path: Path) -> str | None:
    """Identity by names and content, None if there are more than HASHED_BYTES to read."""
    files = list_files(path)
    if sum(file.stat().st_size for _, file in files) > HASHED_BYTES:
        return None
    content = hashlib.sha256()
    for name, file in files:
        content.update(os.fsencode(f"{name}\n") + file.read_bytes() + b"\n")
    return content.hexdigest()


def list_files(path: Path) -> list[tuple[str, Path]]:
    """(relative name, file): the file itself, or the first LISTED_FILES below a directory, hidden ones left out."""
    if not path.is_dir():
        return [("", path)]
    found: list[Path] = []
    for parent, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) >= LISTED_FILES:
            break
    return [(file.relative_to(path).as_posix(), file) for file in found[:LISTED_FILES] if file.exists()]


def record_path(folder: Path, number: int) -> Path:
    """Where the record of a stage lies."""
    return folder / f"{number:02d}.json"


def read_record(folder: Path, number: int) -> dict[str, Any] | None:
    """The record of a stage, None if it never ran; an unreadable record counts as a failed stage."""
    path = record_path(folder, number)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"state": "failed"}


def changed_inputs(stage: Stage, record: dict[str, Any]) -> list[str]:
    """Inputs that are not what they were when the stage ran; one that is gone has not changed."""
    before = record.get("inputs", {})
    return [name for name in stage.inputs if Path(name).exists() and is_changed(Path(name), before.get(name))]


def is_changed(path: Path, before: dict[str, Any] | None) -> bool:
    """Whether a file or directory differs from its record; content is read only if something was touched."""
    if before is None:
        return True
    if quick_print(path) == before["quick"]:
        return False
    return before["content"] is None or content_print(path) != before["content"]


def changed_options(stage: Stage, record: dict[str, Any]) -> list[str]:
    """`--name then -> now` for every option whose value is another than when the stage ran."""
    before, now = record.get("options", {}), stage.options
    return [
        f"--{name.replace('_', '-')} {before[name]!r} then, {now[name]!r} now"
        for name in now
        if name in before and before[name] != now[name]
    ]


def state_of(folder: Path, stage: Stage) -> tuple[str, list[str]]:
    """never, running, failed, stale or done, and for stale the reasons."""
    record = read_record(folder, stage.number)
    if record is None:
        return "never", []
    if record["state"] == "running" and record["host"] == os.uname().nodename and processes.start_time(record["pid"]):
        return "running", []
    if record["state"] != "done":
        return "failed", []
    reasons = [f"{name} is gone" for name in stage.outputs if not Path(name).exists()]
    reasons += [f"{name} changed" for name in changed_inputs(stage, record)]
    return ("stale" if reasons else "done"), reasons


def decide(folder: Path, stage: Stage) -> tuple[str, list[str]]:
    """Whether a stage that was not asked for by number runs ("run" or "skip"), and what to tell the user."""
    record = read_record(folder, stage.number)
    if record is None or record["state"] != "done":
        return "run", []
    gone = [name for name in stage.outputs if not Path(name).exists()]
    if gone:
        return "run", [f"stage {stage.number} runs again: {', '.join(gone)} is gone"]
    changed = changed_inputs(stage, record)
    remade = [name for name in changed if is_part(name, stage.remade)]
    if remade:
        return "run", [f"stage {stage.number} runs again: this run has changed {', '.join(remade)}"]
    messages = []
    if changed:
        messages.append(
            f"inputs of stage {stage.number} changed since it ran: {', '.join(changed)}; "
            f"--stage {stage.number} runs it again (with --force if what it made is to be replaced)"
        )
    options = changed_options(stage, record)
    if options:
        messages.append(f"options changed since: {'; '.join(options)}; --stage N runs stage N and all after it again")
    return "skip", messages


def is_part(name: str, wholes: list[str]) -> bool:
    """Whether a path is one of the given ones or lies below one of them."""
    path = Path(name)
    return any(path == Path(whole) or Path(whole) in path.parents for whole in wholes)


def begin(folder: Path, stage: Stage) -> tuple[str, list[str]]:
    """`decide`, unless the stage runs always; "missing" when an input is not there.

    If the stage is to run, its record is written: until that is replaced, the stage counts as failed.
    """
    verdict, messages = decide(folder, stage) if stage.mode == "auto" else ("run", [])
    if verdict == "run" and not all(Path(name).exists() for name in stage.inputs):
        return "missing", messages
    if verdict == "run":
        record = {
            "stage": stage.number,
            "title": stage.title,
            "state": "running",
            "start": now(),
            "host": os.uname().nodename,
            "pid": int(os.environ["RECIPE_SUPERVISOR"]),
            "options": stage.options,
            "inputs": {
                name: {"quick": quick_print(Path(name)), "content": content_print(Path(name))} for name in stage.inputs
            },
            "outputs": stage.outputs,
        }
        atomic.write_json(record_path(folder, stage.number), record)
    return verdict, messages


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def end(folder: Path, number: int, state: str, extra: dict[str, str]) -> None:
    """Completes the record of a stage (state done or failed) and prints how many seconds it took."""
    record = read_record(folder, number) or {"stage": number}
    finish = now()
    began = datetime.fromisoformat(record.get("start", finish))
    seconds = round((datetime.fromisoformat(finish) - began).total_seconds(), 1)
    atomic.write_json(
        record_path(folder, number), {**record, "state": state, "end": finish, "seconds": seconds, **extra}
    )
    print(seconds)


def lock(fd: int, path: Path, pid: int) -> None:
    """Takes the lock on an open file for the run `pid`; exits with a message if another run has it.

    The lock belongs to the open file, which everything that a run starts inherits. When the run is
    dead, what still holds the lock was left behind by a kill -9, and is ended.
    """
    if not take(fd):
        holder = read_holder(path)
        if holder.get("host") == os.uname().nodename and processes.start_time(holder["pid"]) != holder["start"]:
            end_leftovers(path)
        if not take(fd):
            sys.exit(
                f"another run is at work in {path.parent}: process {holder.get('pid')} on {holder.get('host')}. "
                "Wait for it, end it, or give another --exp"
            )
    text = json.dumps({"pid": pid, "host": os.uname().nodename, "start": processes.start_time(pid)})
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_holder(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:  # just being written
        return {}


def end_leftovers(path: Path) -> None:
    """Ends the processes that hold the lock file open, other than this run."""
    family, pid, own = processes.parents(), os.getpid(), set()
    while pid in family:
        own.add(pid)
        pid = family[pid]
    left = processes.holders(path) - own
    deadline = time.monotonic() + processes.GRACE
    print(f"ending what a killed run has left behind: {' '.join(map(str, sorted(left)))}", file=sys.stderr)
    processes.tell(left, signal.SIGTERM)
    while left := {pid for pid in left if processes.start_time(pid)}:
        if time.monotonic() > deadline:
            processes.tell(left, signal.SIGKILL)
        time.sleep(0.1)


def read_stages(words: list[str]) -> list[Stage]:
    """Reads `--stage N TITLE MODE [GROUP...]`, any number of times."""
    calls: list[list[str]] = []
    for word in words:
        if word == "--stage":
            calls.append([])
        else:
            calls[-1].append(word)
    return [Stage(*call) for call in calls]


def print_states(folder: Path, stages: list[Stage]) -> None:
    """The table of --list-stages."""
    width = max(len(stage.title) for stage in stages)
    print(f"{'stage':<5}  {'title':<{width}}  {'state':<7}  seconds")
    for stage in stages:
        state, reasons = state_of(folder, stage)
        seconds = (read_record(folder, stage.number) or {}).get("seconds", "")
        reason = f"  ({', '.join(reasons)})" if reasons else ""
        print(f"{stage.number:<5}  {stage.title:<{width}}  {state:<7}  {seconds:>7}{reason}".rstrip())


def print_plan(folder: Path, stages: list[Stage], resume: bool) -> bool:
    """What --dry-run says; returns whether every stage that would run would find its inputs."""
    resumed, complete = False, True
    chosen: list[Stage] = []
    for stage in stages:
        verdict, messages = decide(folder, stage) if stage.mode == "auto" else ("run", [])
        if stage.mode == "leave":
            print(f"stage {stage.number} {stage.title}: left out")
        elif verdict == "run" or resumed:
            resumed = resumed or resume
            print(f"stage {stage.number} {stage.title}: would run")
            complete = print_files(stage, stages, chosen) and complete
            chosen.append(stage)
        else:
            print(f"stage {stage.number} {stage.title}: done, would be skipped")
            for name in stage.inputs:
                messages += [f"runs again if stage {m} changes {name}" for m in makers(name, chosen)]
            print(*(f"  note {message}\n" for message in messages), sep="", end="")
    return complete


def makers(name: str, stages: list[Stage]) -> list[int]:
    """The stages that declare a path, or a directory above it, as an output."""
    return [stage.number for stage in stages if is_part(name, stage.outputs)]


def print_files(stage: Stage, stages: list[Stage], chosen: list[Stage]) -> bool:
    """Lists inputs and outputs; returns whether all inputs are there or will be, by the stages chosen so far."""
    complete = True
    for name in stage.inputs:
        notes = [f"made by stage {maker}" for maker in makers(name, stages)]
        if not Path(name).exists() and not makers(name, chosen):
            notes.append("MISSING")
            complete = False
        print(f"  in   {name}" + (f"  ({', '.join(notes)})" if notes else ""))
    print(*(f"  out  {name}\n" for name in stage.outputs), sep="", end="")
    return complete


def main(argv: list[str]) -> None:
    command, rest = argv[0], argv[1:]
    if command == "lock":
        lock(int(rest[0]), Path(rest[1]), int(rest[2]))
    elif command == "begin":
        verdict, messages = begin(Path(rest[0]), Stage(*rest[1:]))
        print(verdict, *messages, sep="\n")
    elif command == "end":
        end(Path(rest[0]), int(rest[1]), rest[2], dict(pair.split("=", 1) for pair in rest[3:]))
    elif command == "list":
        print_states(Path(rest[0]), read_stages(rest[1:]))
    else:
        sys.exit(0 if print_plan(Path(rest[1]), read_stages(rest[2:]), resume=rest[0] == "true") else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
