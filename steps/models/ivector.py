"""I-vectors: an utterance as the point of a low-dimensional space that explains how its sounds shift.

N. Dehak et al., "Front-End Factor Analysis for Speaker Verification", IEEE TASLP 19(4), 2011. The means of a
mixture of G Gaussians over cepstra move with a standard normal w of dimension E; the i-vector is the
posterior mean of w given the utterance (its equation 6, here as P. Kenny's Baum-Welch statistics in matmuls).
"""

import torch
from torch import Tensor, nn

from steps.models.cepstra import dct_matrix, short_time_centred, speech_mask, with_deltas
from steps.models.config import IvectorConfig
from steps.models.gaussian_mixture import GaussianMixture

BLOCK = 16384  # frames at a time; their posteriors of 2048 Gaussians are 134 MB
BATCH = 64  # Gaussians at a time where E x E matrices of each are made


class TotalVariability(nn.Module):
    """Mean of Gaussian g, in coordinates where its covariance is the unit matrix and its mean in the UBM 0:
    offsets[g] + loadings[g] w, with w ~ N((prior_offset, 0, ...), 1).

    Buffers `loadings` (G, D, E), `offsets` (G, D), `prior_offset` (a scalar; 0 is the paper's model). With
    means m_g and Cholesky factors C_g of the UBM, the paper's T has the blocks C_g loadings[g].
    """

    def __init__(self, num_gauss: int, dim: int, embedding_dim: int):
        super().__init__()
        self.register_buffer("loadings", torch.zeros(num_gauss, dim, embedding_dim))
        self.register_buffer("offsets", torch.zeros(num_gauss, dim))
        self.register_buffer("prior_offset", torch.zeros(()))
        self._derived: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module.forget())

    def forget(self) -> None:
        """Drops what was derived from the buffers; to be called after changing them."""
        self._derived = None

    def _apply(self, *args, **kwargs):
        self.forget()
        return super()._apply(*args, **kwargs)

    def forward(self, zeroth: Tensor, first: Tensor) -> Tensor:
        """zeroth (N, G), first (N, G, D) as `IvectorExtractor.statistics` gives them -> the posterior mean of w
        less its prior mean (N, E), float64; zeros where there are no frames."""
        linear, factor = self.posterior(zeroth, first)
        means = torch.cholesky_solve(linear.unsqueeze(2), factor).squeeze(2)
        return means - self.prior_mean()

    def posterior(self, zeroth: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior N(P^-1 b, P^-1) of w: b (N, E) and the Cholesky factor of P (N, E, E), float64."""
        zeroth = zeroth.double()
        matrix, products = self._terms()
        centred = (first.double() - zeroth.unsqueeze(2) * self.offsets.double()).flatten(1)
        linear = centred @ matrix + self.prior_mean()
        precision = symmetric(zeroth @ products, linear.shape[1])
        precision.diagonal(dim1=1, dim2=2).add_(1.0)
        return linear, torch.linalg.cholesky(precision)

    def prior_mean(self) -> Tensor:
        """(E,), float64."""
        mean = torch.zeros(self.loadings.shape[2], dtype=torch.float64, device=self.loadings.device)
        mean[0] = self.prior_offset
        return mean

    def _terms(self) -> tuple[Tensor, Tensor]:
        """Loadings (G D, E), and the lower triangles of loadings' loadings (G, E (E + 1) / 2), float64."""
        if self._derived is None:
            loadings = self.loadings.double()
            blocks = [triangle(part.transpose(1, 2) @ part) for part in loadings.split(BATCH)]
            self._derived = loadings.flatten(0, 1), torch.cat(blocks)
        return self._derived


class IvectorExtractor(nn.Module):
    """Log-mel energies to i-vectors. Trained by `steps.training.ivector_em`, not by gradients.

    The frames that are used depend on the data, so this does not go into an ONNX graph.
    """

    def __init__(self, config: IvectorConfig, num_mel_bins: int = 80):
        super().__init__()
        self.config = config
        self.embedding_dim = config.embedding_dim
        dim = 3 * config.num_ceps
        self.register_buffer("dct", dct_matrix(num_mel_bins, config.num_ceps), persistent=False)
        self.ubm = GaussianMixture(config.num_gauss, dim, config.full_covariance)
        self.subspace = TotalVariability(config.num_gauss, dim, config.embedding_dim)

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None for all -> i-vectors (N, E).

        An utterance whose frames are all alike, silence or a single frame, uses all its frames; one of no
        frames gets zeros, the mean of the prior.
        """
        return self.subspace(*self.statistics(features, lengths)).to(features.dtype)

    def frames(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """features (N, T, F) -> cepstra with differences (N, T, D), and which of them are speech (N, T).

        In Kaldi's order: differences, short-time mean, then the choice of frames.
        """
        config = self.config
        mask = speech_mask(features, lengths, config.vad_below_mean, config.vad_context)
        x = with_deltas(features @ self.dct.to(features.dtype), lengths, config.delta_window)
        return short_time_centred(x, lengths, config.cmn_window), mask

    @torch.no_grad()
    def statistics(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Baum-Welch statistics of each utterance, float64: frames of each Gaussian (N, G), and the sum of its
        frames less its mean, times the inverse Cholesky factor of its covariance (N, G, D)."""
        x, mask = self.frames(features, lengths)
        zeroth = x.new_zeros(len(x), len(self.ubm.weights), dtype=torch.float64)
        first = x.new_zeros(*zeroth.shape, x.shape[2], dtype=torch.float64)
        chosen = x[mask]  # (N, T, D) -> (frames of speech, D)
        ends = mask.sum(dim=1).cumsum(dim=0).tolist()
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK]
            posteriors, _ = self.ubm.posteriors(block, self.config.top_k)
            for n, end in enumerate(ends):
                rows = slice(max((ends[n - 1] if n else 0) - start, 0), max(end - start, 0))
                if rows.start < min(rows.stop, len(block)):
                    zeroth[n] += posteriors[rows].sum(dim=0)
                    first[n] += posteriors[rows].T @ block[rows]
        first = self.ubm.whiten(first - zeroth.unsqueeze(2) * self.ubm.means.double())
        return zeroth, first


def triangle(matrices: Tensor) -> Tensor:
    """(N, E, E) symmetric -> (N, E (E + 1) / 2): the lower triangles, row by row."""
    rows, columns = torch.tril_indices(*matrices.shape[1:], device=matrices.device)
    return matrices[:, rows, columns]


def symmetric(triangles: Tensor, dim: int) -> Tensor:
    """The inverse of `triangle`: (N, E (E + 1) / 2) -> (N, E, E)."""
    rows, columns = torch.tril_indices(dim, dim, device=triangles.device)
    matrices = triangles.new_empty(len(triangles), dim, dim)
    matrices[:, rows, columns] = triangles
    matrices[:, columns, rows] = triangles
    return matrices
