"""A mixture of Gaussians over frames: the universal background model of i-vectors."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class GaussianMixture(nn.Module):
    """G Gaussians in D dimensions with diagonal or full covariances, as buffers `weights`, `means`, `covariances`."""

    def __init__(self, num_gauss: int, dim: int, full: bool):
        super().__init__()
        self.full = full
        self.register_buffer("weights", torch.full((num_gauss,), 1.0 / num_gauss))
        self.register_buffer("means", torch.zeros(num_gauss, dim))
        unit = torch.eye(dim) if full else torch.ones(dim)
        self.register_buffer("covariances", unit.repeat(num_gauss, *[1] * unit.dim()))
        self._derived: tuple[Tensor, ...] | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module.forget())

    def set(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Takes on new parameters (G,), (G, D), and (G, D) or (G, D, D)."""
        self.weights.copy_(weights)
        self.means.copy_(means)
        self.covariances.copy_(covariances)
        self.forget()

    def forget(self) -> None:
        """Drops what was derived from the parameters; to be called where something else has changed them."""
        self._derived = None

    def _apply(self, *args, **kwargs):
        self.forget()  # the device or the type changes
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def posteriors(self, x: Tensor, top_k: int = 0) -> tuple[Tensor, Tensor]:
        """x (T, D) -> the probability of each Gaussian (T, G), and the log-likelihood (T,), natural log.

        With `top_k` the sums go over each frame's `top_k` best Gaussians only, which are chosen by the diagonals
        of the covariances, and the others get exactly 0.
        """
        log_joint = self._diagonal(x)
        count = log_joint.shape[1]
        if not 0 < top_k < count:
            if self.full:
                log_joint = self._full(x, torch.arange(count, device=x.device).expand(len(x), -1))
            return log_joint.softmax(dim=1), log_joint.logsumexp(dim=1)
        best, chosen = log_joint.topk(top_k, dim=1)  # (T, K)
        if self.full:
            best = self._full(x, chosen)
        return torch.zeros_like(log_joint).scatter_(1, chosen, best.softmax(dim=1)), best.logsumexp(dim=1)

    def whiten(self, x: Tensor) -> Tensor:
        """(N, G, D) -> (N, G, D): each Gaussian's vectors times the inverse Cholesky factor of its covariance."""
        whitener = self._terms()[2].to(x.dtype)
        if not self.full:
            return x * whitener
        return torch.einsum("gde,nge->ngd", whitener, x)

    def _diagonal(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, G): log of weight times density, with the diagonals of the covariances alone."""
        matrix, constant = self._terms()[:2]
        return torch.addmm(constant, torch.cat([x, x.square()], dim=1), matrix)

    def _full(self, x: Tensor, chosen: Tensor) -> Tensor:
        """x (T, D), chosen (T, K) -> (T, K): log of weight times density of those Gaussians.

        One product for each Gaussian with the frames that chose it, of differences to its mean: unlike the
        expanded square this keeps its digits where a covariance is narrow.
        """
        whitener, constant = self._terms()[2:]
        order = chosen.flatten().argsort(stable=True)
        pieces = [
            constant[g] - 0.5 * ((x[rows] - self.means[g]) @ whitener[g].T).square().sum(dim=1)
            for g, rows in grouped(chosen.flatten()[order], order // chosen.shape[1], len(constant))
        ]
        values = torch.empty(chosen.numel(), dtype=x.dtype, device=x.device)
        values[order] = torch.cat(pieces) if pieces else values
        return values.view_as(chosen)

    def _terms(self) -> tuple[Tensor, ...]:
        """For diagonals: matrix (2 D, G) and constant (G,); then whiteners, (G, D) or (G, D, D), and constant (G,)."""
        if self._derived is None:
            weights, means, covariances = self.weights.double(), self.means.double(), self.covariances.double()
            variances = covariances.diagonal(dim1=1, dim2=2) if self.full else covariances
            matrix = torch.cat([means / variances, -0.5 / variances], dim=1).T
            log_weights = weights.clamp(min=1e-30).log() - 0.5 * means.shape[1] * math.log(2 * math.pi)
            constant = log_weights - 0.5 * (variances.log() + means.square() / variances).sum(dim=1)
            if self.full:
                factors = torch.linalg.cholesky(covariances)
                unit = torch.eye(means.shape[1], dtype=factors.dtype, device=factors.device)
                whitener = torch.linalg.solve_triangular(factors, unit.expand_as(factors), upper=False)
                logdet = factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            else:
                whitener, logdet = variances.rsqrt(), 0.5 * variances.log().sum(dim=1)
            terms = (matrix, constant, whitener, log_weights - logdet)
            self._derived = tuple(term.to(self.means.dtype) for term in terms)
        return self._derived


def grouped(groups: Tensor, rows: Tensor, count: int) -> Iterator[tuple[int, Tensor]]:
    """The rows of each group 0 ... count - 1 that has any; `groups` ascends."""
    sizes = torch.bincount(groups, minlength=count).tolist()
    yield from ((group, part) for group, part in enumerate(rows.split(sizes)) if len(part))
