"""CTC against enumeration of all alignments; the consistency loss against its definition."""

import itertools
import math

import pytest
import torch

from steps.losses.ctc import consistency_loss, ctc_loss, equal_alignment, flat_start_loss, required_frames


def collapse(path):
    merged = [token for token, _ in itertools.groupby(path)]
    return [token for token in merged if token != 0]


@pytest.mark.parametrize("target", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_ctc_equals_the_sum_over_all_alignments(target):
    torch.manual_seed(0)
    frames, vocabulary = 4, 3
    log_probs = torch.randn(1, frames, vocabulary).log_softmax(-1)
    total = sum(
        math.exp(sum(log_probs[0, t, token].item() for t, token in enumerate(path)))
        for path in itertools.product(range(vocabulary), repeat=frames)
        if collapse(path) == target
    )
    loss = ctc_loss(log_probs, torch.tensor([frames]), torch.tensor([target]), torch.tensor([len(target)]))
    assert loss.item() == pytest.approx(-math.log(total), rel=1e-5)


@pytest.mark.parametrize("target", [[], [1], [1, 2, 3], [1, 1], [1, 1, 1, 2, 2]])
def test_required_frames_is_where_the_loss_becomes_finite(target):
    need = required_frames(target)
    for frames, finite in ((need, True), (need - 1, False)):
        if frames < 1:
            continue
        log_probs = torch.zeros(1, frames, 4).log_softmax(-1)
        targets = torch.tensor([target], dtype=torch.long)
        loss = ctc_loss(log_probs, torch.tensor([frames]), targets, torch.tensor([len(target)]))
        assert torch.isfinite(loss).item() is finite


def test_consistency_is_both_divergences_over_valid_frames():
    torch.manual_seed(0)
    views = torch.randn(2, 3, 4).log_softmax(-1)
    lengths = torch.tensor([2, 2])
    expected = 0.0
    for t in range(2):
        p, q = views[0, t].exp(), views[1, t].exp()
        expected += (p * (p / q).log()).sum().item() + (q * (q / p).log()).sum().item()
    assert consistency_loss(views, lengths).item() == pytest.approx(expected, rel=1e-5)
    assert consistency_loss(torch.cat([views[:1], views[:1]]), lengths).item() == pytest.approx(0.0, abs=1e-6)


def test_consistency_stops_the_gradient_of_its_targets():
    """d/dz1 of KL(sg(z2) || z1) with respect to logits is softmax(z1) - softmax(z2)."""
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 5, requires_grad=True)
    consistency_loss(logits.log_softmax(-1), torch.tensor([1, 1])).backward()
    p, q = logits.detach()[0, 0].softmax(-1), logits.detach()[1, 0].softmax(-1)
    torch.testing.assert_close(logits.grad[0, 0], p - q)
    torch.testing.assert_close(logits.grad[1, 0], q - p)


def test_equal_alignment_spreads_tokens_between_the_margins():
    tokens = equal_alignment(
        torch.tensor([8, 5, 2]), torch.tensor([[7, 9], [3, 0], [4, 5]]), torch.tensor([2, 1, 2]), 9, margin=1
    )
    assert tokens.tolist() == [
        [0, 7, 7, 7, 9, 9, 9, 0, 0],
        [0, 3, 3, 3, 0, 0, 0, 0, 0],
        [4, 5, 0, 0, 0, 0, 0, 0, 0],  # no room for margins
    ]


def test_flat_start_loss_is_the_mean_over_frames_for_each_token():
    log_probs = torch.randn(1, 4, 3).log_softmax(-1)
    loss = flat_start_loss(log_probs, torch.tensor([4]), torch.tensor([[1, 2]]), torch.tensor([2]), margin=0)
    expected = -(log_probs[0, 0, 1] + log_probs[0, 1, 1] + log_probs[0, 2, 2] + log_probs[0, 3, 2]) / 4 * 2
    torch.testing.assert_close(loss, expected)
