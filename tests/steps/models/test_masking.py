"""Masked statistics against those of each utterance alone."""

import pytest
import torch
from torch import nn

from steps.models.masking import frame_mask, halved, mean, silence_padding, variance

LENGTHS = torch.tensor([7, 1, 4, 2])


def padded(*shape: int) -> torch.Tensor:
    """(4, *shape, 7) with utterances of LENGTHS, and NaN beyond them."""
    x = torch.randn(4, *shape, 7, generator=torch.Generator().manual_seed(0))
    for row, length in zip(x, LENGTHS, strict=True):
        row[..., length:] = float("nan")
    return x


def test_a_mask_is_true_where_there_is_an_utterance():
    mask = frame_mask(LENGTHS, 7)
    assert mask.dtype == torch.bool
    assert [row.tolist() for row in mask] == [[True] * length + [False] * (7 - length) for length in (7, 1, 4, 2)]
    assert frame_mask(None, 7) is None


@pytest.mark.parametrize("shape", [(), (3,), (3, 2)])
def test_padding_becomes_zero_and_the_rest_stays(shape):
    x = padded(*shape)
    silent = silence_padding(x, frame_mask(LENGTHS, 7))
    assert torch.equal(silent, x.nan_to_num())
    assert silence_padding(x, None) is x


@pytest.mark.parametrize("shape", [(), (3,), (3, 2)])
def test_statistics_are_those_of_each_utterance_alone(shape):
    x = padded(*shape)
    mask = frame_mask(LENGTHS, 7)
    means, biased, unbiased = mean(x, mask), variance(x, mask, unbiased=False), variance(x, mask, unbiased=True)
    assert means.shape == biased.shape == unbiased.shape == (4, *shape, 1)
    for n, length in enumerate(LENGTHS):
        own = x[n : n + 1, ..., :length]
        torch.testing.assert_close(means[n : n + 1], own.mean(-1, keepdim=True))
        torch.testing.assert_close(biased[n : n + 1], own.var(-1, keepdim=True, correction=0))
        expected = own.var(-1, keepdim=True, correction=1) if length > 1 else torch.zeros(1, *shape, 1)
        torch.testing.assert_close(unbiased[n : n + 1], expected)
        for function, together in ((mean, means), (variance, unbiased)):
            arguments = (None, True) if function is variance else (None,)
            torch.testing.assert_close(function(own, *arguments), together[n : n + 1])


def test_nothing_flows_back_to_the_padding():
    x = padded(3).requires_grad_()
    mask = frame_mask(LENGTHS, 7)
    (mean(x, mask).square() + variance(x, mask, unbiased=True)).sum().backward()
    assert torch.equal(x.grad.isnan(), torch.zeros_like(x, dtype=torch.bool))
    assert torch.equal(x.grad.abs().sum(1) > 0, mask)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_halved_is_the_length_that_a_convolution_of_stride_two_leaves(width):
    convolution = nn.Conv1d(1, 1, width, stride=2, padding=width // 2)
    lengths = torch.arange(1, 30)
    assert halved(lengths).tolist() == [convolution(torch.zeros(1, 1, length)).shape[2] for length in lengths]
    assert halved(None) is None
