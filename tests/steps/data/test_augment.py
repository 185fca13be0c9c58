"""Masks and warps: how much they hide, and that the same key always draws the same."""

import pytest
import torch

from steps.data.augment import keyed_generator, spec_augment, time_warp
from steps.data.config import AugmentConfig, DataConfig


def test_keys_decide_the_draws():
    a = torch.rand(5, generator=keyed_generator(1, 2, "utt"))
    assert torch.equal(a, torch.rand(5, generator=keyed_generator(1, 2, "utt")))
    for other in ((1, 2, "utt2"), (1, 3, "utt"), (12, "utt"), ("1", 2, "ut", "t")):
        assert not torch.equal(a, torch.rand(5, generator=keyed_generator(*other)))


def test_masks_hide_no_more_than_allowed_and_use_the_mean():
    config = AugmentConfig(freq_masks=0, time_masks=10, time_mask_frames=100, time_mask_share=0.2)
    features = torch.randn(200, 8) + 5
    hidden = []
    for i in range(50):
        masked = spec_augment(features, config, keyed_generator(i))
        changed = (masked != features).any(dim=1)
        hidden.append(changed.float().mean().item())
        torch.testing.assert_close(masked[changed], features.mean().expand(int(changed.sum()), 8))
    assert max(hidden) <= 0.2
    assert 0.05 < sum(hidden) / len(hidden) < 0.15  # half of the share on average, less overlaps


def test_frequency_masks_hide_whole_bands():
    config = AugmentConfig(freq_masks=1, freq_mask_bins=3, time_masks=0)
    features = torch.randn(20, 10)
    widths = set()
    for i in range(60):
        changed = spec_augment(features, config, keyed_generator(i)) != features
        assert torch.equal(changed.any(dim=0), changed.all(dim=0))
        widths.add(int(changed.any(dim=0).sum()))
    assert widths == {0, 1, 2, 3}


def test_input_is_left_as_it_was():
    features = torch.randn(50, 8)
    before = features.clone()
    spec_augment(features, AugmentConfig(), keyed_generator(0))
    time_warp(features, 10, keyed_generator(0))
    assert torch.equal(features, before)


def test_warp_keeps_the_length_and_moves_by_no_more_than_asked():
    ramp = torch.arange(100.0).unsqueeze(1).expand(100, 3)
    moved = []
    for i in range(40):
        warped = time_warp(ramp, 8, keyed_generator(i))
        assert warped.shape == ramp.shape
        assert (warped[1:] >= warped[:-1] - 1e-4).all()
        moved.append((warped - ramp).abs().max().item())
    assert max(moved) <= 8 + 1 and max(moved) > 4


@pytest.mark.parametrize("frames", [1, 5, 18])
def test_short_utterances_are_not_warped(frames):
    features = torch.randn(frames, 4)
    assert torch.equal(time_warp(features, 8, keyed_generator(0)), features)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="noise_prob is a probability"):
        AugmentConfig(noise_prob=1.5)
    with pytest.raises(ValueError, match="lowest, highest"):
        AugmentConfig(noise_snr=[20.0, 10.0])
    with pytest.raises(ValueError, match="would fit no batch"):
        DataConfig(max_duration=10.0, max_seconds=20.0)
