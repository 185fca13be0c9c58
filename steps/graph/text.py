"""Transcripts as text: reading them, Chinese script, and words where the text has no spaces."""

import gzip
import itertools
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

BOUNDARY = "▁"  # stands for a space inside tokens, as in sentencepiece
_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE = re.compile(f"[{_HAN}]")
_LOOSE_SPACE = re.compile(rf"(?<=[{_HAN}])\s+|\s+(?=[{_HAN}])")
_PIECE = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")  # one Chinese character, or a run of other script


def read_supervisions(path: Path | str) -> Iterator[str]:
    """Yields the text of each supervision of a Lhotse manifest (.jsonl or .jsonl.gz), spaces normalised.

    Raises ValueError, naming the line, where the file is not such a manifest.
    """
    for number, line in enumerate(_lines(path), start=1):
        try:
            text = json.loads(line)["text"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: expected a supervision in JSON with a 'text'") from error
        yield " ".join((text or "").split())


def read_sentences(path: Path | str) -> Iterator[str]:
    """Yields the lines of a plain text file (.gz or not), one sentence each, without empty ones."""
    for line in _lines(path):
        sentence = " ".join(line.split())
        if sentence:
            yield sentence


def is_chinese(text: str) -> bool:
    """Whether every character of `text`, and at least one, is a Chinese character."""
    return len(_CHINESE.findall(text)) == len(text) > 0


def mostly_chinese(sentences: Sequence[str]) -> bool:
    """Whether Chinese characters outnumber the other letters and digits."""
    chinese = sum(len(_CHINESE.findall(sentence)) for sentence in sentences)
    letters = sum(sum(map(str.isalnum, sentence)) for sentence in sentences)
    return 2 * chinese > letters


def has_spaces(sentences: Sequence[str]) -> bool:
    """Whether spaces mark words: at least one sentence in ten has one."""
    return 10 * sum(" " in sentence for sentence in sentences) >= max(1, len(sentences))


def drop_chinese_spaces(text: str) -> str:
    """Removes the spaces that touch a Chinese character: "打开 TV 的 BLUE TOOTH" -> "打开TV的BLUE TOOTH"."""
    return _LOOSE_SPACE.sub("", text.strip())


class Segmenter:
    """Cuts text into the words of a vocabulary.

    A space always separates. Between spaces, Chinese text is cut so that the fewest pieces lie outside the
    vocabulary, then into the fewest words, then with the longest words first. What is outside is returned as
    single characters, or as whole runs of another script.
    """

    def __init__(self, vocabulary: Collection[str]):
        self._vocabulary = frozenset(vocabulary)
        self._longest = max(map(len, self._vocabulary), default=1)
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        """Returns the words of `text`, known or not."""
        return [word for chunk in text.split() for word in self._cut(chunk)]

    def _cut(self, chunk: str) -> list[str]:
        if chunk in self._vocabulary or not _CHINESE.search(chunk):
            return [chunk]
        if chunk not in self._known:
            self._known[chunk] = self._best_cut(chunk)
        return self._known[chunk]

    def _best_cut(self, chunk: str) -> list[str]:
        """Dynamic programming from the right: best[i] is (pieces outside, words, end of the first) of chunk[i:]."""
        size = len(chunk)
        best: list[tuple[int, int, int]] = [(0, 0, size)] * (size + 1)
        for start in range(size - 1, -1, -1):
            piece = _PIECE.match(chunk, start)
            assert piece is not None, "split() left no spaces"
            end = piece.end()
            choices = [(best[end][0] + 1, best[end][1] + 1, -end)]
            for end in range(start + 1, min(size, start + self._longest) + 1):
                if chunk[start:end] in self._vocabulary:
                    choices.append((best[end][0], best[end][1] + 1, -end))
            outside, words, end = min(choices)
            best[start] = (outside, words, -end)
        cuts = [0]
        while cuts[-1] < size:
            cuts.append(best[cuts[-1]][2])
        return [chunk[a:b] for a, b in itertools.pairwise(cuts)]


def _lines(path: Path | str) -> Iterator[str]:
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        try:
            yield from file
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise ValueError(f"{path}: not readable as UTF-8 text: {error}") from error
