"""Generalised end-to-end loss: each utterance against the mean of each speaker in the batch."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.losses.margin import NORM_FLOOR, SpeakerLoss

INITIAL_WEIGHT, INITIAL_BIAS = 10.0, -5.0  # section 2.1 of the paper


class Ge2e(SpeakerLoss):
    """L. Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018.

    Similarity S = w cos(embedding, centroid) + b (eq. 5, 9), w > 0 as softplus of the parameter `weight`. `contrast`
    takes eq. 7, which suits text-dependent speech; otherwise it is softmax, eq. 6. The paper multiplies the gradients
    of w and b by 0.01; here they learn as everything else.
    """

    def __init__(self, contrast: bool = False):
        super().__init__()
        self.contrast = contrast
        self.weight = nn.Parameter(torch.tensor(INITIAL_WEIGHT + math.log(-math.expm1(-INITIAL_WEIGHT))))
        self.bias = nn.Parameter(torch.tensor(INITIAL_BIAS))

    def compute(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """As `SpeakerLoss.forward`; the batch as for `grouped`, `margin` has no effect.

        A prediction is the speaker with the nearest centroid, those of the own speaker without the utterance.
        """
        speakers = grouped(labels)  # (P,)
        size = len(labels) // len(speakers)
        own = torch.arange(len(speakers), device=labels.device).repeat_interleave(size)  # (N,)
        cosine = centroid_cosines(embeddings.unflatten(0, (-1, size)))  # (N, P)
        similarity = functional.softplus(self.weight.to(cosine.dtype)) * cosine + self.bias.to(cosine.dtype)
        loss = contrast_loss(similarity, own) if self.contrast else softmax_loss(similarity, own)
        return loss, speakers[similarity.detach().argmax(dim=1)]


def grouped(labels: Tensor) -> Tensor:
    """The speakers (P,) of a batch with labels (N,), in their order there.

    Raises ValueError unless it has two speakers or more, the utterances of each together and as many of each, at
    least two.
    """
    speakers, sizes = labels.unique_consecutive(return_counts=True)
    counts = sizes.tolist()
    if len(counts) < 2 or counts[0] < 2 or len(set(counts)) > 1 or len(speakers.unique()) < len(speakers):
        raise ValueError(
            "GE2E needs batches of 2 or more speakers with 2 or more utterances each, as many of each speaker, and "
            f"the utterances of a speaker together; got runs of {counts} utterances of speakers {speakers.tolist()}"
        )
    return speakers


def centroid_cosines(embeddings: Tensor) -> Tensor:
    """embeddings (P, M, E) of P speakers -> (P M, P): cosine of each utterance and the mean of each speaker.

    The mean of its own speaker is over the other M - 1 utterances (eq. 8).
    """
    speakers, size, _ = embeddings.shape
    unit = functional.normalize(embeddings, dim=2, eps=NORM_FLOOR)
    total = unit.sum(dim=1)  # (P, E)
    cosine = unit @ functional.normalize(total / size, dim=1, eps=NORM_FLOOR).T  # (P, M, P)
    others = functional.normalize((total.unsqueeze(1) - unit) / (size - 1), dim=2, eps=NORM_FLOOR)
    same = torch.eye(speakers, dtype=torch.bool, device=unit.device).unsqueeze(1)  # (P, 1, P)
    return torch.where(same, (unit * others).sum(dim=2, keepdim=True), cosine).flatten(0, 1)


def softmax_loss(similarity: Tensor, own: Tensor) -> Tensor:
    """Sum of -S_own + ln sum of exp S (eq. 6); similarity (N, P), own (N,): index of the utterance's speaker."""
    return functional.cross_entropy(similarity, own, reduction="sum")


def contrast_loss(similarity: Tensor, own: Tensor) -> Tensor:
    """Sum of 1 - sigmoid(S_own) + the highest sigmoid(S) of another speaker (eq. 7); arguments as `softmax_loss`."""
    target = own.unsqueeze(1)
    rival = similarity.scatter(1, target, -math.inf).amax(dim=1)
    return ((-similarity.gather(1, target).squeeze(1)).sigmoid() + rival.sigmoid()).sum()
