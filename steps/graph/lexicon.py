"""The lexicon: words and their pronunciations in tokens, and the symbol tables beside it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

EPS, UNK, BACKOFF, BOS, EOS = "<eps>", "<unk>", "#0", "<s>", "</s>"

Pronunciation = tuple[str, ...]


class Lexicon:
    """Words with one pronunciation or several, in the order in which they were added."""

    def __init__(self, entries: Iterable[tuple[str, Iterable[str]]] = ()):
        self._of: dict[str, list[Pronunciation]] = {}
        for word, tokens in entries:
            self.add(word, tokens)

    def add(self, word: str, tokens: Iterable[str]) -> None:
        """Adds a pronunciation; one that is there already is not added twice."""
        pronunciation = tuple(tokens)
        known = self._of.setdefault(word, [])
        if pronunciation not in known:
            known.append(pronunciation)

    def __contains__(self, word: str) -> bool:
        return word in self._of

    def __len__(self) -> int:
        return len(self._of)

    @property
    def words(self) -> list[str]:
        """All words, in order."""
        return list(self._of)

    def __getitem__(self, word: str) -> list[Pronunciation]:
        return self._of[word]

    @property
    def entries(self) -> list[tuple[str, Pronunciation]]:
        """One (word, pronunciation) for each line of the file."""
        return [(word, tokens) for word, known in self._of.items() for tokens in known]

    @classmethod
    def read(cls, path: Path | str) -> "Lexicon":
        """Reads lines `word token token ...`. Raises ValueError naming a line without a pronunciation."""
        lexicon = cls()
        for number, fields in _fields(path):
            if len(fields) < 2:
                raise ValueError(f"{path}, line {number}: '{fields[0]}' has no pronunciation")
            lexicon.add(fields[0], fields[1:])
        if not len(lexicon):
            raise ValueError(f"{path}: expected lines 'word token token ...', found none")
        return lexicon

    def write(self, path: Path | str) -> None:
        """Writes the lines that `read` reads."""
        lines = [f"{word} {' '.join(tokens)}\n" for word, tokens in self.entries]
        Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def disambiguate(lexicon: Lexicon) -> tuple[list[tuple[str, Pronunciation, int]], int]:
    """Returns (word, pronunciation, k) for each entry, and the largest k.

    The symbol #k has to follow the pronunciation so that no two words, nor a word and the beginning of another,
    read alike; k = 0 says that none is needed. #0 itself stands for the n-gram's back-off.
    """
    entries = lexicon.entries
    shared = Counter(tokens for _, tokens in entries)
    beginnings = {tokens[:n] for tokens in shared for n in range(1, len(tokens))}
    used: Counter[Pronunciation] = Counter()
    marked = []
    for word, tokens in entries:
        if shared[tokens] > 1 or tokens in beginnings:
            used[tokens] += 1
        marked.append((word, tokens, used[tokens]))
    return marked, max(used.values(), default=0)


def read_symbols(path: Path | str) -> list[str]:
    """Reads a symbol table ("symbol id" a line) whose ids are 0, 1, 2 ... and returns the symbols in order.

    Raises ValueError for anything else.
    """
    symbols: list[str] = []
    for number, fields in _fields(path):
        if len(fields) != 2 or fields[1] != str(len(symbols)):
            raise ValueError(f"{path}, line {number}: expected '<symbol> {len(symbols)}', found '{' '.join(fields)}'")
        symbols.append(fields[0])
    if len(set(symbols)) < len(symbols):
        twice = Counter(symbols).most_common(1)[0][0]
        raise ValueError(f"{path}: the symbol '{twice}' has more than one id")
    return symbols


def write_symbols(path: Path | str, symbols: Iterable[str]) -> None:
    """Writes a symbol table with the ids 0, 1, 2 ..."""
    lines = [f"{symbol} {i}\n" for i, symbol in enumerate(symbols)]
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def _fields(path: Path | str) -> Iterable[tuple[int, list[str]]]:
    try:
        # not splitlines(): a symbol may be one of the rarer characters that it takes for a line's end
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from error
    return [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
