"""CTC, and the consistency between two augmented views of an utterance (CR-CTC)."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Sum over the batch of -ln P(target) (A. Graves et al., ICML 2006), natural log.

    log_probs (N, T, V) with blank at 0, lengths (N,), targets (N, U) padded with anything, target_lengths (N,).
    An utterance with fewer frames than `required_frames` says has infinite loss: filter those before.
    """
    return functional.ctc_loss(
        log_probs.transpose(0, 1),  # (N, T, V) -> (T, N, V)
        targets,
        lengths,
        target_lengths,
        blank=0,
        reduction="sum",
    )


def required_frames(tokens: list[int]) -> int:
    """Frames that a CTC path for `tokens` needs: one for each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


def consistency_loss(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Sum over frames of KL(sg(z2) || z1) + KL(sg(z1) || z2), where sg stops the gradient.

    log_probs (2N, T, V): view one of N utterances, then view two of the same; lengths (2N,).
    Z. Yao et al., "CR-CTC: Consistency regularization on CTC for improved speech recognition", ICLR 2025,
    section 3: there this sum is halved, as is the sum of the two views' CTC losses; the caller does both at
    once by dividing by the tokens of both views.
    """
    first, second = log_probs.chunk(2)  # (N, T, V)
    divergence = functional.kl_div(log_probs, torch.cat([second, first]).detach(), reduction="none", log_target=True)
    valid = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths.unsqueeze(1)
    return divergence.sum(dim=-1).masked_fill(~valid, 0.0).sum()


def equal_alignment(lengths: Tensor, targets: Tensor, target_lengths: Tensor, frames: int, margin: int) -> Tensor:
    """Tokens spread evenly over each utterance, blank in its first and last `margin` frames: (N, frames).

    lengths (N,), targets (N, U), target_lengths (N,). An utterance too short for its margins has none.
    This is how Kaldi's monophone training starts ("align-equal").
    """
    frame = torch.arange(frames, device=lengths.device).unsqueeze(0)
    size = target_lengths.unsqueeze(1)
    room = lengths.unsqueeze(1)
    start = torch.where(room >= 2 * margin + size, margin, 0)
    share = (2 * (frame - start) + 1) * size / (2 * (room - 2 * start).clamp(min=1))  # the middle of the frame
    position = share.floor().long()
    inside = (position >= 0) & (position < size) & (frame < room)
    tokens = targets.gather(1, position.clamp(min=0).minimum((size - 1).clamp(min=0)))
    return tokens.masked_fill(~inside, 0)


def flat_start_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, margin: int) -> Tensor:
    """Sum over frames of -ln P(token of the equal alignment), scaled to one frame for each target token.

    Arguments as for `ctc_loss`. From random weights CTC first learns that blank is likely, and on a few hours
    of speech it takes thousands of steps to leave that; a rough alignment shows it the way at once.
    """
    tokens = equal_alignment(lengths, targets, target_lengths, log_probs.shape[1], margin)
    valid = torch.arange(log_probs.shape[1], device=lengths.device) < lengths.unsqueeze(1)
    chosen = log_probs.gather(2, tokens.unsqueeze(2)).squeeze(2)  # (N, T)
    return -chosen.masked_fill(~valid, 0.0).sum() * target_lengths.sum() / lengths.sum()
