"""One voice or two, on embeddings of Gaussian speakers, whose log-likelihood ratios PLDA knows exactly."""

import numpy as np
import pytest

from steps.backend.coherence import FRAMES, check_utterances, check_windows, window_starts, worst_split
from steps.backend.plda import TwoCovariancePlda

SIZE = 20
PLDA = TwoCovariancePlda(np.zeros(SIZE), 0.5 * np.eye(SIZE), np.eye(SIZE))


def compare(models, tests):
    means = np.stack([np.mean(vectors, axis=0) for vectors in models]).astype(np.float32)
    return PLDA.score(means, np.array([len(vectors) for vectors in models]), np.asarray(tests, np.float32))


def voices(rng, *counts):
    """counts[i] utterances of speaker i."""
    means = rng.normal(size=(len(counts), SIZE))
    return np.concatenate(
        [mean + np.sqrt(0.5) * rng.normal(size=(n, SIZE)) for mean, n in zip(means, counts, strict=True)]
    )


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (2, 2), (5, 1), (12, 4), (20, 2)])
def test_two_voices_are_told_apart_and_one_is_not(counts):
    rng = np.random.default_rng(sum(counts))
    right, wrong, found = 0, 0, 0
    for _ in range(100):
        right += worst_split(voices(rng, sum(counts)), compare)[0] < 0
        score, odd = worst_split(voices(rng, *counts), compare)
        wrong += score >= 0
        found += odd.tolist() == [False] * counts[0] + [True] * counts[1]
    assert right <= 8  # the split is the worst one
    assert wrong <= 4
    assert found >= 90


def test_an_outlier_is_no_voice_where_two_are_asked_for():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([voices(rng, 8), 4 * rng.normal(size=(1, SIZE))])
    assert worst_split(vectors, compare)[0] < -5
    score, odd = worst_split(vectors, compare, least=2)
    assert score > 0
    assert not odd[8]
    both = np.concatenate([vectors, voices(rng, 3)])
    score, odd = worst_split(both, compare, least=2)
    assert score < 0
    assert odd.tolist() == [False] * 9 + [True] * 3


def test_the_same_recording_twice_is_one_voice():
    vectors = np.repeat(voices(np.random.default_rng(3), 1), 3, axis=0)
    check_utterances(vectors, ["a", "b", "c"], compare, 0.0)


def test_the_odd_utterance_is_named():
    vectors = voices(np.random.default_rng(1), 3, 1)[[0, 3, 1, 2]]
    with pytest.raises(ValueError, match=r"two voices: b\.wav does not match a\.wav, c\.wav, d\.wav .*--accept-mixed"):
        check_utterances(vectors, ["a.wav", "b.wav", "c.wav", "d.wav"], compare, 0.0)
    check_utterances(vectors[[0, 2, 3]], ["a.wav", "c.wav", "d.wav"], compare, 0.0)
    check_utterances(vectors[:1], ["a.wav"], compare, 1e9)  # nothing to compare one utterance with


def test_the_place_of_the_other_voice_is_named():
    vectors = voices(np.random.default_rng(2), 6, 3)
    with pytest.raises(ValueError, match=r"two voices in x\.wav: 3 of 9 windows of 2 s, the first 6 s into its speech"):
        check_windows(vectors, "x.wav", compare, 0.0)
    check_windows(vectors[:6], "x.wav", compare, 0.0)


def test_windows_cover_an_utterance():
    assert window_starts(2 * FRAMES - 1) == []
    assert window_starts(2 * FRAMES) == [0, 100, 200]
    assert window_starts(649) == [0, 100, 200, 300, 400]
