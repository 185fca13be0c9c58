"""Back-off n-gram models: probabilities of sentences, perplexity, and the ARPA file.

All n-grams of one order lie in parallel arrays sorted by (context, word), where `context` is the row of the
first n-1 words in the level below; so looking up a whole text is one binary search per order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.graph.lexicon import BOS, EOS, UNK

ARPA_ZERO = -99.0  # log10 of zero, by convention: the probability of <s>


@dataclass
class Level:
    """The n-grams of one order; every array has one element per n-gram.

    context, word: int64, row in the level below (0 for unigrams) and index in the vocabulary;
    log_prob, backoff: float64, natural logarithms (backoff is 0 where the n-gram is no context).
    """

    context: np.ndarray
    word: np.ndarray
    log_prob: np.ndarray
    backoff: np.ndarray


class BackoffModel:
    """A model over `words`, which hold <s>, </s> and <unk>; levels[n-1] has the n-grams of order n."""

    def __init__(self, words: Sequence[str], levels: list[Level]):
        self.words = list(words)
        self.levels = levels
        self._index = {word: i for i, word in enumerate(self.words)}
        self._keys = [level.context * len(self.words) + level.word for level in levels]

    def log_probs(self, sentences: Iterable[Sequence[str]]) -> np.ndarray:
        """Natural log-probabilities of all words of all sentences, each closed by </s>, in one row.

        A word outside the vocabulary counts as <unk>.
        """
        stream, position = concatenate(sentences, self._index)
        row, score = stream, self.levels[0].log_prob[stream]
        for n in range(1, len(self.levels)):
            # a context that does not exist has the back-off weight one, and no n-gram continues it
            context = np.where(position >= n, np.roll(row, 1), -1)
            weight = np.where(context >= 0, self.levels[n - 1].backoff[context], 0.0)
            row = self._find(n, context, stream)
            score = score + weight
            score[row >= 0] = self.levels[n].log_prob[row[row >= 0]]
        return score[position > 0]

    def perplexity(self, sentences: Sequence[Sequence[str]]) -> tuple[float, int]:
        """Perplexity per word (each sentence's </s> counts, unknown words do not), and how many are unknown.

        Raises ValueError where there is no sentence.
        """
        if not sentences:
            raise ValueError("no text to measure the perplexity on")
        known = [w in self._index and w != UNK for sentence in sentences for w in (*sentence, EOS)]
        scores = self.log_probs(sentences)[known]
        return float(np.exp(-scores.mean())), len(known) - len(scores)

    def write_arpa(self, path: Path | str) -> None:
        """Writes the model in ARPA form (log10, seven digits), as Kaldi, kaldilm, KenLM and SRILM read it."""
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            file.write("\\data\\\n")
            file.writelines(f"ngram {n}={len(level.word)}\n" for n, level in enumerate(self.levels, start=1))
            ngrams: list[str] = []
            for n, level in enumerate(self.levels, start=1):
                last = [self.words[w] for w in level.word]
                before = [f"{ngrams[c]} " for c in level.context] if n > 1 else [""] * len(last)
                ngrams = [a + b for a, b in zip(before, last, strict=True)]
                file.write(f"\n\\{n}-grams:\n")
                file.writelines(_arpa_lines(level, ngrams, n == len(self.levels)))
            file.write("\n\\end\\\n")

    def _find(self, n: int, context: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Rows of the n-grams (context, word) at level n, -1 where there is none."""
        keys = self._keys[n]
        wanted = np.where(context >= 0, context * len(self.words) + word, -1)
        row = np.searchsorted(keys, wanted)
        found = np.append(keys, -2)[row] == wanted
        return np.where(found, row, -1)


def concatenate(sentences: Iterable[Sequence[str]], index: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """All sentences in one row of word indices, each with <s> and </s>, and each word's place in its sentence."""
    unk, bos, eos = index[UNK], index[BOS], index[EOS]
    stream: list[int] = []
    lengths: list[int] = []
    for sentence in sentences:
        stream.append(bos)
        stream.extend(index.get(word, unk) for word in sentence)
        stream.append(eos)
        lengths.append(len(sentence) + 2)
    ends = np.cumsum(lengths, dtype=np.int64)
    position = np.arange(len(stream)) - np.repeat(ends - lengths, lengths)
    return np.array(stream, dtype=np.int64), position


def _arpa_lines(level: Level, ngrams: list[str], highest: bool) -> Iterable[str]:
    log10 = np.maximum(level.log_prob / np.log(10), ARPA_ZERO)
    if highest:
        return (f"{p:.7g}\t{ngram}\n" for p, ngram in zip(log10, ngrams, strict=True))
    weights = level.backoff / np.log(10)
    return (f"{p:.7g}\t{ngram}\t{b:.7g}\n" for p, ngram, b in zip(log10, ngrams, weights, strict=True))
