"""What the Trainer asks of a task, and all it knows of one."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from steps.data.loader import Batches


@dataclass
class Losses:
    """What a batch contributes.

    `total` is a sum (over utterances, frames, ...) to be differentiated; `weight` is what it is divided by
    after adding up over batches and ranks, so that unequal batches count right. `sums` are further figures
    as (numerator, denominator), added up in the same way and only reported. `outputs` is what `Task.review`
    is given of this batch when dev is evaluated; it must lie on the CPU.
    """

    total: Tensor
    weight: float
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    outputs: Any = None


class Task(Protocol):
    """One kind of model and data. `config` has the sections `training` and `average`, and `seed`."""

    config: Any
    best_metric: tuple[str, str]  # name of a figure on dev, and "min" or "max"

    def build_model(self) -> nn.Module:
        """A model with fresh weights."""
        ...

    def batches(self, split: str, rank: int, world_size: int) -> Batches:
        """The batches of "train" or "dev"."""
        ...

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """The loss of a batch on the model's device, in training or in evaluation mode as the model is."""
        ...

    def review(self, outputs: list[Any]) -> dict[str, float]:
        """Figures of dev that are no sum over batches, of every batch's `Losses.outputs`; {} if there are none."""
        ...

    def inputs(self) -> list[str]:
        """Files whose content shapes the result; a run that is resumed must find them unchanged."""
        ...
