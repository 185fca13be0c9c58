"""Figures of a run: added up over batches and ranks, then written where people look."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from steps.tasks.base import Losses
from steps.training.dist import World
from utils import atomic


class Meter:
    """Adds up what batches contribute; `means` divides once, over all ranks."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.seconds_of_audio = 0.0
        self.started = time.perf_counter()

    def add(self, losses: Losses, seconds: float) -> None:
        """Takes in a batch of `seconds` of audio."""
        total = {"loss": (float(losses.total.detach()), losses.weight)} if losses.weight else {}
        for name, (value, weight) in {**losses.sums, **total}.items():
            entry = self.sums.setdefault(name, [0.0, 0.0])
            entry[0] += value
            entry[1] += weight
        self.seconds_of_audio += seconds

    def means(self, world: World) -> dict[str, float]:
        """Each figure over all ranks, of which some may have had no batch, and so no figure."""
        names = sorted({name for own in world.gather([list(self.sums)]) for name in own})
        flat = world.sum([x for name in names for x in self.sums.get(name, [0.0, 0.0])])
        return {name: flat[2 * i] / max(flat[2 * i + 1], 1e-12) for i, name in enumerate(names)}

    def throughput(self, world: World) -> dict[str, float]:
        """Seconds of audio that all ranks took in per second, since the meter was made."""
        elapsed = time.perf_counter() - self.started
        return {"audio_per_second": world.sum([self.seconds_of_audio])[0] / max(elapsed, 1e-9)}


class Clock:
    """How long a run has trained, over all its continuations; in train.json with what it ran on."""

    def __init__(self, file: Path, resumed: bool):
        """A continuation goes on from the seconds in `file`; where it has none, the sum stays unknown."""
        self.file, self.started = file, time.perf_counter()
        self.facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if resumed and file.is_file() else {}
        self.before: float | None = self.facts.get("seconds") if resumed else 0.0

    def save(self, facts: dict[str, Any] | None = None) -> None:
        """Writes the file, with these `facts` from now on."""
        self.facts.update(facts or {})
        elapsed = time.perf_counter() - self.started
        self.facts["seconds"] = None if self.before is None else round(self.before + elapsed, 1)
        atomic.write_json(self.file, self.facts)


class Journal:
    """Writes points of a run to the log, to `metrics.jsonl` and to TensorBoard; on rank 0 only."""

    def __init__(self, folder: Path, world: World, step: int):
        """`step`: points after it, left by a run that was cut off, are dropped from `metrics.jsonl`."""
        self.file = folder / "metrics.jsonl"
        self.writer = None
        if world.is_main:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
            _drop_after(self.file, step)

    def write(self, kind: str, point: dict[str, Any]) -> None:
        """`kind` is train or valid; `point` has step, epoch and figures."""
        if self.writer is None:
            return
        figures = {name: value for name, value in point.items() if name not in ("step", "epoch")}
        logging.info(
            "%s epoch %d step %d: %s",
            kind,
            point["epoch"],
            point["step"],
            " ".join(f"{name} {value:.4g}" for name, value in figures.items()),
        )
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"kind": kind, **point}) + "\n")
        for name, value in figures.items():
            self.writer.add_scalar(f"{kind}/{name}", value, point["step"])

    def close(self) -> None:
        """Flushes TensorBoard's file."""
        if self.writer is not None:
            self.writer.close()


def _drop_after(file: Path, step: int) -> None:
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except json.JSONDecodeError:  # the last line of a run that was killed while it wrote
            continue
    file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
