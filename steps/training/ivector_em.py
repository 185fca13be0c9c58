"""Training of an i-vector extractor: the UBM on a sample of frames, then T by expectation-maximisation.

P. Kenny et al., "Eigenvoice Modeling With Sparse Training Data", IEEE TSAP 13(3), 2005, propositions 1 to 3, with the
minimum-divergence step of N. Brummer, "The EM algorithm and minimum divergence" (2009). The covariances
stay those of the UBM.
"""

import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steps.data.augment import keyed_generator
from steps.models.config import IvectorConfig
from steps.models.ivector import BATCH, IvectorExtractor, TotalVariability, symmetric, triangle
from steps.training.ubm_em import MIN_FRAMES, train_ubm

CHUNK = 128  # utterances whose statistics are kept in one file and whose posteriors are made at a time
INITIAL_SPREAD = 0.1  # of the loadings, in standard deviations of the Gaussians


def train_extractor(
    batches: Callable[[], Iterable[dict[str, Any]]],
    utterances: int,
    config: IvectorConfig,
    num_mel_bins: int,
    seed: int,
    device: torch.device,
    scratch: Path,
) -> IvectorExtractor:
    """An extractor trained on `utterances` utterances.

    `batches()` goes through all of them once: dicts with ids (N), features (N, T, F) and lengths (N,). It is called
    twice, for the UBM and for the statistics that T is trained on; those lie in a directory below `scratch`
    for the time. Raises ValueError where there is too little speech for the UBM.
    """
    extractor = IvectorExtractor(config, num_mel_bins).to(device)
    quota = math.ceil(config.ubm_frames / max(utterances, 1))
    frames = torch.cat([draw for batch in batches() for draw in draw_frames(extractor, batch, quota, seed)])
    logging.info("UBM: %d frames of %d utterances", len(frames), utterances)
    trained = train_ubm(frames.to(device), config, seed)
    extractor.ubm.set(trained.weights, trained.means, trained.covariances)
    del frames
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".statistics-", dir=scratch) as folder:
        store = StatisticsStore(Path(folder))
        for batch in batches():
            store.add(*extractor.statistics(batch["features"].to(device), batch["lengths"].to(device)))
        store.close()
        logging.info("statistics: %d utterances, %.2f GB", store.utterances, store.bytes / 1e9)
        means = extractor.ubm.whiten(extractor.ubm.means.unsqueeze(0)).squeeze(0)
        train_subspace(extractor.subspace, means, store, config, seed)
    return extractor.eval()


@torch.no_grad()
def draw_frames(extractor: IvectorExtractor, batch: dict[str, Any], quota: int, seed: int) -> Iterator[Tensor]:
    """Of each utterance up to `quota` frames of speech (n, D) on the CPU, drawn by (seed, utterance id)."""
    device = extractor.ubm.means.device
    frames, mask = extractor.frames(batch["features"].to(device), batch["lengths"].to(device))
    for name, x, speech in zip(batch["ids"], frames.cpu(), mask.cpu(), strict=True):
        chosen = x[speech]
        order = torch.randperm(len(chosen), generator=keyed_generator(seed, "ubm", name))
        yield chosen[order[:quota].sort().values]


class StatisticsStore:
    """Statistics of utterances on disk, float32, to be gone through again and again: 4 G (D + 1) bytes each.

    Read by memory map, so that they stay in memory as far as there is room.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.utterances = 0
        self.bytes = 0
        self._files = 0
        self._pending: list[tuple[Tensor, Tensor]] = []

    def add(self, zeroth: Tensor, first: Tensor) -> None:
        """Takes in zeroth (N, G) and first (N, G, D)."""
        self._pending.append((zeroth.float().cpu(), first.float().cpu()))
        if sum(len(zeroth) for zeroth, _ in self._pending) >= CHUNK:
            self.close()

    def close(self) -> None:
        """Writes what is still in memory."""
        if not self._pending:
            return
        for zeroth, first in zip(
            *(torch.cat(part).split(CHUNK) for part in zip(*self._pending, strict=True)), strict=True
        ):
            for name, values in (("zeroth", zeroth), ("first", first)):
                np.save(self.folder / f"{name}-{self._files:06d}.npy", values.numpy())
                self.bytes += values.numel() * values.element_size()
            self._files += 1
            self.utterances += len(zeroth)
        self._pending = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(self._files):
            pair = (np.load(self.folder / f"{name}-{number:06d}.npy", mmap_mode="c") for name in ("zeroth", "first"))
            zeroth, first = map(torch.from_numpy, pair)
            yield zeroth, first


def train_subspace(
    subspace: TotalVariability,
    means: Tensor,
    statistics: Iterable[tuple[Tensor, Tensor]],
    config: IvectorConfig,
    seed: int,
) -> list[float]:
    """Trains `subspace` in place; returns the log-likelihood before each iteration (see `em_step`).

    `means` (G, D) are the UBM's in whitened coordinates; `statistics` gives (zeroth (N, G), first (N, G, D)) of
    some utterances at a time and is gone through once in each iteration.
    """
    model = TotalVariability(*subspace.loadings.shape).to(subspace.loadings.device).double()
    initialise(model, means.double(), config.prior_offset, seed)
    curve = []
    for iteration in range(config.iterations):
        curve.append(em_step(model, statistics))
        logging.info("T, iteration %d/%d: log-likelihood %.5f per frame above the UBM's",
                     iteration + 1, config.iterations, curve[-1])  # fmt: skip
    subspace.load_state_dict(model.state_dict())
    return curve


def initialise(model: TotalVariability, means: Tensor, prior_offset: float, seed: int) -> None:
    """Small loadings drawn by `seed`. With a prior offset their first column is `means` (G, D) divided by it, so
    that the prior mean of w gives the UBM's means (D. Povey's form in Kaldi)."""
    drawn = torch.randn(model.loadings.shape, generator=keyed_generator(seed, "loadings"), dtype=torch.float64)
    model.loadings.copy_(drawn * INITIAL_SPREAD)
    model.offsets.zero_()
    model.prior_offset.fill_(prior_offset)
    if prior_offset:
        model.offsets.copy_(-means)
        model.loadings[:, :, 0] = means / prior_offset
    model.forget()


@dataclass
class Expectations:
    """Sums over the utterances u of n_u (frames), f_u (less the offsets) and w_u, float64."""

    frames: Tensor  # (G,)
    squares: Tensor  # (G, E (E + 1) / 2): n E[w w'], lower triangles
    products: Tensor  # (G D, E): f E[w]'
    mean: Tensor  # (E,): E[w], divided by the number of utterances
    moment: Tensor  # (E, E): E[w w'], likewise
    log_likelihood: float


def em_step(model: TotalVariability, statistics: Iterable[tuple[Tensor, Tensor]]) -> float:
    """One iteration of EM in place, for a model in float64: loadings, then the prior.

    Returns the log-likelihood of the statistics before it, given the posteriors of the Gaussians and with w
    integrated out, per frame (natural log), less what the UBM's own means have: it never falls.
    """
    sums = expectations(model, statistics)
    dim = model.loadings.shape[2]
    for start in range(0, len(sums.frames), BATCH):
        part = slice(start, start + BATCH)
        live = sums.frames[part] >= MIN_FRAMES  # the others keep their loadings
        factor = torch.linalg.cholesky(symmetric(sums.squares[part][live], dim))
        products = sums.products.view(model.loadings.shape)[part][live].transpose(1, 2)  # (G, D, E) -> (G, E, D)
        model.loadings[part][live] = torch.cholesky_solve(products, factor).transpose(1, 2)
    minimise_divergence(model, sums.mean, sums.moment)
    return sums.log_likelihood / float(sums.frames.sum())


@torch.no_grad()
def expectations(model: TotalVariability, statistics: Iterable[tuple[Tensor, Tensor]]) -> Expectations:
    """What an iteration needs of all utterances. Raises ValueError when there is none."""
    gaussians, _, dim = model.loadings.shape
    zeros, prior = model.loadings.new_zeros, model.prior_mean()
    sums = Expectations(
        zeros(gaussians), zeros(gaussians, dim * (dim + 1) // 2), zeros(model.offsets.numel(), dim),
        zeros(dim), zeros(dim, dim), 0.0,
    )  # fmt: skip
    utterances = 0
    for zeroth, first in statistics:
        zeroth, first = zeroth.to(prior), first.to(prior)
        linear, factor = model.posterior(zeroth, first)
        means = torch.cholesky_solve(linear.unsqueeze(2), factor).squeeze(2)
        moments = torch.cholesky_inverse(factor) + means.unsqueeze(2) * means.unsqueeze(1)
        shifts = zeroth.unsqueeze(2) * model.offsets
        sums.frames += zeroth.sum(dim=0)
        sums.squares += zeroth.T @ triangle(moments)
        sums.products += (first - shifts).flatten(1).T @ means
        sums.mean += means.sum(dim=0)
        sums.moment += moments.sum(dim=0)
        fit = (model.offsets * (first - 0.5 * shifts)).sum() + 0.5 * (
            (linear * means).sum() - len(means) * prior @ prior
        )
        sums.log_likelihood += float(fit - factor.diagonal(dim1=1, dim2=2).log().sum())
        utterances += len(zeroth)
    if not utterances:
        raise ValueError("there are no statistics to train T on: no utterance was given")
    sums.mean /= utterances
    sums.moment /= utterances
    return sums


def minimise_divergence(model: TotalVariability, mean: Tensor, moment: Tensor) -> None:
    """Gives w the prior N(mean (E,), moment (E, E) - mean mean'), then turns it back into the standard one by a change
    of coordinates, which goes into loadings and offsets and moves no mean of the model.

    With a prior offset the mean of the prior goes into the offset by a reflection, not into `offsets`.
    """
    factor = torch.linalg.cholesky(moment - torch.outer(mean, mean))
    if model.prior_offset == 0:
        model.offsets += model.loadings @ mean
        model.loadings.copy_(model.loadings @ factor)
    else:
        shift = torch.linalg.solve_triangular(factor, mean.unsqueeze(1), upper=False).squeeze(1)
        length = shift.norm()
        model.loadings.copy_(model.loadings @ factor @ reflection(shift / length))
        model.prior_offset.copy_(length)
    model.forget()


def reflection(unit: Tensor) -> Tensor:
    """The symmetric orthogonal matrix (E, E) that swaps `unit` (E,), of length 1, and the first axis."""
    difference = unit.clone()
    difference[0] -= 1.0
    identity = torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
    square = difference @ difference
    return identity - 2.0 * torch.outer(difference, difference) / square.clamp(min=1e-300)
