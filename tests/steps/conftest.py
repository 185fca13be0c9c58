"""What the tests of several rooms build on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from steps.graph import hlg, lang, ngram
from steps.graph.config import GraphConfig, LangConfig, NgramConfig
from steps.graph.lexicon import BACKOFF, EPS, read_symbols
from steps.graph.units import Units


@pytest.fixture(scope="session")
def make_language() -> Callable[[Path, Sequence[str]], Units]:
    """A function that writes `folder`/lang and `folder`/graph for the sentences (characters, a trigram)."""

    def make(folder: Path, sentences: Sequence[str]) -> Units:
        units = lang.prepare(LangConfig(), sentences, [], None, folder / "lang")
        symbols = read_symbols(folder / "lang" / "words.txt")
        vocabulary = [symbol for symbol in symbols if symbol not in (EPS, BACKOFF)]
        model = ngram.estimate([units.words(sentence) for sentence in sentences], vocabulary, NgramConfig())
        model.write_arpa(folder / "3gram.arpa")
        hlg.compile_graph(folder / "lang", folder / "3gram.arpa", GraphConfig(), folder / "graph")
        return units

    return make
