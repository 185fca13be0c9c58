"""What happens when a loss or a gradient is not finite."""

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from steps.training.config import TrainingConfig
from steps.training.dist import World
from steps.training.doctor import Doctor, Finding
from utils import atomic


class NonFiniteError(ValueError):
    """Training met infinities or NaN and was told not to go on."""


class NonFiniteGuard:
    """Agrees over all ranks whether a step may be taken; keeps the batches of one that may not, and says why."""

    def __init__(self, config: TrainingConfig, world: World, folder: Path, doctor: Doctor):
        self.config = config
        self.world = world
        self.folder = folder / "nonfinite"
        self.doctor = doctor
        self.count = 0

    def accepts(self, loss: float, norm: float, scaled: bool, batches: list[dict[str, Any]], step: int) -> bool:
        """True when `loss` and gradient `norm` are finite on every rank; `Doctor.remember` was called before the step.

        Otherwise names the module and the utterances, writes the batches to `nonfinite/step-N.rankR.pt` and what was
        found to a .json beside it, takes back what the step did to buffers, and returns False (skip) or raises
        NonFiniteError (stop, or too many skips). With `scaled` gradients (fp16) a norm that overflows is how the scale
        is found: that is left to the scaler and not counted.
        """
        bad_here = not math.isfinite(loss) or (not scaled and not math.isfinite(norm))
        # Before the ranks agree: the first that stops may take the others with it.
        found = self._report(loss, norm, batches, step) if bad_here else None
        if self.world.sum([float(bad_here)])[0] == 0:
            return True
        self.count += 1
        self.doctor.restore_buffers()
        if self.config.nonfinite == "stop" or self.count > self.config.max_nonfinite:
            raise NonFiniteError(
                f"step {step}: loss {loss}, gradient norm {norm} ({self.count} such steps). "
                f"{found.message if found else 'It was on another rank'}. The batches are in "
                f"{self.folder}. Lower training.lr, set training.precision=fp32, or look at the utterances."
            )
        return False

    def _report(self, loss: float, norm: float, batches: list[dict[str, Any]], step: int) -> Finding:
        file = self.folder / f"step-{step:07d}.rank{self.world.rank}.pt"
        with atomic.output(file) as temporary:
            torch.save(batches, temporary)
        found = self.doctor.examine(batches)
        ids = [name for batch in batches for name in batch["ids"]]
        at_fault = f". At fault: {' '.join(found.ids)}" if found.ids else ""
        facts = {"step": step, "rank": self.world.rank, "loss": str(loss), "gradient_norm": str(norm)}
        atomic.write_json(file.with_suffix(".json"), {**facts, **asdict(found), "batch_ids": ids})
        logging.error(
            "step %d: loss %s, gradient norm %s; the step is not taken. %s%s. Batch in %s; its utterances: %s",
            step, loss, norm, found.message, at_fault, file, " ".join(ids),
        )  # fmt: skip
        return found
