"""Modified Kneser-Ney estimation (Chen and Goodman, 1999, section 3) with numpy.

With adjusted count a (the raw count for the highest order and for n-grams that begin with <s>, else the number
of distinct words seen before the n-gram), discount D(a), and sums running over the words v seen after h:

    p(w | h) = (a(hw) - D(a(hw))) / sum a(hv)  +  g(h) p(w | h'),      g(h) = sum D(a(hv)) / sum a(hv)

h' is h without its first word; below the unigrams lies the uniform distribution over the vocabulary. g(h) is at
the same time the back-off weight of h in the ARPA file, since an unseen w has p(w | h) = g(h) p(w | h').

Counting is `np.unique` on (row of the context, word), the recursion over orders is indexing: a corpus of two
million words takes seconds.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from steps.graph.backoff import BackoffModel, Level, concatenate
from steps.graph.config import NgramConfig
from steps.graph.lexicon import BOS, EOS, UNK

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts do not determine them


@dataclass
class _Counts:
    """N-grams of one order, as in Level; `suffix` is the row of the last n-1 words in the level below."""

    context: np.ndarray
    word: np.ndarray
    suffix: np.ndarray
    raw: np.ndarray
    adjusted: np.ndarray


def estimate(sentences: Iterable[Sequence[str]], words: Sequence[str], config: NgramConfig) -> BackoffModel:
    """Returns the interpolated modified Kneser-Ney model of `sentences` over the vocabulary `words`.

    `words` has to hold <s>, </s> and <unk>; other words of the text count as <unk>. N-grams rarer than
    `config.min_counts` leave the model, and their share goes to the lower order. Raises ValueError for an empty
    text or an incomplete vocabulary.
    """
    index = {word: i for i, word in enumerate(words)}
    missing = [word for word in (BOS, EOS, UNK) if word not in index]
    if missing:
        raise ValueError(f"the vocabulary lacks {', '.join(missing)}; prepare_lang writes them into words.txt")
    stream, position = concatenate(sentences, index)
    if not len(stream):
        raise ValueError("no text to estimate an n-gram from")
    counts = _count(stream, position, len(words), config.order)
    _adjust(counts, index[BOS])
    kept = [np.full(len(words), True)]
    probs = [_unigrams(counts[0], index[BOS])]
    backoffs = []
    for n, level in enumerate(counts[1:], start=1):
        kept.append(level.raw >= config.min_counts[min(n, len(config.min_counts) - 1)])
        prob, backoff = _interpolate(level, n + 1, kept[n], probs[n - 1])
        probs.append(prob)
        backoffs.append(backoff)
    backoffs.append(np.ones(len(probs[-1])))
    return BackoffModel(words, _levels(counts, kept, probs, backoffs))


def discounts(adjusted: np.ndarray) -> tuple[float, float, float]:
    """D1, D2, D3+ from the counts of counts n1..n4 (Chen and Goodman, 1999, equation 26).

    Where one of them is zero or a discount leaves [0, k], as happens with a small or a synthetic corpus, the
    fixed values FALLBACK (KenLM's) are returned.
    """
    n1, n2, n3, n4 = (int((adjusted == k).sum()) for k in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 <= d <= k for k, d in enumerate(found, start=1)) else FALLBACK


def _count(stream: np.ndarray, position: np.ndarray, vocabulary: int, order: int) -> list[_Counts]:
    everything = np.arange(vocabulary)
    raw = np.bincount(stream, minlength=vocabulary)
    counts = [_Counts(np.zeros_like(everything), everything, np.zeros_like(everything), raw, raw)]
    row = stream  # at each position, the row of the n-gram that ends there
    for n in range(1, order):
        ends = np.flatnonzero(position >= n)
        keys, first, inverse, raw = np.unique(
            row[ends - 1] * vocabulary + stream[ends],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        counts.append(_Counts(keys // vocabulary, keys % vocabulary, row[ends[first]], raw, raw))
        row = np.full(len(stream), -1, dtype=np.int64)
        row[ends] = inverse.reshape(-1)
    return counts


def _adjust(counts: list[_Counts], bos: int) -> None:
    """Below the highest order, replaces counts by the number of distinct words before the n-gram."""
    starts = counts[0].word == bos
    for n, level in enumerate(counts[:-1]):
        if n > 0:
            starts = starts[level.context]
        before = np.bincount(counts[n + 1].suffix, minlength=len(level.raw))
        level.adjusted = np.where(starts, level.raw, before)
    counts[0].adjusted = np.where(counts[0].word == bos, 0, counts[0].adjusted)  # <s> is never predicted


def _discounted(adjusted: np.ndarray, order: int) -> np.ndarray:
    """The discount of each n-gram, zero where its count is."""
    found = discounts(adjusted)
    if found is FALLBACK:
        logging.info("order %d: too little text to determine the discounts; using %s", order, FALLBACK)
    return np.array([0.0, *found])[np.minimum(adjusted, 3)]


def _unigrams(counts: _Counts, bos: int) -> np.ndarray:
    """Probabilities of all words; <s> has none, since nothing predicts it."""
    discount = _discounted(counts.adjusted, 1)
    total = counts.adjusted.sum()
    predicted = counts.word != bos
    uniform = np.where(predicted, 1 / predicted.sum(), 0.0)
    return (counts.adjusted - discount) / total + discount.sum() / total * uniform


def _interpolate(counts: _Counts, order: int, kept: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of one order and the back-off weights of the order below, whose probabilities are given."""
    discount = _discounted(counts.adjusted, order)
    given_up = np.where(kept, discount, counts.adjusted)
    total = np.bincount(counts.context, weights=counts.adjusted, minlength=len(below))
    share = np.bincount(counts.context, weights=given_up, minlength=len(below))
    backoff = np.divide(share, total, out=np.ones(len(below)), where=total > 0)
    seen = (counts.adjusted - discount) / total[counts.context]
    return seen + backoff[counts.context] * below[counts.suffix], backoff


def _levels(
    counts: list[_Counts], kept: list[np.ndarray], probs: list[np.ndarray], backoffs: list[np.ndarray]
) -> list[Level]:
    """Drops what the cut-offs remove and takes logarithms.

    A kept n-gram's beginning and end are at least as frequent, so that they are kept too: min_counts do not
    decrease with the order.
    """
    levels = []
    renumbered = np.zeros(1, dtype=np.int64)
    for level, keep, prob, backoff in zip(counts, kept, probs, backoffs, strict=True):
        with np.errstate(divide="ignore"):
            log_prob, log_backoff = np.log(prob[keep]), np.log(backoff[keep])
        levels.append(Level(renumbered[level.context[keep]], level.word[keep], log_prob, log_backoff))
        renumbered = np.cumsum(keep) - 1
    return levels
