"""Pooling against the formulas, one channel and one frame at a time."""

import math

import pytest
import torch

from steps.models.masking import frame_mask
from steps.models.pooling import VARIANCE_FLOOR, AttentiveStatisticsPooling, StatisticsPooling


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_statistics_are_all_means_and_then_all_deviations():
    x = torch.randn(2, 3, 4, 9, dtype=torch.float64)
    pooled = StatisticsPooling()(x, None)
    assert pooled.shape == (2, 24)
    for n in range(2):
        for c in range(3):
            for f in range(4):
                frames = x[n, c, f].tolist()
                mean = sum(frames) / 9
                deviation = math.sqrt(sum((value - mean) ** 2 for value in frames) / 8)
                assert pooled[n, 4 * c + f].item() == pytest.approx(mean)
                assert pooled[n, 12 + 4 * c + f].item() == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize("make", [StatisticsPooling, lambda: AttentiveStatisticsPooling(5, bottleneck=3)])
def test_one_frame_is_its_own_mean_and_deviates_by_the_floor(make):
    x = torch.randn(2, 5, 1)
    means, deviations = make()(x, None).chunk(2, dim=1)
    torch.testing.assert_close(means, x[:, :, 0])
    torch.testing.assert_close(deviations, torch.full((2, 5), VARIANCE_FLOOR**0.5))


@pytest.mark.parametrize("global_context", [True, False])
def test_attention_against_the_paper_s_equations(global_context):
    """Equations 1 to 4 of ECAPA-TDNN: e = v tanh(W h + b) + k, softmax over time, weighted mean and deviation."""
    pool = AttentiveStatisticsPooling(4, bottleneck=3, global_context=global_context).double()
    x = torch.randn(1, 4, 6, dtype=torch.float64)
    pooled = pool(x, None)[0]
    context = torch.cat([x[0].mean(1), (x[0].var(1) + VARIANCE_FLOOR).sqrt()]) if global_context else torch.empty(0)
    w, v = pool.linear1.weight[:, :, 0], pool.linear2.weight[:, :, 0]
    for c in range(4):
        scores = []
        for t in range(6):
            hidden = (w @ torch.cat([x[0, :, t], context.double()]) + pool.linear1.bias).tanh()
            scores.append((v[c] @ hidden + pool.linear2.bias[c]).item())
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        mean = sum(a * h for a, h in zip(weights, x[0, c].tolist(), strict=True))
        square = sum(a * h * h for a, h in zip(weights, x[0, c].tolist(), strict=True))
        assert pooled[c].item() == pytest.approx(mean)
        assert pooled[4 + c].item() == pytest.approx(math.sqrt(square - mean**2))


def test_even_attention_is_plain_statistics_also_far_from_zero():
    """The difference of two squares, 1e6 here, would lose a deviation of 0.1 in float32."""
    pool = AttentiveStatisticsPooling(3)
    torch.nn.init.zeros_(pool.linear2.weight)
    x = 1000 + 0.1 * torch.randn(2, 3, 500)
    means, deviations = pool(x, None).chunk(2, dim=1)
    torch.testing.assert_close(means, x.mean(2))
    torch.testing.assert_close(deviations, x.double().std(2, correction=0).float(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("make", [StatisticsPooling, lambda: AttentiveStatisticsPooling(5, bottleneck=3)])
def test_padding_counts_neither_forwards_nor_backwards(make):
    pool, lengths = make(), torch.tensor([11, 1, 6])
    x = torch.randn(3, 5, 11)
    alone = torch.cat([pool(row[None, :, :length], None) for row, length in zip(x, lengths, strict=True)])
    mask = frame_mask(lengths, 11)
    holes = x.masked_fill(~mask.unsqueeze(1), float("nan")).requires_grad_()
    together = pool(holes, mask)
    torch.testing.assert_close(together, alone)
    together.sum().backward()
    assert torch.equal(holes.grad.abs().sum(1) > 0, mask)
    assert all(parameter.grad.isfinite().all() for parameter in pool.parameters())


@pytest.mark.parametrize("make", [StatisticsPooling, lambda: AttentiveStatisticsPooling(5, bottleneck=3)])
def test_half_precision_in_and_out_single_precision_between(make):
    pool = make()
    x = (20 + torch.randn(2, 5, 300)).bfloat16()
    exact = pool(x.float(), None)
    rounded = pool.bfloat16()(x, None)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.02, atol=0.02)
