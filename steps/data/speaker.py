"""Batches for speaker recognition: random chunks of augmented audio for training, whole utterances otherwise."""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse.cut import Cut
from torch.nn.utils.rnn import pad_sequence

from steps.data.archives import read_cuts
from steps.data.config import SpeakerDataConfig
from steps.data.features import DeployedFbank, make_extractor
from steps.data.loader import Batches
from steps.data.sampling import ChunkSampler, LengthSampler
from steps.data.wave_augment import WaveAugmenter, change_speed, repeat
from steps.tasks.config import SpeakerConfig


def speaker_batches(
    config: SpeakerConfig, split: str, rank: int = 0, world_size: int = 1, training: Sequence[Cut] | None = None
) -> Batches:
    """Batches of `split`; `training` are the cuts of `training_cuts`, where they were read already.

    Train: ids (list of N), features (N, T, F) of chunks of one length, labels (N,), seconds of audio. Dev: ids,
    features padded with 0, lengths (N,) in frames, speakers (list of N), seconds; utterances are whole up to
    data.dev_seconds, and of each speaker there are data.dev_utterances at most.
    """
    data, extractor = config.data, make_extractor(config.features)
    if split != "train":
        chosen = choose_utterances(list(read_cuts(Path(data.dir), split)), data.dev_utterances, config.seed)
        shortened = [cut.truncate(duration=min(cut.duration, data.dev_seconds), preserve_id=True) for cut in chosen]
        sampler = LengthSampler(shortened, data.batch_seconds, rank, world_size)
        return Batches(sampler, WholeCollator(extractor), data.num_workers, total=len(chosen))
    cuts = training_cuts(config) if training is None else training
    sampler = ChunkSampler(cuts, data.batch_size, config.seed, rank, world_size, data.utterances_per_speaker)
    augmenter = WaveAugmenter.from_folder(config.augment, Path(data.dir))
    collate = ChunkCollator(config, extractor, speaker_labels(cuts), augmenter)
    return Batches(sampler, collate, data.num_workers, total=sampler.total)


def training_cuts(config: SpeakerConfig) -> list[Cut]:
    """The cuts of train that are fit for it, in memory: see `trainable`."""
    return trainable(list(read_cuts(Path(config.data.dir), "train")), config.data)


def trainable(cuts: Sequence[Cut], data: SpeakerDataConfig) -> list[Cut]:
    """Without utterances that are too short and speakers that have too few; says how many. Raises ValueError when
    fewer than two speakers are left."""
    long_enough = [cut for cut in cuts if cut.duration >= data.min_seconds]
    counts = Counter(cut.supervisions[0].speaker for cut in long_enough)
    least = max(data.min_utterances, data.utterances_per_speaker)
    kept = [cut for cut in long_enough if counts[cut.supervisions[0].speaker] >= least]
    speakers = len({cut.supervisions[0].speaker for cut in kept})
    logging.info(
        "training utterances: %d of %d, of %d speakers; left out: %d (shorter than %g s), %d (speakers with under %d)",
        *(len(kept), len(cuts), speakers, len(cuts) - len(long_enough), data.min_seconds),
        *(len(long_enough) - len(kept), least),
    )
    if speakers < 2:
        raise ValueError(
            f"{data.dir}: {speakers} training speakers are left; at least 2 are needed (data.min_seconds "
            f"{data.min_seconds:g}, data.min_utterances {data.min_utterances}, data.utterances_per_speaker "
            f"{data.utterances_per_speaker})"
        )
    return kept


def choose_utterances(cuts: Sequence[Cut], most: int, seed: int) -> list[Cut]:
    """At most `most` utterances of each speaker, drawn by (seed, speaker), in the order given; 0 for all."""
    if not most:
        return list(cuts)
    by_speaker: dict[str, list[str]] = {}
    for cut in cuts:
        by_speaker.setdefault(cut.supervisions[0].speaker, []).append(cut.id)
    chosen: set[str] = set()
    for speaker, ids in by_speaker.items():
        chosen.update(random.Random(f"{seed} {speaker}").sample(sorted(ids), min(most, len(ids))))
    return [cut for cut in cuts if cut.id in chosen]


def speaker_labels(cuts: Sequence[Cut]) -> dict[str, int]:
    """Each speaker's class, in alphabetical order."""
    return {name: label for label, name in enumerate(sorted({cut.supervisions[0].speaker for cut in cuts}))}


class ChunkCollator:
    """Cuts and the epoch's number -> a training batch (see `speaker_batches`)."""

    def __init__(
        self, config: SpeakerConfig, extractor: DeployedFbank, labels: dict[str, int], augmenter: WaveAugmenter
    ):
        self.seed, self.augment = config.seed, config.augment
        self.rate = config.features.sampling_rate
        self.samples = round(config.data.chunk_seconds * self.rate)
        self.grouped = config.data.utterances_per_speaker > 0
        self.extractor, self.labels, self.augmenter = extractor, labels, augmenter

    def __call__(self, cuts: Sequence[Cut], epoch: int) -> dict[str, Any]:
        features, labels = [], []
        for cut in cuts:
            rng = random.Random(f"{self.seed} {epoch} {cut.id}")
            # Utterances that are grouped by speaker stay so: a speaker has one speed, and is one speaker, an epoch.
            speaker = cut.supervisions[0].speaker
            wave, speed = self._chunk(
                cut, rng, random.Random(f"{self.seed} {epoch} {speaker}") if self.grouped else rng
            )
            wave = self.augmenter(wave, self.rate, rng)
            features.append(self.extractor.extract(torch.from_numpy(wave), self.rate))
            labels.append(self.labels[speaker] + speed * len(self.labels))
        return {
            "ids": [cut.id for cut in cuts],
            "features": torch.stack(features),
            "labels": torch.tensor(labels),
            "seconds": len(cuts) * self.samples / self.rate,
        }

    def _chunk(self, cut: Cut, rng: random.Random, speed_rng: random.Random) -> tuple[np.ndarray, int]:
        """A random place of the utterance at a random speed, (samples,) float32; and the speed's number."""
        speeds = self.augment.speeds
        speed = speed_rng.randrange(len(speeds)) if speed_rng.random() < self.augment.speed_prob else 0
        needed = round(self.samples * speeds[speed]) + 1
        if cut.num_samples > needed:
            start = rng.randint(0, cut.num_samples - needed)
            cut = cut.truncate(offset=start / self.rate, duration=needed / self.rate)
        wave = change_speed(cut.load_audio()[0], speeds[speed], self.rate)
        return repeat(wave, self.samples), speed


class WholeCollator:
    """Cuts -> a batch of whole utterances (see `speaker_batches`)."""

    def __init__(self, extractor: DeployedFbank):
        self.extractor = extractor

    def __call__(self, cuts: Sequence[Cut], epoch: int = 0) -> dict[str, Any]:
        rows = []
        for cut in cuts:
            wave = np.ascontiguousarray(cut.load_audio()[0])
            rows.append(self.extractor.extract(torch.from_numpy(wave), cut.sampling_rate))
        return {
            "ids": [cut.id for cut in cuts],
            "features": pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(row) for row in rows]),
            "speakers": [cut.supervisions[0].speaker if cut.supervisions else "" for cut in cuts],
            "seconds": sum(cut.duration for cut in cuts),
        }
