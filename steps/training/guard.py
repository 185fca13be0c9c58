"""What happens when a loss or a gradient is not finite."""

import logging
import math
from pathlib import Path
from typing import Any

import torch

from steps.training.config import TrainingConfig
from steps.training.dist import World


class NonFiniteError(ValueError):
    """Training met infinities or NaN and was told not to go on."""


class NonFiniteGuard:
    """Agrees over all ranks whether a step may be taken; keeps the batches of one that may not."""

    def __init__(self, config: TrainingConfig, world: World, folder: Path):
        self.config = config
        self.world = world
        self.folder = folder / "nonfinite"
        self.count = 0

    def accepts(self, loss: float, norm: float, scaled: bool, batches: list[dict[str, Any]], step: int) -> bool:
        """True when `loss` and gradient `norm` are finite on every rank.

        Otherwise names the utterances, writes the batches to `nonfinite/step-N.rankR.pt`, and returns False
        (skip) or raises NonFiniteError (stop, or too many skips). With `scaled` gradients (fp16) a norm that
        overflows is how the scale is found: that is left to the scaler and not counted.
        """
        bad_here = not math.isfinite(loss) or (not scaled and not math.isfinite(norm))
        if self.world.sum([float(bad_here)])[0] == 0:
            return True
        self.count += 1
        if bad_here:
            self._report(loss, norm, batches, step)
        if self.config.nonfinite == "stop" or self.count > self.config.max_nonfinite:
            raise NonFiniteError(
                f"step {step}: loss {loss}, gradient norm {norm} ({self.count} such steps); the batches are in "
                f"{self.folder}. Lower training.lr, set training.precision=fp32, or look at the utterances."
            )
        return False

    def _report(self, loss: float, norm: float, batches: list[dict[str, Any]], step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"step-{step:07d}.rank{self.world.rank}.pt"
        torch.save(batches, file)
        ids = [name for batch in batches for name in batch["ids"]]
        logging.error(
            "step %d: loss %s, gradient norm %s; the step is not taken. Batch in %s; its utterances: %s",
            step, loss, norm, file, " ".join(ids),
        )  # fmt: skip
