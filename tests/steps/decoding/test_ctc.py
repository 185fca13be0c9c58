"""CTC searches without a graph, against sums over all alignments."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from steps.decoding.config import DecodeConfig
from steps.decoding.ctc import greedy_search, prefix_beam_search

EVERYTHING = DecodeConfig(prefix_beam=10_000, prefix_tokens=100, prefix_token_beam=1e9)


def random_log_probs(num_frames: int, num_tokens: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(num_frames, num_tokens)) * 2
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def by_alignments(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every token sequence, added up alignment by alignment."""
    num_frames, num_tokens = log_probs.shape
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(num_tokens), repeat=num_frames):
        sums[collapse(path)] += math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
    return sums


def test_greedy_merges_repeats_and_drops_blanks() -> None:
    path = [0, 3, 3, 0, 3, 2, 2, 1, 0, 0]
    log_probs = np.full((2, 10, 4), -9.0, dtype=np.float32)
    log_probs[0, np.arange(10), path] = 0.0
    log_probs[1, np.arange(10), path[::-1]] = 0.0
    assert greedy_search(log_probs, np.array([10, 6])) == [[3, 3, 2, 1], [1, 2, 3]]
    assert greedy_search(torch.from_numpy(log_probs), torch.tensor([10, 6])) == [[3, 3, 2, 1], [1, 2, 3]]
    assert greedy_search(log_probs, np.array([0, 1])) == [[], []]


@pytest.mark.parametrize(("num_frames", "num_tokens"), [(1, 4), (5, 3), (6, 3), (4, 5)])
def test_prefix_beam_sums_over_all_alignments(num_frames: int, num_tokens: int) -> None:
    for seed in range(5):
        log_probs = random_log_probs(num_frames, num_tokens, seed)
        wanted = by_alignments(log_probs)
        found = prefix_beam_search(log_probs, EVERYTHING)
        assert {tuple(tokens) for tokens, _ in found} == set(wanted)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        for tokens, score in found:
            assert math.exp(score) == pytest.approx(wanted[tuple(tokens)], rel=1e-5)


def test_prefix_beam_finds_what_greedy_misses() -> None:
    # Two frames of (0.6 blank, 0.4 a): the best path is all blank (0.36), the best sequence is "a" (0.64).
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], dtype=np.float32))
    assert greedy_search(log_probs[None], np.array([2])) == [[]]
    (tokens, score), *_ = prefix_beam_search(log_probs, DecodeConfig())
    assert tokens == [1]
    assert math.exp(score) == pytest.approx(0.64, rel=1e-6)


def test_a_beam_of_the_default_size_finds_the_best_of_all() -> None:
    for seed in range(20):
        log_probs = random_log_probs(7, 3, seed)
        wanted = by_alignments(log_probs)
        tokens, score = prefix_beam_search(log_probs, DecodeConfig(prefix_token_beam=50.0))[0]
        assert wanted[tuple(tokens)] == pytest.approx(max(wanted.values()), rel=0.02)
        assert math.exp(score) <= wanted[tuple(tokens)] * (1 + 1e-6)  # pruning loses alignments, it invents none


def test_long_utterances_do_not_underflow() -> None:
    log_probs = random_log_probs(3000, 6, 0) - 2.0
    tokens, score = prefix_beam_search(log_probs, DecodeConfig())[0]
    assert len(tokens) > 100
    assert -12_000 < score < -6000


def test_posteriors_without_frames_and_without_paths() -> None:
    assert prefix_beam_search(np.zeros((0, 5), dtype=np.float32), DecodeConfig()) == [([], 0.0)]
    assert prefix_beam_search(np.full((3, 5), -np.inf, dtype=np.float32), DecodeConfig()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["ctc_gready"]}, "decode.methods: some of ctc_greedy"),
        ({"methods": []}, "decode.methods"),
        ({"nbest": 0}, "decode.nbest must be at least 1"),
        ({"search_beam": 0.0}, "decode.search_beam must be positive"),
        ({"min_active": 99_999}, "decode.min_active"),
    ],
)
def test_config_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**options)
