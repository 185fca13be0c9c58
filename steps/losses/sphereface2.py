"""SphereFace2: one binary classifier for each speaker, instead of one among all."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.losses.margin import SpeakerLoss, class_weights, cosines, rotated


class SphereFace2(SpeakerLoss):
    """Y. Wen et al., "SphereFace2: Binary classification is all you need for deep face recognition", ICLR 2022.

    For speakers: B. Han et al., "Exploring binary classification loss for speaker verification", ICASSP 2023, margins
    0.2 (C) and 0.15 (A), 0.3 and 0.25 in large-margin fine-tuning. With g(z) = 2 ((z + 1) / 2)^t - 1 and ln(1 + e^x) as
    softplus, an utterance of class y costs

        lambda softplus(-p_y) + (1 - lambda) sum over j != y of softplus(n_j)

    C: p = scale (g(cos theta) - m) + b,  n = scale (g(cos theta) + m) + b
    A: p = scale g(cos(theta + m)) + b,   n = scale g(cos(theta - m)) + b

    As in wespeaker, whose learning rates are for that, it is not divided by the scale.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        scale: float = 32.0,
        exponent: int = 3,
        positive_weight: float = 0.7,
        margin_type: str = "C",
    ):
        super().__init__()
        self.scale = scale
        self.exponent = exponent  # t
        self.positive_weight = positive_weight  # lambda
        self.margin_type = margin_type
        self.weight = class_weights(num_classes, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(1, 1))

    def compute(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """As `SpeakerLoss.forward`; `margin` in radians for type A."""
        cosine = cosines(embeddings, self.weight)  # (N, classes)
        target = labels.unsqueeze(1)
        positive = functional.softplus(-self.logits(cosine.gather(1, target), margin))
        negative = functional.softplus(self.logits(cosine, -margin)).scatter(1, target, 0.0)
        loss = self.positive_weight * positive.sum() + (1 - self.positive_weight) * negative.sum()
        return loss, cosine.detach().argmax(dim=1)

    def logits(self, cosine: Tensor, margin: float) -> Tensor:
        """Of being of a class, from the cosine to it, each of the shape of `cosine`; a negative margin raises them."""
        if self.margin_type == "A":
            similarity = sharpened(rotated(cosine, margin), self.exponent)
        else:
            similarity = sharpened(cosine, self.exponent) - margin
        return self.scale * similarity + self.bias.to(cosine.dtype)


def sharpened(cosine: Tensor, exponent: int) -> Tensor:
    """g(z) = 2 ((z + 1) / 2)^exponent - 1, which spreads similarities near 1; beyond -1 it goes on falling."""
    base = (cosine + 1) / 2
    return 2 * base * base.abs().pow(exponent - 1) - 1
