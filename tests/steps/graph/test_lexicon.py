"""The lexicon's file, its disambiguation symbols, and symbol tables."""

import pytest

from steps.graph.lexicon import Lexicon, disambiguate, read_symbols, write_symbols


def test_round_trip_keeps_order_and_drops_repeated_pronunciations(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_bytes("中国 zh ong1 g uo2\r\n行 x ing2\n\n行 h ang2\n行 x  ing2\n".encode())
    lexicon = Lexicon.read(path)
    assert lexicon.words == ["中国", "行"]
    assert lexicon["行"] == [("x", "ing2"), ("h", "ang2")]
    lexicon.write(path)
    assert path.read_text(encoding="utf-8") == "中国 zh ong1 g uo2\n行 x ing2\n行 h ang2\n"


def test_bad_lexicons_are_named(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("a A\nb\n")
    with pytest.raises(ValueError, match=r"lexicon.txt, line 2: 'b' has no pronunciation"):
        Lexicon.read(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="found none"):
        Lexicon.read(path)


def test_disambiguation_by_hand():
    """Homophones get #1 and #2, a beginning of another word #1, what stands alone nothing."""
    entries = {"red": "r e d", "read": "r e d", "re": "r e", "dr": "d r", "r": "r"}
    marked, largest = disambiguate(Lexicon((word, tokens.split()) for word, tokens in entries.items()))
    assert {word: k for word, _, k in marked} == {"red": 1, "read": 2, "re": 1, "dr": 0, "r": 1}
    assert largest == 2
    assert disambiguate(Lexicon([("a", ["x"])])) == ([("a", ("x",), 0)], 0)


def test_symbol_tables(tmp_path):
    path = tmp_path / "words.txt"
    write_symbols(path, ["<eps>", "灯"])
    assert path.read_text(encoding="utf-8") == "<eps> 0\n灯 1\n"
    assert read_symbols(path) == ["<eps>", "灯"]
    path.write_text("a 0\nb 2\n")
    with pytest.raises(ValueError, match=r"words.txt, line 2: expected '<symbol> 1', found 'b 2'"):
        read_symbols(path)
    path.write_text("a 0\na 1\n")
    with pytest.raises(ValueError, match="'a' has more than one id"):
        read_symbols(path)
