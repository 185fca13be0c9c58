"""Batches in an order that depends on (seed, epoch, rank) alone, and that can be taken up again anywhere."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from lhotse import CutSet
from lhotse.dataset.sampling.base import CutSampler


class Batches:
    """Iterates over one epoch at a time; `state_dict` says where it is, `load_state_dict` goes back there.

    What a batch holds is decided in the worker processes from the cuts and the epoch; the position is
    counted in the main process, so that batches which were loaded ahead but not used count as not seen.
    """

    def __init__(
        self,
        sampler: CutSampler,
        collate: Callable[[CutSet, int], dict[str, Any]],
        num_workers: int = 0,
        total: int = 0,
    ):
        """`collate(cuts, epoch)` makes a batch with its utterances' `ids`; `total` utterances make an epoch
        over all ranks."""
        self.sampler = sampler
        self.collate = collate
        self.num_workers = num_workers
        self.total = total
        self.epoch = 0
        self.position = 0  # batches of this epoch that were handed out
        self.seen = 0  # utterances of this epoch that were counted, over all ranks

    @property
    def fraction(self) -> float:
        """Share of the epoch's utterances that were counted, 0 to 1: the same on every rank."""
        return min(self.seen / self.total, 1.0) if self.total else 0.0

    def state_dict(self) -> dict[str, int]:
        """The position, to be stored in a checkpoint."""
        return {"epoch": self.epoch, "position": self.position, "seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes to a stored position: the next iteration starts with the batch after it."""
        self.epoch, self.position, self.seen = state["epoch"], state["position"], state["seen"]

    def count(self, utterances: int) -> None:
        """Notes that all ranks together have used so many more utterances of the epoch."""
        self.seen += utterances

    def next_epoch(self) -> None:
        """Goes to the start of the next epoch."""
        self.epoch, self.position, self.seen = self.epoch + 1, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.sampler.set_epoch(self.epoch)
        loader = torch.utils.data.DataLoader(
            _Collated(self.collate, self.epoch),
            sampler=_Skipping(self.sampler, self.position),
            batch_size=None,
            num_workers=self.num_workers,
            prefetch_factor=4 if self.num_workers else None,
            # Without a generator of its own the loader would draw from torch's, whose state is the model's.
            generator=torch.Generator(),
        )
        for batch in loader:
            self.position += 1
            yield batch


class _Collated(torch.utils.data.Dataset):
    """Makes batches of the cuts that the sampler names, inside the worker process."""

    def __init__(self, collate: Callable[[CutSet, int], dict[str, Any]], epoch: int):
        self.collate = collate
        self.epoch = epoch

    def __getitem__(self, cuts: CutSet) -> dict[str, Any]:
        return self.collate(cuts, self.epoch)


class _Skipping(torch.utils.data.Sampler):
    """The sampler's batches from a position on; those before it are planned again, but not loaded."""

    def __init__(self, sampler: CutSampler, skip: int):
        self.sampler = sampler
        self.skip = skip

    def __iter__(self) -> Iterator[CutSet]:
        return islice(iter(self.sampler), self.skip, None)
