"""The x-vector network: names, context, utterances shorter than it."""

import pytest
import torch

from steps.models.xvector import MINIMUM_FRAMES, TimeDelay, XVector, repeat_short


def test_parameter_names_are_wespeaker_s():
    statistics = ["running_mean", "running_var", "num_batches_tracked"]
    expected = [f"frame_{n}.conv_1d.{name}" for n in range(1, 6) for name in ("weight", "bias")]
    expected += [f"frame_{n}.bn.{name}" for n in range(1, 6) for name in statistics]
    expected += [f"seg_bn_1.{name}" for name in statistics]
    expected += ["seg_1.weight", "seg_1.bias", "seg_2.weight", "seg_2.bias"]
    state = XVector(80, 512).state_dict()
    assert sorted(state) == sorted(expected)
    assert len(state) == 32
    assert state["frame_5.conv_1d.weight"].shape == (1500, 512, 1)
    assert state["seg_1.weight"].shape == (512, 3000)


def test_a_layer_rectifies_before_it_normalises():
    layer = TimeDelay(1, 1, 1, 1).eval()
    layer.load_state_dict(
        {
            "conv_1d.weight": torch.ones(1, 1, 1),
            "conv_1d.bias": torch.zeros(1),
            "bn.running_mean": torch.tensor([3.0]),
            "bn.running_var": torch.tensor([4.0 - layer.bn.eps]),
            "bn.num_batches_tracked": torch.tensor(1),
        }
    )
    assert layer(torch.tensor([[[-5.0, 0.0, 5.0]]])).flatten().tolist() == pytest.approx([-1.5, -1.5, 1.0])


def test_a_frame_of_the_last_layer_sees_fifteen():
    """Snyder et al., table 1: from t - 7 to t + 7."""
    assert MINIMUM_FRAMES == 15
    model = XVector(4, 8, channels=16).eval()
    features = torch.rand(1, 40, 4, requires_grad=True)
    x = features.transpose(1, 2)
    for n in range(1, 6):
        layer = getattr(model, f"frame_{n}")
        torch.nn.init.uniform_(layer.conv_1d.weight, 0.1, 1.0)  # all positive, so that no path is cut by ReLU
        x = layer(x)
    assert x.shape[2] == 40 - 14
    x[0, :, 10].sum().backward()
    seen = features.grad.abs().sum(2)[0] > 0
    assert seen.nonzero().flatten().tolist() == list(range(10, 25))


@pytest.mark.parametrize("frames", [1, 4, 14, 15, 16])
def test_a_short_utterance_is_repeated(frames):
    model = XVector(4, 8, channels=16).eval()
    features = torch.randn(1, frames, 4)
    by_hand = features.repeat(1, 15, 1)[:, : max(frames, 15)]
    torch.testing.assert_close(model(features), model(by_hand))


def test_repetition_starts_at_each_utterance_s_own_end():
    features = torch.arange(6.0).view(2, 3, 1)
    repeated, lengths = repeat_short(features, torch.tensor([3, 2]), 5)
    assert repeated.squeeze(2).tolist() == [[0, 1, 2, 0, 1], [3, 4, 3, 4, 3]]
    assert lengths.tolist() == [5, 5]
    unchanged, lengths = repeat_short(features, None, 2)
    assert torch.equal(unchanged, features)
    assert lengths is None


def test_the_width_of_the_pooled_layer_follows_that_of_the_others():
    assert XVector(80, 64, channels=128).seg_1.in_features == 2 * 375
