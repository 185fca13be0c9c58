"""What the model's tokens are: characters, sentencepiece pieces or phones, loaded from a lang directory.

A lang directory (steps/graph/lang.py makes it) has

    tokens.txt    "symbol id" a line: <blk> 0, <unk> 1, then the units; the output layer has this size
    words.txt     the graph's words as an OpenFst symbol table: <eps> 0, words, <unk>, #0, <s>, </s>
    lexicon.txt   "word token token ...", each pronunciation on its own line
    lang.json     how it was made: units, words (of the graph: "token" or "word"), spaces (kept or not), counts
    bpe.model     the sentencepiece model, for bpe only
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steps.graph.config import LangConfig
from steps.graph.lexicon import UNK, Lexicon, read_symbols
from steps.graph.pronounce import Pronouncer
from steps.graph.text import BOUNDARY, Segmenter, drop_chinese_spaces

BLANK = "<blk>"
FILES = ("tokens.txt", "words.txt", "lexicon.txt", "lang.json")
REMEMBERED = 200_000  # texts whose tokens are kept, since training asks for each in every epoch


class Units:
    """Text to token ids and back. Use `Units.load`, which returns the class of the directory's kind."""

    kind = ""

    def __init__(self, lang_dir: Path, info: dict[str, Any]):
        self.info = info
        self.tokens = read_symbols(lang_dir / "tokens.txt")
        self.lexicon = Lexicon.read(lang_dir / "lexicon.txt")
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._segment = Segmenter(self.lexicon.words)
        self._encoded: dict[str, list[int]] = {}
        if self.tokens[:2] != [BLANK, UNK]:
            raise ValueError(f"{lang_dir / 'tokens.txt'}: expected {BLANK} and {UNK} as tokens 0 and 1")

    @staticmethod
    def load(lang_dir: Path | str) -> "Units":
        """Returns the units of a lang directory.

        Raises FileNotFoundError where a file is missing, ValueError where one is not as described above.
        """
        lang_dir = Path(lang_dir)
        info_file = lang_dir / "lang.json"
        try:
            info = json.loads(info_file.read_text(encoding="utf-8")) if info_file.is_file() else {}
        except ValueError as error:
            raise ValueError(
                f"{info_file}: not JSON: {error}; make the directory again (steps.prepare_lang)"
            ) from error
        needed = (*FILES, "bpe.model") if info.get("units") == "bpe" else FILES
        missing = [name for name in needed if not (lang_dir / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{lang_dir} is not a complete lang directory: no {', '.join(missing)}; "
                "python3 -m steps.prepare_lang (stage 3) makes it"
            )
        kinds = {units.kind: units for units in (CharUnits, BpeUnits, PhoneUnits)}
        if info.get("units") not in kinds:
            raise ValueError(f"{info_file}: units={info.get('units')!r}: expected one of {', '.join(kinds)}")
        return kinds[info["units"]](lang_dir, info)

    @property
    def size(self) -> int:
        """Number of tokens, the blank among them: the size of the model's output."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a transcript; what has no token becomes that of <unk>."""
        ids = self._encoded.get(text)
        if ids is None:
            ids = self._encode(" ".join(text.split()))
            if len(self._encoded) < REMEMBERED:
                self._encoded[text] = ids
        return list(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids (blanks removed and repetitions merged by the caller)."""
        return _spaced([self.tokens[i] for i in ids])

    def words(self, text: str) -> list[str]:
        """Returns a transcript in words of the graph, known or not, as the n-gram is to see it."""
        if self.info["words"] == "token":
            return [self.tokens[i] for i in self.encode(text)]
        return self._segment(text)

    def join(self, words: Sequence[str]) -> str:
        """Returns the text of words of the graph, as `steps/decoding` finds them."""
        if self.info["words"] == "token":
            return self.decode([self._ids.get(word, self._ids[UNK]) for word in words])
        return drop_chinese_spaces(" ".join(words))

    def _encode(self, text: str) -> list[int]:
        raise NotImplementedError


class CharUnits(Units):
    """A token per character. Where spaces are kept, every word begins with the token "▁"."""

    kind = "char"

    def _encode(self, text: str) -> list[int]:
        unk = self._ids[UNK]
        return [self._ids.get(character, unk) for character in spell(text, self.info["spaces"])]


class BpeUnits(Units):
    """Pieces of a sentencepiece model, whose ids are the tokens' ids."""

    kind = "bpe"

    def __init__(self, lang_dir: Path, info: dict[str, Any]):
        super().__init__(lang_dir, info)
        from sentencepiece import SentencePieceProcessor

        self._model = SentencePieceProcessor(model_file=str(lang_dir / "bpe.model"))
        if self._model.vocab_size() != self.size:
            raise ValueError(f"{lang_dir}: bpe.model has {self._model.vocab_size()} pieces, tokens.txt {self.size}")

    def _encode(self, text: str) -> list[int]:
        return self._model.encode(text if self.info["spaces"] else drop_chinese_spaces(text))


class PhoneUnits(Units):
    """The phones of the first pronunciation of each word; a word outside the lexicon is read as others were."""

    kind = "phone"

    def __init__(self, lang_dir: Path, info: dict[str, Any]):
        super().__init__(lang_dir, info)
        self._pronouncer: Pronouncer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For the processes of a data loader: eSpeak's library does not travel."""
        return {**self.__dict__, "_pronouncer": None}

    def _encode(self, text: str) -> list[int]:
        return [self._ids[phone] for word in self._segment(text) for phone in self._phones(word)]

    def _phones(self, word: str) -> Sequence[str]:
        if word in self.lexicon:
            return self.lexicon[word][0]
        if self._pronouncer is None:
            config = LangConfig(units=self.kind, **self.info["g2p"])
            self._pronouncer = Pronouncer(config, self.lexicon if self.info["had_lexicon"] else None)
        found = [phones for phones in self._pronouncer(word) if self._ids.keys() >= set(phones)]
        return found[0] if found else (UNK,)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the phones with spaces between them: which words they make is for the graph to say."""
        return " ".join(self.tokens[i] for i in ids)


def spell(text: str, spaces: bool) -> str:
    """The characters of `text` that are tokens: "A CAT" -> "▁A▁CAT" with spaces, "ACAT" without."""
    return "".join(BOUNDARY + word if spaces else word for word in text.split())


def _spaced(tokens: Sequence[str]) -> str:
    return "".join(tokens).replace(BOUNDARY, " ").strip()
