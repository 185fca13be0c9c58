"""Classification of speakers with a margin: softmax, AM-softmax, AAM-softmax, sub-centers and inter-topk.

How AAM goes without acos: cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m), where sin^2 has a floor, so that its
root has a finite gradient at |cos| = 1 (without it, one utterance that coincides with its class makes NaN of all). The
cosine itself is never clamped: where the sine stands still, the gradient through the cosine goes on. Where theta + m
would leave [0, pi], the logit goes on as a line of slope 1 that meets it there, so it always rises with the cosine.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SQUARED_SINE_FLOOR = 1e-7  # a few roundings of a cosine near 1 in single precision: an angle of 0.02 degrees
NORM_FLOOR = 1e-4  # a shorter embedding counts as this long; of one of length 0 all cosines are 0
INTER_TOPK_REFERENCE = 0.2  # the margin at which the inter-topk penalty is as configured, as in wespeaker

Shift = Callable[[Tensor, float], Tensor]


class SpeakerLoss(nn.Module):
    """What all losses of speaker recognition are called as; computed in fp32 at least, also under autocast."""

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """embeddings (N, E) of any length, labels (N,) -> loss summed over N (), predicted labels (N,).

        A prediction is the nearest class without margin: compared with `labels`, it gives the training accuracy.
        """
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(embeddings.to(dtype), labels, margin)

    def compute(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """As `forward`, outside autocast."""
        raise NotImplementedError


class Softmax(SpeakerLoss):
    """Cross entropy of a linear layer with bias, without normalisation and without margin."""

    def __init__(self, num_classes: int, embedding_dim: int):
        super().__init__()
        self.weight = class_weights(num_classes, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def compute(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """As `SpeakerLoss.forward`; `margin` has no effect."""
        logits = functional.linear(embeddings, self.weight.to(embeddings.dtype), self.bias.to(embeddings.dtype))
        return functional.cross_entropy(logits, labels, reduction="sum"), logits.detach().argmax(dim=1)


class MarginSoftmax(SpeakerLoss):
    """Cross entropy of scaled cosines, where the cosine of the true class is made harder by `shift`.

    `shift` is `lowered` for AM-softmax (F. Wang et al., IEEE SPL 2018) and `rotated` for AAM-softmax (J. Deng et al.,
    "ArcFace", CVPR 2019). With `subcenters` K > 1 a class has K vectors, of which the nearest counts (J. Deng et al.,
    "Sub-center ArcFace", ECCV 2020). With `inter_topk` k > 0 the k nearest wrong classes of each utterance are made
    harder too, by -penalty * margin / 0.2 (M. Zhao et al., "Multi-query multi-head attention pooling and inter-topk
    penalty for speaker verification", ICASSP 2022; scaled with the margin as in wespeaker).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        shift: Shift,
        scale: float = 32.0,
        subcenters: int = 1,
        inter_topk: int = 0,
        inter_topk_penalty: float = 0.06,
    ):
        super().__init__()
        self.shift = shift
        self.scale = scale
        self.subcenters = subcenters
        self.inter_topk = min(inter_topk, num_classes - 1)
        self.inter_topk_penalty = inter_topk_penalty
        self.weight = class_weights(num_classes * subcenters, embedding_dim)  # a class's sub-centers together

    def compute(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """As `SpeakerLoss.forward`; `margin` in radians for `rotated`, as a cosine for `lowered`."""
        cosine = cosines(embeddings, self.weight).unflatten(1, (-1, self.subcenters)).amax(dim=2)  # (N, classes)
        loss = functional.cross_entropy(self.scale * self.hardened(cosine, labels, margin), labels, reduction="sum")
        return loss, cosine.detach().argmax(dim=1)

    def hardened(self, cosine: Tensor, labels: Tensor, margin: float) -> Tensor:
        """(N, classes): cosines with the margin at the true class and the penalty at the nearest wrong ones."""
        target = labels.unsqueeze(1)
        logits = cosine.scatter(1, target, self.shift(cosine.gather(1, target), margin))
        if self.inter_topk == 0:
            return logits
        nearest = cosine.detach().scatter(1, target, -math.inf).topk(self.inter_topk, dim=1).indices
        penalty = self.inter_topk_penalty * margin / INTER_TOPK_REFERENCE
        return logits.scatter(1, nearest, self.shift(cosine.gather(1, nearest), -penalty))


def class_weights(rows: int, embedding_dim: int) -> nn.Parameter:
    """(rows, E), from the initialisation that wespeaker's projections have."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, embedding_dim)))


def cosines(embeddings: Tensor, vectors: Tensor) -> Tensor:
    """embeddings (N, E), vectors (C, E) -> (N, C), in the type of `embeddings`; finite, as its gradient, for zeros."""
    return functional.linear(
        functional.normalize(embeddings, eps=NORM_FLOOR),
        functional.normalize(vectors.to(embeddings.dtype), eps=NORM_FLOOR),
    )


def lowered(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta) - margin; a negative margin raises it."""
    return cosine - margin


def rotated(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) for a margin in (-pi, pi), from cos(theta); rises everywhere with the cosine.

    Where theta + margin is above pi: cos(theta) - 1 + cos(margin), as wespeaker does it. Where it is below 0 (a
    negative margin): cos(theta) + 1 - cos(margin); wespeaker's falls there, which draws a near wrong class nearer.
    """
    along, across = math.cos(margin), math.sin(margin)
    sine = ((1 - cosine) * (1 + cosine)).clamp(min=SQUARED_SINE_FLOOR).sqrt()
    turned = cosine * along - sine * across
    if margin >= 0:
        return torch.where(cosine > -along, turned, cosine - (1 - along))
    return torch.where(cosine < along, turned, cosine + (1 - along))
