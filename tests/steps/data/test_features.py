"""Filter banks equal those of kaldi-native-fbank and of Lhotse, for any signal and any length."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Fbank
from lhotse.utils import compute_num_frames_from_samples

from steps.data.config import FeatureConfig
from steps.data.features import knf_fbank, knf_options, make_extractor

RATE = 16000
LENGTHS = [80, 119, 241, 399, 400, 401, 15999, 23457]


def signal(kind: str, length: int) -> np.ndarray:
    """(length,) float32 in [-1, 1]."""
    rng = np.random.default_rng(7)
    time = np.arange(length) / RATE
    vowel = sum(np.sin(2 * np.pi * 131 * h * time * (1 + 0.03 * time)) / h for h in range(1, 40))
    made = {
        "vowel": 0.2 * vowel * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)),  # no noise: 100 dB between bins
        "recorded vowel": np.round(8000 * vowel * 0.2 + rng.normal(0, 2, length)) / 32768,
        "noise": rng.normal(0, 0.1, length),
        "quiet noise": rng.normal(0, 1e-5, length),
        "silence": np.zeros(length),
        "offset": 0.4 + rng.normal(0, 1e-3, length),
        "click": np.eye(1, length, length // 2)[0],
        "above the top filter": 0.5 * np.sin(2 * np.pi * 7900 * time),
        "clipped": np.sign(np.sin(2 * np.pi * 200 * time)),
    }[kind]
    return made.astype(np.float32)


KINDS = [
    "vowel", "recorded vowel", "noise", "quiet noise", "silence", "offset", "click", "above the top filter", "clipped",
]  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    return make_extractor(FeatureConfig())


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max(initial=0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_kaldi_native_fbank_everywhere(extractor, kind):
    options = knf_options(RATE, 80)
    for length in LENGTHS:
        samples = signal(kind, length)
        ours = extractor.extract(samples, RATE)
        assert largest_difference(ours, knf_fbank(samples, options)) < 1e-3, length


@pytest.mark.parametrize("kind", KINDS)
def test_equals_lhotse_where_float32_allows(extractor, kind):
    # Lhotse's own rounding error passes 1e-3 in bins that lie some 16 (natural log) under the frame's power.
    for length in LENGTHS[3:]:
        samples = signal(kind, length)
        ours, lhotse = extractor.extract(samples, RATE), Fbank().extract(samples, RATE)
        loud = lhotse > frame_power(samples)[:, None] - 16.0
        assert largest_difference(ours[loud], lhotse[loud]) < 1e-3, length


def frame_power(samples: np.ndarray) -> np.ndarray:
    """(T,), natural log of the power of each frame's spectrum, with its offset."""
    count = (len(samples) + 80) // 160
    padded = np.pad(samples.astype(np.float64), (120, 400), mode="symmetric")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:count]
    return np.log(256 * np.square(frames).sum(1) + 1e-20)


def test_frame_counts_are_those_that_lhotse_expects(extractor):
    for length in [0, 1, 79, 80, 239, 240, 16000, 16079, 16080]:
        frames = extractor.extract(np.zeros(length, dtype=np.float32), RATE)
        assert frames.shape == (compute_num_frames_from_samples(length, 0.01, RATE), 80)
        assert frames.dtype == np.float32


def test_channel_axis_tensors_and_batches(extractor):
    samples = signal("noise", 5000)
    expected = extractor.extract(samples, RATE)
    assert np.array_equal(extractor.extract(samples[None], RATE), expected)
    tensor = extractor.extract(torch.from_numpy(samples), RATE)
    assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor.numpy(), expected)
    short, long = extractor.extract_batch([samples[:1700], samples], RATE)
    assert np.array_equal(long, expected)
    assert np.array_equal(short, extractor.extract(samples[:1700], RATE))


def test_other_rates_and_bins():
    extractor = make_extractor(FeatureConfig(num_mel_bins=40, sampling_rate=8000))
    samples = signal("recorded vowel", 9001)
    assert largest_difference(extractor.extract(samples, 8000), knf_fbank(samples, knf_options(8000, 40))) < 1e-3


def test_mistakes_are_named(extractor):
    with pytest.raises(ValueError, match=r"audio at 8000 Hz, but features\.sampling_rate is 16000"):
        extractor.extract(np.zeros(800, dtype=np.float32), 8000)
    with pytest.raises(ValueError, match=r"one channel, got samples of shape \(2, 800\)"):
        extractor.extract(np.zeros((2, 800), dtype=np.float32), RATE)


@pytest.mark.shared_data
def test_real_speech_equals_kaldi_native_fbank(extractor, shared_data):
    options = knf_options(RATE, 80)
    files = sorted((shared_data / "speechocean762" / "flac").glob("*/*.flac"))[::40]
    files += [*sorted((shared_data / "noise").glob("*.flac"))[::6], *shared_data.glob("aishell_sample/*.wav")]
    assert len(files) > 40
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32")
        ours = extractor.extract(samples, rate)
        assert largest_difference(ours, knf_fbank(samples, options)) < 1e-3, file
