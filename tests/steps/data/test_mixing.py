"""Rows become sound: sums that hold to the last bit, rooms, and the same samples rendered as on the fly."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from steps.data.mixing import Sounds, in_room, render, render_to
from steps.data.mixture import Mixture, Noise, Source
from steps.data.mixture_config import MixtureConfig
from steps.data.mixture_corpus import make_planner, sound_cuts


@pytest.fixture(scope="module")
def sounds(talkers):
    return Sounds(sound_cuts(talkers, "test"), 16000, 1 << 20)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("kind", ["full", "partial"])
def test_the_mixture_is_the_sum_of_its_parts(talkers, kind, rate, tmp_path):
    config = MixtureConfig(sampling_rate=rate, noise_prob=1.0, room_prob=0.5)
    planner = make_planner(config, 0, talkers, kind, "test")
    sounds, in_rooms = Sounds(sound_cuts(talkers, "test"), rate), 0
    for part in ("mix", "s1", "s2", "target1", "target2", "noise"):
        (tmp_path / part).mkdir()
    for index in range(8):
        mixture = planner.row(index)
        made = render(mixture, sounds, 0.05)
        assert made.mixture.dtype == made.sources.dtype == made.noise.dtype == np.float32
        assert made.mixture.shape == (mixture.samples,)
        assert np.array_equal(made.mixture.astype(np.float64), made.sources.sum(0, np.float64) + made.noise)
        assert np.abs(made.mixture).max() <= 0.9 + 1e-4
        render_to(talkers, 0.05, (tmp_path, mixture))
        read = {p.parent.name: soundfile.read(p, dtype="float32") for p in tmp_path.glob(f"*/{mixture.id}.flac")}
        assert {rate} == {found for _, found in read.values()}
        assert np.array_equal(read["mix"][0], made.mixture)
        assert np.array_equal(read["s1"][0] + read["s2"][0] + read["noise"][0], read["mix"][0])
        assert ("target1" in read) == made.in_room == bool(mixture.sources[0].room)
        if made.in_room:
            in_rooms += 1
            assert np.array_equal(read["target2"][0], made.targets[1])
            assert not np.array_equal(made.targets, made.sources)
    assert 0 < in_rooms < 8


def test_a_source_is_where_the_plan_says(sounds):
    first, second = sorted(name for name in sounds.cuts if name.startswith("test"))[:2]
    length = sounds.cuts[first].num_samples
    sources = (Source(first, "a", 100, 5000, 0, 0.5), Source(second, "b", 0, 3000, 7000, 2.0))
    made = render(Mixture("m", "partial", "test", 0, 16000, 10_000, sources), sounds, 0.05)
    assert length > 5100
    assert np.allclose(made.sources[0, :5000], 0.5 * sounds.wave(first)[100:5100], atol=2**-23)
    assert not made.sources[0, 5000:].any()
    assert np.allclose(made.sources[1, 7000:], 2 * sounds.wave(second)[:3000], atol=2**-23)
    assert not made.sources[1, :7000].any()
    assert not made.noise.any()


def test_a_short_noise_is_repeated(sounds):
    (name,) = [name for name in sounds.cuts if name == "noise-1@0"]
    piece = sounds.wave(name)
    noise = Noise(name, 1000, len(piece) - 1000, 0.5, 0.0)
    source = Source("test-0-0", "a", 0, 10, 0, 0.0)
    made = render(Mixture("m", "noisy", "test", 0, 16000, 3 * len(piece), (source,), noise), sounds, 0.05)
    count = len(piece) - 1000
    assert np.allclose(made.noise[:count], 0.5 * piece[1000:], atol=2**-23)
    assert np.array_equal(made.noise[count : 2 * count], made.noise[:count])


def test_the_early_part_of_a_room(sounds):
    wave = sounds.wave("test-0-0")
    response = np.zeros(4000, np.float32)
    response[[100, 400, 3000]] = 1.0, 0.5, 0.25  # direct, 300 samples and 2900 samples later
    wet, early = in_room(wave, response, early=800)
    assert len(wet) == len(early) == len(wave)
    expected = wave.copy()
    expected[300:] += 0.5 * wave[:-300]
    scale = np.dot(early, expected) / np.dot(expected, expected)
    assert np.allclose(early, scale * expected, atol=1e-5)
    expected[2900:] += 0.25 * wave[:-2900]
    assert np.allclose(wet, scale * expected, atol=1e-5)
    assert max(np.abs(wet).max(), np.abs(early).max()) == pytest.approx(np.abs(wave).max(), rel=1e-5)


def test_what_was_used_last_is_kept(talkers):
    cuts = sound_cuts(talkers, "test")
    names = sorted(name for name in cuts if name.startswith("test"))
    size = 4 * max(cuts[name].num_samples for name in names)
    sounds = Sounds(cuts, 16000, cache_bytes=3 * size)
    for name in names:
        sounds.wave(name)
        assert sounds.bytes == sum(wave.nbytes for wave in sounds.kept.values()) <= 3 * size
    assert list(sounds.kept)[-1] == names[-1]
    assert sounds.wave(names[-1]) is sounds.kept[names[-1]]


def test_audio_that_changed_since_is_named(sounds):
    mixture = Mixture("m", "full", "test", 0, 16000, 10**6, (Source("test-0-0", "a", 0, 10**6, 0, 1.0),))
    with pytest.raises(ValueError, match=r"m: test-0-0 has \d+ samples, fewer than the plan"):
        render(mixture, sounds, 0.05)
    with pytest.raises(ValueError, match="the plan mixes nobody, which the cuts do not have"):
        render(replace(mixture, sources=(Source("nobody", "a", 0, 1, 0, 1.0),)), sounds, 0.05)
