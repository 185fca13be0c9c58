"""A small language with its graph, and posteriors of sentences in it."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from steps.graph.lexicon import read_symbols
from steps.graph.units import Units

CHARACTERS = "一二三四五六七八九十上下左右前后东西南北"


@dataclass
class Language:
    """Directories, sentences, and the words of the graph by id."""

    lang: Path
    graph: Path
    sentences: list[str]
    words: list[str]
    units: Units


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory, make_language) -> Language:
    """Random words of one to three characters, a trigram of 400 sentences, and their HLG."""
    folder, chance = tmp_path_factory.mktemp("language"), random.Random(0)
    words = sorted({"".join(chance.choices(CHARACTERS, k=chance.choice([1, 2, 2, 3]))) for _ in range(40)})
    sentences = ["".join(chance.choices(words, k=chance.randint(2, 5))) for _ in range(400)]
    units = make_language(folder, sentences)
    symbols = read_symbols(folder / "lang" / "words.txt")
    return Language(folder / "lang", folder / "graph" / "HLG.fst", sentences, symbols, units)


def posteriors_of(tokens: list[int], num_tokens: int, peak: float, generator: np.random.Generator) -> np.ndarray:
    """(T, V) log-posteriors, float32: noise of deviation 1, with each token raised by `peak` in a frame of its own."""
    num_frames = 3 * len(tokens) + 4
    logits = generator.normal(size=(num_frames, num_tokens))
    path = np.zeros(num_frames, dtype=int)
    path[np.sort(generator.choice(np.arange(1, num_frames, 2), size=len(tokens), replace=False))] = tokens
    logits[np.arange(num_frames), path] += peak
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def batch_of(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(N, T, V) padded with zeros, and (N,) lengths."""
    lengths = np.array([len(row) for row in rows])
    batch = np.zeros((len(rows), lengths.max(), rows[0].shape[1]), dtype=np.float32)
    for row, padded in zip(rows, batch, strict=True):
        padded[: len(row)] = row
    return batch, lengths


@pytest.fixture(scope="session")
def posteriors(language: Language) -> tuple[np.ndarray, np.ndarray]:
    """A batch of 24 sentences, noisy enough that searches disagree about some."""
    generator = np.random.default_rng(1)
    rows = [
        posteriors_of(language.units.encode(sentence), language.units.size, 4.0, generator)
        for sentence in language.sentences[:24]
    ]
    return batch_of(rows)
