"""The encoder: shapes as promised, padding without influence, positions as in the paper."""

import math

import pytest
import torch

from steps.models.config import ConformerConfig
from steps.models.conformer import (
    ConformerCtc,
    RelativeAttention,
    relative_positions,
    relative_shift,
    subsampled_length,
)

SMALL = ConformerConfig(layers=2, dim=16, heads=2, feedforward_dim=32, kernel=5, subsampling_channels=4)


@pytest.mark.parametrize("frames", [7, 8, 10, 11, 12, 103])
def test_shapes_and_lengths(frames):
    model = ConformerCtc(SMALL, 80, 11).eval()
    log_probs, lengths = model(torch.randn(2, frames, 80), torch.tensor([frames, 7]))
    assert log_probs.shape == (2, subsampled_length(frames), 11)
    assert lengths.tolist() == [subsampled_length(frames), 1]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, subsampled_length(frames)))


def test_an_utterance_does_not_depend_on_its_batch():
    """Also in training mode: there is no batch statistic (dropout is off here)."""
    torch.manual_seed(0)
    model = ConformerCtc(ConformerConfig(**{**vars(SMALL), "dropout": 0.0}), 80, 11).train()
    short, long = torch.randn(1, 53, 80), torch.randn(1, 96, 80)
    alone, length = model(short, torch.tensor([53]))
    padded = torch.cat([torch.nn.functional.pad(short, (0, 0, 0, 43), value=9.0), long])
    together, _ = model(padded, torch.tensor([53, 96]))
    torch.testing.assert_close(together[:1, : length[0]], alone, atol=1e-5, rtol=0)


def test_relative_shift_puts_distance_i_minus_j_at_i_j():
    s = 6
    distances = torch.arange(s - 1, -s, -1.0).expand(2, 3, s, 2 * s - 1)
    i = torch.arange(s)
    expected = (i[:, None] - i[None, :]).float().expand(2, 3, s, s)
    torch.testing.assert_close(relative_shift(distances), expected)


def test_relative_positions_are_sinusoids_of_the_distance():
    table = relative_positions(4, 6, torch.device("cpu"), torch.float32)
    assert table.shape == (7, 6)
    for row, distance in zip(table, range(3, -4, -1), strict=True):
        for pair in range(3):
            angle = distance / 10000 ** (2 * pair / 6)
            assert row[2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert row[2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_attention_against_the_formula_of_transformer_xl():
    """Scores are (q_i + u) k_j + (q_i + v) W r_(i - j), one pair at a time."""
    torch.manual_seed(1)
    s, d, heads = 4, 8, 2
    attention = RelativeAttention(d, heads, 0.0).eval()
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    x, valid = torch.randn(1, s, d), torch.ones(1, s, dtype=torch.bool)
    table = relative_positions(s, d, x.device, x.dtype)
    q, k, v = attention.query_key_value(attention.norm(x))[0].view(s, 3, heads, d // heads).unbind(1)
    rows = []
    for i in range(s):
        heads_out = []
        for h in range(heads):
            scores = []
            for j in range(s):
                r = attention.position(table[s - 1 - (i - j)]).view(heads, -1)[h]
                content = (q[i, h] + attention.content_bias[h]) @ k[j, h]
                scores.append((content + (q[i, h] + attention.position_bias[h]) @ r) / math.sqrt(d // heads))
            heads_out.append(torch.stack(scores).softmax(0) @ v[:, h])
        rows.append(attention.output(torch.cat(heads_out)))
    torch.testing.assert_close(attention(x, table, valid)[0], torch.stack(rows), atol=1e-5, rtol=1e-4)


def test_parameters_of_the_paper_s_medium_model():
    """Table 1 gives 30.7 M for 16 layers, 256 dimensions, 4 heads and kernel 32 with its decoder; ours is CTC."""
    config = ConformerConfig(layers=16, dim=256, heads=4, feedforward_dim=1024, kernel=31, subsampling_channels=256)
    encoder = ConformerCtc(config, 80, 1000)
    per_layer = sum(p.numel() for p in encoder.layers[0].parameters())
    feedforward = 2 * (2 * 256 + 256 * 1024 + 1024 + 1024 * 256 + 256)
    attention = 2 * 256 + 256 * 768 + 768 + 256 * 256 + 2 * 256 + 256 * 256 + 256
    convolution = 2 * 256 + 256 * 512 + 512 + 256 * 31 + 256 + 2 * 256 + 256 * 256 + 256
    assert per_layer == feedforward + attention + convolution + 2 * 256


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match=r"model\.dim \(10\) must be a multiple of model\.heads"):
        ConformerConfig(dim=10, heads=4)
    with pytest.raises(ValueError, match=r"model\.kernel must be odd"):
        ConformerConfig(kernel=4)
