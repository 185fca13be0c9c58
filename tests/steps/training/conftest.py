"""A task small enough that a run takes less than a second, with dropout so that the generators matter."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler
from lhotse.testing.dummies import dummy_cut
from torch import nn

from steps.data.augment import keyed_generator
from steps.data.loader import Batches
from steps.tasks.base import Losses
from steps.training.config import AverageConfig, TrainingConfig


@dataclass
class ToyConfig:
    task: str = "toy"
    seed: int = 3
    utterances: int = 40
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=3, lr=1e-2, warmup_steps=4, log_every=3, save_every=2, average_period=2
        )
    )
    average: AverageConfig = field(default_factory=lambda: AverageConfig(last_epochs=[1, 2]))


class ToyTask:
    """Fits y = sum(x) by a small network; every figure depends on seed, epoch and utterance alone."""

    best_metric = ("loss", "min")

    def __init__(self, config: ToyConfig):
        self.config = config
        self.poison_step = -1  # the step whose loss is made infinite

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))

    def batches(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        cuts = CutSet.from_cuts(dummy_cut(i, duration=1.0 + i % 5) for i in range(self.config.utterances))
        sampler = DynamicBucketingSampler(
            cuts, max_duration=12.0, num_buckets=2, shuffle=split == "train", seed=1, rank=rank, world_size=world_size
        )
        return Batches(sampler, self.collate, total=len(cuts))

    def collate(self, cuts: CutSet, epoch: int) -> dict:
        x = torch.stack([torch.randn(4, generator=keyed_generator(epoch, cut.id)) for cut in cuts])
        return {"ids": [cut.id for cut in cuts], "x": x, "seconds": sum(cut.duration for cut in cuts)}

    def loss(self, model: nn.Module, batch: dict, step: int) -> Losses:
        error = model(batch["x"])[:, 0] - batch["x"].sum(dim=1)
        total = error.square().sum()
        if step == self.poison_step and model.training:
            total = total * math.inf
        return Losses(total, float(len(error)), outputs=None if model.training else len(error))

    def review(self, outputs: list) -> dict[str, float]:
        return {"reviewed": float(sum(outputs))} if outputs else {}

    def inputs(self) -> list[str]:
        return []


@pytest.fixture
def toy() -> ToyTask:
    return ToyTask(ToyConfig())
