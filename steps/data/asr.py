"""Batches for speech recognition: cuts with features become padded tensors with their tokens."""

import logging
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steps.data.archives import read_cuts
from steps.data.augment import keyed_generator, spec_augment, time_warp
from steps.data.config import AugmentConfig
from steps.data.loader import Batches
from steps.graph.units import Units
from steps.losses.ctc import required_frames
from steps.models.conformer import subsampled_length
from steps.tasks.config import AsrConfig


def asr_batches(config: AsrConfig, split: str, rank: int = 0, world_size: int = 1) -> Batches:
    """Batches of `split`; those of train are shuffled, augmented, and hold only utterances that CTC can align.

    A batch is a dict: ids (list of N), features (N, T, F), lengths (N,) in frames, targets (N, U) padded
    with 0, target_lengths (N,), seconds (of audio, float). With CR-CTC features, lengths, targets and
    target_lengths hold 2N rows: one view of each utterance, then another view of each.
    """
    data, training = config.data, split == "train"
    units = Units.load(Path(data.lang))
    cuts = read_cuts(Path(data.dir), split)
    if training:
        cuts = trainable(cuts, units, data.min_seconds, data.max_seconds)
    warnings.filterwarnings("ignore", message="You are using DynamicBucketingSampler with an eagerly read")
    sampler = DynamicBucketingSampler(
        cuts,
        max_duration=data.max_duration,
        max_cuts=data.max_utterances,
        num_buckets=max(1, min(data.num_buckets, len(cuts) // 2)),
        shuffle=training,
        drop_last=False,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
    augment = Augmenter(config, read_noise(config)) if training else None
    return Batches(sampler, Collator(units, augment), data.num_workers, total=len(cuts))


def read_noise(config: AsrConfig) -> list[Cut]:
    """Noise cuts for augmentation; empty when the configuration wants none."""
    if config.augment.noise_prob == 0:
        return []
    return list(read_cuts(Path(config.data.dir), "noise"))


def trainable(cuts: CutSet, units: Units, min_seconds: float, max_seconds: float) -> CutSet:
    """Leaves out utterances of unfit length, without text, or with fewer frames than CTC needs; says how many."""
    kept, reasons = [], {"length": 0, "no text": 0, "too few frames for CTC": 0}
    for cut in cuts:
        tokens = units.encode(cut.supervisions[0].text)
        if not min_seconds <= cut.duration <= max_seconds:
            reasons["length"] += 1
        elif not tokens:
            reasons["no text"] += 1
        elif subsampled_length(cut.num_frames) < max(required_frames(tokens), 1):
            reasons["too few frames for CTC"] += 1
        else:
            kept.append(cut)
    logging.info(
        "training utterances: %d of %d; left out: %s",
        len(kept),
        len(cuts),
        ", ".join(f"{count} ({reason})" for reason, count in reasons.items()),
    )
    if not kept:
        raise ValueError(
            f"no training utterance is left: {reasons}; see data.min_seconds, data.max_seconds and the transcripts"
        )
    return CutSet.from_cuts(kept)


def feature_statistics(config: AsrConfig) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (F,) of the mel bins, over up to 500 training utterances drawn by the seed."""
    cuts = list(read_cuts(Path(config.data.dir), "train"))
    chosen = random.Random(config.seed).sample(cuts, min(500, len(cuts)))
    frames = torch.cat([load_features(cut) for cut in chosen]).double()
    return frames.mean(dim=0).float(), frames.std(dim=0).float()


class Augmenter:
    """Noise, time warping and masks of a training utterance, keyed by (seed, epoch, utterance)."""

    def __init__(self, config: AsrConfig, noises: list[Cut]):
        self.seed = config.seed
        self.config: AugmentConfig = config.augment
        self.views = 2 if config.loss.cr_scale > 0 else 1
        self.noises = noises

    def add_noise(self, cut: Cut, epoch: int) -> Cut:
        """The cut with a noise mixed in, or as it is."""
        rng = random.Random(f"{self.seed} {epoch} {cut.id}")
        if not self.noises or rng.random() >= self.config.noise_prob:
            return cut
        noise, room = rng.choice(self.noises), 0.0
        if noise.duration > cut.duration:
            start = rng.uniform(0, noise.duration - cut.duration)
            noise = noise.truncate(offset=round(start, 2), duration=cut.duration)
        else:
            room = round(rng.uniform(0, cut.duration - noise.duration), 2)
        return cut.mix(noise, offset_other_by=room, snr=rng.uniform(*self.config.noise_snr), preserve_id="left")

    def mask(self, features: Tensor, cut_id: str, epoch: int) -> list[Tensor]:
        """Views of one utterance's features (T, F): the same warp, masks of their own."""
        generator = keyed_generator(self.seed, epoch, cut_id)
        warped = time_warp(features, self.config.time_warp, generator)
        return [spec_augment(warped, self.config, generator) for _ in range(self.views)]


class Collator:
    """Cuts and the epoch's number -> a batch (see `asr_batches`)."""

    def __init__(self, units: Units, augment: Augmenter | None):
        self.units = units
        self.augment = augment

    def __call__(self, cuts: CutSet, epoch: int) -> dict[str, Any]:
        rows: list[list[Tensor]] = []  # utterances x views
        for cut in cuts:
            if self.augment is None:
                rows.append([load_features(cut)])
            else:
                noisy = self.augment.add_noise(cut, epoch)
                rows.append(self.augment.mask(load_features(noisy)[: cut.num_frames], cut.id, epoch))
        views = [features for view in zip(*rows, strict=True) for features in view]
        tokens = [torch.tensor(self.units.encode(cut.supervisions[0].text)) for cut in cuts] * len(rows[0])
        return {
            "ids": [cut.id for cut in cuts],
            "features": pad_sequence(views, batch_first=True),
            "lengths": torch.tensor([len(view) for view in views]),
            "targets": pad_sequence(tokens, batch_first=True).long(),
            "target_lengths": torch.tensor([len(row) for row in tokens]),
            "seconds": sum(cut.duration for cut in cuts),
        }


def load_features(cut: Cut) -> Tensor:
    """(T, F), float32."""
    return torch.from_numpy(np.ascontiguousarray(cut.load_features(), dtype=np.float32))
