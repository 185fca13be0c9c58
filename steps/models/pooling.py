"""From frames to one vector for each utterance.

Statistics are taken in float32 at least, and come back in the type of what was pooled.
"""

import torch
from torch import Tensor, nn

from steps.models.masking import mean, silence_padding, variance

VARIANCE_FLOOR = 1e-7


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time (D. Snyder et al., "X-vectors", ICASSP 2018, section 3.1).

    The deviation divides by the number of frames less one, as wespeaker's TSTP does; of a single frame, for
    which that has no value, it is the floor's.
    """

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T) or (N, C, F, T), mask (N, T) or None -> (N, 2 C) or (N, 2 C F): means, then deviations."""
        return torch.cat([statistic.flatten(1) for statistic in _statistics(x, mask)], dim=1)


class AttentiveStatisticsPooling(nn.Module):
    """Mean and deviation weighted by attention per channel (B. Desplanques et al., "ECAPA-TDNN", Interspeech 2020,
    section 2.2; there the attention also sees the utterance's own mean and deviation: `global_context`)."""

    def __init__(self, channels: int, bottleneck: int = 128, global_context: bool = True):
        super().__init__()
        self.global_context = global_context
        self.linear1 = nn.Conv1d(channels * (3 if global_context else 1), bottleneck, 1)
        self.linear2 = nn.Conv1d(bottleneck, channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, C, T), mask (N, T) or None -> (N, 2 C): means, then deviations."""
        x = silence_padding(x, mask)
        context = x
        if self.global_context:
            context = torch.cat([x, *(statistic.expand_as(x) for statistic in _statistics(x, mask))], dim=1)
        scores = self.linear2(torch.tanh(self.linear1(context)))
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
        weights, frames = _wide(scores).softmax(dim=2), _wide(x)
        average = (weights * frames).sum(dim=2)
        squares = (weights * (frames - average.unsqueeze(2)).square()).sum(dim=2)
        return torch.cat([average, squares.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1).to(x.dtype)


def _statistics(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(N, ..., T) -> mean and standard deviation, (N, ..., 1) both."""
    frames = _wide(x)
    deviation = (variance(frames, mask, unbiased=True) + VARIANCE_FLOOR).sqrt()
    return mean(frames, mask).to(x.dtype), deviation.to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
