"""Checkpoints: written whole or not at all, loaded without running anything that they contain."""

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils import atomic


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, and lists and dicts of those) by rename."""
    with atomic.output(file) as temporary:
        torch.save(state, temporary)


def load_checkpoint(file: Path | str, device: str = "cpu") -> dict[str, Any]:
    """Reads a checkpoint with `weights_only=True`.

    Raises FileNotFoundError, or ValueError for a file that is no checkpoint.
    """
    file = Path(file)
    if not file.is_file():
        beside = ", ".join(sorted(p.name for p in file.parent.glob("*.pt"))) if file.parent.is_dir() else ""
        raise FileNotFoundError(f"{file}: no such checkpoint; {file.parent} has {beside or 'none'}")
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # what is no pickle, or a broken one, fails in any way there is
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file} is not a checkpoint that can be read safely: {reason}") from error


def step_checkpoint(folder: Path, step: int) -> Path:
    """Where a checkpoint inside an epoch lies."""
    return folder / f"step-{step:07d}.pt"


def epoch_checkpoint(folder: Path, epoch: int) -> Path:
    """Where the checkpoint after `epoch` whole epochs lies."""
    return folder / f"epoch-{epoch:03d}.pt"


def latest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state with the most steps in `folder`, or None. One that cannot be read is passed over with a warning.

    Files go by their numbers, not by their times, which copying changes.
    """
    found = [_last_readable(sorted(folder.glob(pattern), reverse=True)) for pattern in ("epoch-*.pt", "step-*.pt")]
    # At the same step the end of an epoch is further, and comes first here.
    file, state = max((one for one in found if one), key=lambda one: one[1]["step"], default=(None, None))
    if state is not None:
        logging.info("resuming from %s (epoch %d, step %d)", file, state["batches"]["epoch"], state["step"])
    return state


def _last_readable(files: list[Path]) -> tuple[Path, dict[str, Any]] | None:
    for file in files:
        try:
            return file, load_checkpoint(file)
        except ValueError as error:
            logging.warning("%s", error)
    return None


def remove_old(folder: Path, pattern: str, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints that match `pattern`."""
    for file in sorted(folder.glob(pattern))[:-keep]:
        file.unlink()


def rng_state() -> dict[str, Any]:
    """The state of every random generator that training may draw from."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": [version, list(words), gauss],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """The inverse of `rng_state`. States of GPUs are set where there are as many as there were."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


class RunningAverage:
    """Mean of the weights over all updates so far, in float64.

    From the means at two times follows the mean between them (`between`), so a range of epochs can be
    averaged without a file for each step. Buffers and whole numbers are taken from the newest model.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Takes in the model's weights as they are now."""
        self.count += 1
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                self.mean[name] = value.clone()
            elif self.count == 1:
                self.mean[name] = value.double()
            else:
                self.mean[name] += (value.double() - self.mean[name]) / self.count

    def state_dict(self) -> dict[str, Any]:
        """The mean and how many updates are in it."""
        return {"count": self.count, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.count = state["count"]
        self.mean = {name: value.clone() for name, value in state["mean"].items()}

    @staticmethod
    def between(start: dict[str, Any] | None, end: dict[str, Any]) -> dict[str, Tensor]:
        """Mean of the updates after `start` (None: from the beginning) up to `end`, in float32.

        Raises ValueError when no update lies between.
        """
        before = start["count"] if start else 0
        updates = end["count"] - before
        if updates < 1:
            raise ValueError("no update of the running average lies in the range; lower training.average_period")
        mean = {}
        for name, value in end["mean"].items():
            if value.is_floating_point() and start:
                value = (value * end["count"] - start["mean"][name] * before) / updates
            mean[name] = value.float() if value.is_floating_point() else value
        return mean
