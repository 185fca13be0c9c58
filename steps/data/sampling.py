"""Which utterances make a batch, where batches are not made by duration alone.

Both samplers depend on (seed, epoch) alone, and give each rank as many batches.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from lhotse.cut import Cut

from steps.inference.shares import groups_by_seconds


class ChunkSampler:
    """Shuffled batches of `batch_size` utterances for training on chunks of one length.

    With `per_speaker` = M a batch holds M utterances of each of batch_size / M different speakers. What does not
    fill a batch on every rank is left for another epoch; a corpus smaller than one batch makes a smaller one.
    """

    def __init__(
        self, cuts: Sequence[Cut], batch_size: int, seed: int, rank: int = 0, world_size: int = 1, per_speaker: int = 0
    ):
        self.cuts = sorted(cuts, key=lambda cut: cut.id)
        self.batch_size, self.seed, self.per_speaker = batch_size, seed, per_speaker
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        if not self._batches():
            raise ValueError(
                f"{len(cuts)} training utterances make no batch on each of {world_size} processes: "
                f"lower data.batch_size ({batch_size})"
                + (f" or data.utterances_per_speaker ({per_speaker})" if per_speaker else "")
            )

    def set_epoch(self, epoch: int) -> None:
        """The order follows the epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[Cut]]:
        yield from self._batches()[self.rank :: self.world_size]

    @property
    def total(self) -> int:
        """Utterances of this epoch, over all ranks."""
        return sum(map(len, self._batches()))

    def _batches(self) -> list[list[Cut]]:
        rng = random.Random(f"{self.seed} {self.epoch}")
        if self.per_speaker:
            batches = self._by_speaker(rng)
        else:
            order = rng.sample(self.cuts, len(self.cuts))
            size = min(self.batch_size, len(order) // self.world_size)
            batches = [order[i : i + size] for i in range(0, len(order) - size + 1, size)] if size > 1 else []
        return batches[: len(batches) // self.world_size * self.world_size]

    def _by_speaker(self, rng: random.Random) -> list[list[Cut]]:
        """Groups of M utterances of a speaker; a batch takes one group of each of its speakers."""
        speakers: dict[str, list[Cut]] = {}
        for cut in rng.sample(self.cuts, len(self.cuts)):
            speakers.setdefault(cut.supervisions[0].speaker, []).append(cut)
        size = self.per_speaker
        groups = [[own[i : i + size] for i in range(0, len(own) - size + 1, size)] for own in speakers.values()]
        count, batches = self.batch_size // size, []
        for row in zip_longest(*groups):  # the first group of each speaker, then the second of each ...
            there = [group for group in row if group]
            rng.shuffle(there)
            take = min(count, len(there))
            starts = range(0, len(there) - take + 1, take) if take > 1 else ()
            batches += [[cut for group in there[i : i + take] for cut in group] for i in starts]
        rng.shuffle(batches)
        return batches


class LengthSampler:
    """Whole utterances, the longest first, in batches of at most `batch_seconds` when padded to the longest."""

    def __init__(self, cuts: Sequence[Cut], batch_seconds: float, rank: int = 0, world_size: int = 1):
        self.cuts = sorted(cuts, key=lambda cut: (-cut.duration, cut.id))[rank::world_size]
        self.batch_seconds = batch_seconds

    def set_epoch(self, epoch: int) -> None:
        """Nothing here follows the epoch."""

    def __iter__(self) -> Iterator[list[Cut]]:
        yield from groups_by_seconds(((cut.duration, cut) for cut in self.cuts), self.batch_seconds)
