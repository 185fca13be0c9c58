"""The universal background model of i-vectors: clusters of frames, then expectation-maximisation.

The accumulators are float64; frames go through in blocks. Each update is the maximum of EM's bound under the
variance floors, so that the likelihood never falls while every Gaussian of a frame counts (`top_k` = 0).
"""

import logging

import torch
from torch import Tensor

from steps.models.config import IvectorConfig
from steps.models.gaussian_mixture import GaussianMixture, grouped
from steps.models.ivector import BLOCK

MIN_FRAMES = 10.0  # a Gaussian with fewer keeps its mean and variance (Kaldi's min-gaussian-occupancy)


def train_ubm(frames: Tensor, config: IvectorConfig, seed: int) -> GaussianMixture:
    """A mixture of config.num_gauss Gaussians for frames (n, D), on their device.

    Raises ValueError for fewer than 10 frames for each Gaussian, and for frames that are all alike.
    """
    if len(frames) < MIN_FRAMES * config.num_gauss:
        raise ValueError(
            f"{len(frames)} frames of speech train {len(frames) // int(MIN_FRAMES)} Gaussians at most, and "
            f"ivector.num_gauss is {config.num_gauss}: lower it, or use more speech "
            f"(ivector.max_utterances, ivector.ubm_frames)"
        )
    floor = config.variance_floor * global_variance(frames)
    generator = torch.Generator().manual_seed(seed)
    subset = frames
    if len(frames) > config.kmeans_frames:
        subset = frames[torch.randperm(len(frames), generator=generator)[: config.kmeans_frames].to(frames.device)]
    mixture = GaussianMixture(config.num_gauss, frames.shape[1], full=False).to(frames.device, frames.dtype)
    mixture.set(*clusters(subset, config.num_gauss, config.kmeans_iterations, floor, generator))
    for iteration in range(config.diagonal_iterations):
        _log("diagonal", iteration + 1, config.diagonal_iterations, *em_step(mixture, frames, floor, config.top_k))
    if config.full_covariance:
        mixture = with_full_covariances(mixture)
        for iteration in range(config.full_iterations):
            _log("full", iteration + 1, config.full_iterations, *em_step(mixture, frames, floor, config.top_k))
    return mixture


def global_variance(frames: Tensor) -> Tensor:
    """(D,) float64: the variance of all frames (n, D). Raises ValueError where it is 0."""
    total, squares = frames.new_zeros(2, frames.shape[1], dtype=torch.float64)
    for block in frames.split(BLOCK):
        total += block.double().sum(dim=0)
        squares += block.double().square().sum(dim=0)
    variance = squares / len(frames) - (total / len(frames)).square()
    if not bool((variance > 1e-10).all()):
        raise ValueError("the cepstra of the training utterances do not vary: is their audio silence?")
    return variance


def clusters(
    frames: Tensor, num_gauss: int, iterations: int, floor: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (G,), means (G, D) and variances (G, D) of k-means from `num_gauss` frames drawn at random.

    Distances are in units of each dimension's deviation. A cluster without frames starts again at the frame
    that is farthest from its own; one with few gets the variance of all.
    """
    scale = global_variance(frames).sqrt().to(frames.dtype)
    x = frames / scale
    centres = x[torch.randperm(len(x), generator=generator)[:num_gauss].to(x.device)]
    for _ in range(max(iterations, 1)):
        counts, sums, squares, farthest = _assign(x, centres)
        centres = (sums / counts.clamp(min=1).unsqueeze(1)).to(x.dtype)
        empty = counts == 0
        centres[empty] = x[farthest[: int(empty.sum())]]
    few = counts < MIN_FRAMES
    inside = (squares - sums.square() / counts.clamp(min=1).unsqueeze(1)).clamp(min=0)
    variances = inside / counts.clamp(min=1).unsqueeze(1)
    variances[few] = inside.sum(dim=0) / len(x)
    weights = counts.clamp(min=1) / counts.clamp(min=1).sum()
    return weights, centres * scale, (variances * scale.square()).clamp(min=floor)


def _assign(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames x (n, D) to the nearest of centres (G, D): counts (G,), sums and sums of squares (G, D), float64; and
    the frames in the order of their distance, the farthest first, as many as there are empty clusters."""
    counts = x.new_zeros(len(centres), dtype=torch.float64)
    sums, squares = x.new_zeros(2, *centres.shape, dtype=torch.float64)
    distances = []
    for block in x.split(BLOCK):
        affinity = torch.addmm(-0.5 * centres.square().sum(dim=1), block, centres.T)
        best, nearest = affinity.max(dim=1)
        distances.append(block.square().sum(dim=1) - 2 * best)
        counts += torch.bincount(nearest, minlength=len(centres))
        sums.index_add_(0, nearest, block.double())
        squares.index_add_(0, nearest, block.double().square())
    empty = int((counts == 0).sum())
    return counts, sums, squares, torch.cat(distances).topk(empty).indices


def em_step(mixture: GaussianMixture, frames: Tensor, floor: Tensor, top_k: int = 0) -> tuple[float, int]:
    """One iteration of EM on frames (n, D), in place, variances not below `floor` (D,).

    Returns the log-likelihood per frame before it (natural log), and how many Gaussians had too few frames for
    a mean and covariance of their own: they keep what they had, and only their weight changes.
    """
    zeroth, first, second, log_likelihood = _accumulate(mixture, frames, top_k)
    means = mixture.means.double()
    covariances = mixture.covariances.double()
    # A full covariance of fewer frames than twice its dimensions would be little but the floor.
    live = zeroth >= (max(MIN_FRAMES, 2.0 * frames.shape[1]) if mixture.full else MIN_FRAMES)
    count = zeroth[live].unsqueeze(1)
    mean = first[live] / count
    if mixture.full:
        moment = second[live] / count.unsqueeze(2) - mean.unsqueeze(2) * mean.unsqueeze(1)
        covariances[live] = floored(moment, floor)
    else:
        covariances[live] = (second[live] / count - mean.square()).clamp(min=floor)
    means[live] = mean
    mixture.set(zeroth / zeroth.sum(), means, covariances)
    return log_likelihood / len(frames), int((~live).sum())


def _accumulate(mixture: GaussianMixture, frames: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Statistics of order 0 (G,), 1 (G, D) and 2 (as the covariances are), float64, and the log-likelihood."""
    zeroth = mixture.weights.new_zeros(mixture.weights.shape, dtype=torch.float64)
    first = mixture.means.new_zeros(mixture.means.shape, dtype=torch.float64)
    second = mixture.covariances.new_zeros(mixture.covariances.shape, dtype=torch.float64)
    total = zeroth.new_zeros(())
    for block in frames.split(BLOCK):
        posteriors, log_likelihood = mixture.posteriors(block, top_k)
        total += log_likelihood.double().sum()
        zeroth += posteriors.double().sum(dim=0)
        first += posteriors.T @ block
        if not mixture.full:
            second += posteriors.T @ block.square()
            continue
        by_gaussian = posteriors.T.contiguous()
        for g, rows in grouped(*by_gaussian.nonzero(as_tuple=True), len(zeroth)):
            part = block[rows]
            second[g] += (part * by_gaussian[g, rows].unsqueeze(1)).T @ part
    return zeroth, first, second, float(total)


def floored(covariances: Tensor, floor: Tensor) -> Tensor:
    """(G, D, D) with no variance below `floor` (D,), in whatever direction: the eigenvalues relative to the floor are
    raised to 1, which is the most likely covariance of those that lie above the floor."""
    scale = floor.sqrt()
    values, vectors = torch.linalg.eigh(covariances / scale / scale.unsqueeze(1))
    raised = (vectors * values.clamp(min=1.0).unsqueeze(1)) @ vectors.transpose(1, 2)
    return raised * scale * scale.unsqueeze(1)


def with_full_covariances(mixture: GaussianMixture) -> GaussianMixture:
    """The same density, in a mixture that may learn the rest of its covariances."""
    full = GaussianMixture(*mixture.means.shape, full=True).to(mixture.means.device, mixture.means.dtype)
    full.set(mixture.weights, mixture.means, torch.diag_embed(mixture.covariances))
    return full


def _log(kind: str, iteration: int, iterations: int, log_likelihood: float, poor: int) -> None:
    note = f", {poor} Gaussians with too few frames" if poor else ""
    logging.info("UBM, %s, iteration %d/%d: log-likelihood %.4f per frame%s",
                 kind, iteration, iterations, log_likelihood, note)  # fmt: skip
