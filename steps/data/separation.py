"""Batches of mixtures: chunks that are mixed on the fly for training, mixtures of the plan otherwise."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from steps.data.enrolment import Enrolments
from steps.data.loader import Batches
from steps.data.mixing import Sounds, render
from steps.data.mixture import Mixture
from steps.data.mixture_config import MixtureConfig, MixtureDataConfig
from steps.data.mixture_corpus import make_planner, read_plans, sound_cuts
from steps.data.noise_augment import NoiseAugmenter
from steps.data.wave_augment import change_speed

AUDIBLE = 1e-3  # of a talker's mean power in the mixture: a chunk has him if he is louder than that in it


class MixtureExperiment(Protocol):
    """The part of a configuration that batches depend on."""

    seed: int
    mixtures: MixtureConfig
    data: MixtureDataConfig


def mixture_batches(config: MixtureExperiment, split: str, rank: int = 0, world_size: int = 1) -> Batches:
    """Batches of `split`: ids (list of N), mixture (N, T), sources (N, S, T), seconds; with data.enrolments also
    enrolment (N, E), of the talker that is then the only source.

    Train: chunks of data.chunk_seconds; the mixture of (epoch, index) is the same whatever process makes it. Dev: the
    plan's mixtures, batches of neighbours in length, each cut to the shortest of its batch.
    """
    data, folder = config.data, Path(config.data.dir)
    sounds = Sounds(sound_cuts(folder, split), config.mixtures.sampling_rate, data.cache_mb << 20)
    if split != "train":
        limit = data.dev_mixtures or None
        plans = read_plans(folder, data.kinds, split)
        mixtures = [mixture for plan in plans for mixture in plan.mixtures[:limit]]
        if not mixtures:
            raise ValueError(f"{folder}: the plans of {split} have no mixtures (mixtures.sets)")
        return Batches(
            NeighbourSampler(mixtures, data.batch_size, rank, world_size),
            WholeCollator(config, sounds, split),
            data.num_workers,
            total=len(mixtures),
        )
    rows: RowSource = PlannedRows(config) if data.mixing == "fixed" else DrawnRows(config)
    count = data.epoch_mixtures or len(rows)
    sampler = IndexSampler(len(rows), count, data.batch_size, config.seed, rank, world_size)
    return Batches(sampler, ChunkCollator(config, rows, sounds), data.num_workers, total=sampler.total)


class RowSource(Protocol):
    """Training mixtures by index and epoch."""

    def __len__(self) -> int: ...

    def row(self, index: int, epoch: int) -> Mixture:
        """The mixture of this index in this epoch."""
        ...


class PlannedRows:
    """The rows of the training plans, the same in every epoch."""

    def __init__(self, config: MixtureExperiment):
        plans = read_plans(Path(config.data.dir), config.data.kinds, "train")
        self.rows = [mixture for plan in plans for mixture in plan.mixtures]

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, epoch: int) -> Mixture:
        """See RowSource."""
        return self.rows[index]


class DrawnRows:
    """Rows drawn anew in every epoch, as many of each set as its plan has."""

    def __init__(self, config: MixtureExperiment):
        folder = Path(config.data.dir)
        self.planners = [
            (config.mixtures.sets[kind].train, make_planner(config.mixtures, config.seed, folder, kind, "train"))
            for kind in config.data.kinds
        ]

    def __len__(self) -> int:
        return sum(size for size, _ in self.planners)

    def row(self, index: int, epoch: int) -> Mixture:
        """See RowSource."""
        for size, planner in self.planners:
            if index < size:
                return planner.row(index, epoch)
            index -= size
        raise IndexError(index)


class IndexSampler:
    """Batches of indices below `size`: `count` of them an epoch, in an order of (seed, epoch)."""

    def __init__(self, size: int, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        self.size, self.seed, self.rank, self.world_size = size, seed, rank, world_size
        self.batch_size = min(batch_size, count // world_size)
        self.batches = count // (self.batch_size * world_size) * world_size if self.batch_size else 0
        self.epoch = 0
        if not self.batches:
            raise ValueError(
                f"{count} training mixtures make no batch on each of {world_size} processes (mixtures.sets, "
                f"data.epoch_mixtures)"
            )

    @property
    def total(self) -> int:
        """Mixtures of an epoch, over all ranks."""
        return self.batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """The order follows the epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self.seed} {self.epoch}")
        order: list[int] = []
        while len(order) < self.total:
            order += rng.sample(range(self.size), self.size)
        for number in range(self.rank, self.batches, self.world_size):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]


class NeighbourSampler:
    """Batches of mixtures that are neighbours in length, the longest first."""

    def __init__(self, mixtures: Sequence[Mixture], batch_size: int, rank: int = 0, world_size: int = 1):
        ordered = sorted(mixtures, key=lambda mixture: (-mixture.samples, mixture.id))
        batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
        self.batches = batches[rank::world_size]

    def set_epoch(self, epoch: int) -> None:
        """Nothing here follows the epoch."""

    def __iter__(self) -> Iterator[list[Mixture]]:
        yield from self.batches


class ChunkCollator:
    """Indices and the epoch's number -> a training batch (see `mixture_batches`)."""

    def __init__(self, config: MixtureExperiment, rows: RowSource, sounds: Sounds):
        self.seed, self.rows, self.sounds = config.seed, rows, sounds
        self.rate, self.early = config.mixtures.sampling_rate, config.mixtures.early_seconds
        self.samples = round(config.data.chunk_seconds * self.rate)
        self.tries, self.speeds = config.data.crop_tries, config.data.speeds
        self.augment = NoiseAugmenter(config.data, self.rate)
        self.voices = open_enrolments(config, "train", sounds)

    def __call__(self, indices: Sequence[int], epoch: int) -> dict[str, Any]:
        mixtures = [self.rows.row(index, epoch) for index in indices]
        pairs = [self._chunk(mixture, epoch) for mixture in mixtures]
        return batch_of(mixtures, pairs, self.rate, self.voices)

    def _chunk(self, mixture: Mixture, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A place where all talkers are heard, if one is found: mixture (T,) and targets (S, T)."""
        rendered = render(mixture, self.sounds, self.early)
        rng = random.Random(f"{self.seed} {epoch} {mixture.id}")
        speeds = [rng.choice(self.speeds) for _ in mixture.sources]
        needed = round(self.samples * max(speeds))
        for _ in range(self.tries):
            start = rng.randint(0, max(0, mixture.samples - needed))
            if all_heard(rendered.targets[:, start : start + needed], rendered.targets):
                break
        targets = self._at_speeds(rendered.targets[:, start:], speeds)
        sources = self._at_speeds(rendered.sources[:, start:], speeds) if rendered.in_room else targets
        noise = self.augment(rendered.noise[start:], self.samples, lambda: self._other_noise(rng, epoch), rng)
        return sources.sum(axis=0) + fitted(noise, self.samples), targets

    def _other_noise(self, rng: random.Random, epoch: int) -> np.ndarray | None:
        """The noise of another mixture, or None if that has none."""
        noise = self.rows.row(rng.randrange(len(self.rows)), epoch).noise
        return None if noise is None else self.sounds.wave(noise.recording)[noise.start : noise.start + noise.samples]

    def _at_speeds(self, waves: np.ndarray, speeds: Sequence[float]) -> np.ndarray:
        """(S, T') -> (S, T) with T a chunk's samples: each faster or slower, from its start."""
        changed = [
            change_speed(wave[: round(self.samples * speed)], speed, self.rate)
            for wave, speed in zip(waves, speeds, strict=True)
        ]
        return np.stack([fitted(wave, self.samples) for wave in changed])


class WholeCollator:
    """Mixtures -> a batch of their beginnings, as long as the shortest of them and data.dev_seconds allow."""

    def __init__(self, config: MixtureExperiment, sounds: Sounds, split: str):
        self.sounds, self.early = sounds, config.mixtures.early_seconds
        self.rate = config.mixtures.sampling_rate
        self.most = round(config.data.dev_seconds * self.rate)
        self.voices = open_enrolments(config, split, sounds)

    def __call__(self, mixtures: Sequence[Mixture], epoch: int = 0) -> dict[str, Any]:
        length = min(mixture.samples for mixture in mixtures)
        length = min(length, self.most) if self.most else length
        rendered = (render(mixture, self.sounds, self.early) for mixture in mixtures)
        pairs = [(one.mixture[:length], one.targets[:, :length]) for one in rendered]
        return batch_of(mixtures, pairs, self.rate, self.voices)


def batch_of(
    mixtures: Sequence[Mixture],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    sampling_rate: int,
    voices: Enrolments | None,
) -> dict[str, Any]:
    """See `mixture_batches`; pairs of a mixture (T,) and its targets (S, T), all of one length."""
    batch = {
        "ids": [mixture.id for mixture in mixtures],
        "mixture": torch.from_numpy(np.stack([mixture for mixture, _ in pairs])),
        "sources": torch.from_numpy(np.stack([targets for _, targets in pairs])),
        "seconds": sum(len(mixture) for mixture, _ in pairs) / sampling_rate,
    }
    if voices is not None:
        batch["sources"] = batch["sources"][:, :1]
        batch["enrolment"] = torch.stack([voices.embedding(mixture.sources[0].enrolment) for mixture in mixtures])
    return batch


def open_enrolments(config: MixtureExperiment, split: str, sounds: Sounds) -> Enrolments | None:
    """The embeddings of the split's utterances, where the configuration names them."""
    if not config.data.enrolments:
        return None
    speakers = {cut.id: cut.supervisions[0].speaker for cut in sounds.cuts.values() if cut.supervisions}
    return Enrolments(Path(f"{config.data.enrolments}_{split}"), speakers)


def fitted(wave: np.ndarray, samples: int) -> np.ndarray:
    """(T,) -> (samples,): cut, or followed by silence."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def all_heard(chunk: np.ndarray, whole: np.ndarray) -> bool:
    """Whether in the chunk (S, T') of targets (S, T) each is louder than AUDIBLE of its mean power."""
    powers = np.mean(np.square(chunk), axis=1)
    return bool(np.all(powers > AUDIBLE * np.mean(np.square(whole), axis=1)))
