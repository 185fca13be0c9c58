"""utils/provenance.py: finished work is skipped, stale work is refused, broken-off work is done again."""

import json
import os
import shutil

import pytest

from utils import provenance
from utils.provenance import StaleOutputError, fingerprint, make, record_path


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "資料 a"
    folder.mkdir()
    (folder / "text").write_text("a 你好\n", encoding="utf-8")
    (folder / "wav.scp").write_text("a a.wav\n")
    return folder


def build(output, args, inputs=(), text="made"):
    """Makes `output` as a verb does; returns whether there was anything to do."""
    with make(output, args, inputs) as temporary:
        if temporary is None:
            return False
        temporary.write_text(text)
        return True


def test_made_once(tmp_path, corpus):
    output = tmp_path / "exp" / "lexicon.txt"
    assert build(output, {"order": 3}, [corpus])
    assert not build(output, {"order": 3}, [corpus], text="again")
    assert output.read_text() == "made"


def test_the_record_says_what_it_was_made_from(tmp_path, corpus):
    output = tmp_path / "x"
    build(output, {"order": 3, "corpus": corpus, "pair": (1, 2)}, [corpus / "text"])
    assert record_path(output) == tmp_path / ".x.made.json"
    record = json.loads(record_path(output).read_text("utf-8"))
    assert record["args"] == {"order": 3, "corpus": str(corpus), "pair": [1, 2]}
    assert record["inputs"] == {str(corpus / "text"): fingerprint(corpus / "text")}
    assert not build(output, {"pair": (1, 2), "order": 3, "corpus": corpus}, [corpus / "text"])


def test_a_changed_option_stops_with_both_values_and_the_way_out(tmp_path):
    output = tmp_path / "x"
    build(output, {"order": 3, "same": 1})
    with pytest.raises(StaleOutputError, match=r"option order: 3 then, 4 now.*--force.*--exp") as error:
        build(output, {"order": 4, "same": 1})
    assert str(output) in str(error.value)
    assert "same" not in str(error.value)
    assert output.read_text() == "made"


@pytest.mark.parametrize("args", [{}, {"order": 3, "new": 1}], ids=["gone", "added"])
def test_an_option_that_came_or_went_counts(tmp_path, args):
    build(tmp_path / "x", {"order": 3})
    with pytest.raises(StaleOutputError, match="None"):
        build(tmp_path / "x", args)


def test_a_changed_input_is_named(tmp_path, corpus):
    output = tmp_path / "x"
    build(output, {}, [corpus / "text", corpus / "wav.scp"])
    (corpus / "text").write_text("a 再見\n", encoding="utf-8")
    with pytest.raises(StaleOutputError, match=r"input .*text has changed") as error:
        build(output, {}, [corpus / "text", corpus / "wav.scp"])
    assert "wav.scp" not in str(error.value)


def test_touching_an_input_is_no_change(tmp_path, corpus):
    build(tmp_path / "x", {}, [corpus])
    os.utime(corpus / "text", (1, 1))
    assert not build(tmp_path / "x", {}, [corpus])


def test_a_missing_input_is_named_before_anything_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data/nothing.*--list-stages"):
        build(tmp_path / "x", {}, [tmp_path / "data" / "nothing"])
    assert list(tmp_path.iterdir()) == []


def test_an_output_placed_by_hand_is_taken(tmp_path):
    (tmp_path / "x").write_text("mine")
    assert not build(tmp_path / "x", {"order": 3})
    assert (tmp_path / "x").read_text() == "mine"


def test_force_makes_it_again(tmp_path, monkeypatch):
    output = tmp_path / "x"
    build(output, {"order": 3})
    monkeypatch.setenv("RECIPE_FORCE", "true")
    assert build(output, {"order": 4}, text="forced")
    monkeypatch.delenv("RECIPE_FORCE")
    assert output.read_text() == "forced"
    assert not build(output, {"order": 4})


def test_a_failure_leaves_neither_output_nor_record(tmp_path):
    with pytest.raises(RuntimeError), make(tmp_path / "x", {}) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.glob("x")) == []
    assert build(tmp_path / "x", {})


def test_an_interrupted_force_does_not_bless_the_old_output(tmp_path, monkeypatch):
    """The old output is still there then; it must count as what it is, or be made again, but never as new."""
    output = tmp_path / "x"
    build(output, {"order": 3}, text="old")
    monkeypatch.setenv("RECIPE_FORCE", "true")
    with pytest.raises(KeyboardInterrupt), make(output, {"order": 4}) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    monkeypatch.delenv("RECIPE_FORCE")
    try:
        build(output, {"order": 4}, text="new")
    except StaleOutputError:
        return
    assert output.read_text() == "new"


@pytest.mark.parametrize("args", [{"order": 3}, {"order": 4}], ids=["same", "other"])
def test_killed_before_the_record_was_written(tmp_path, monkeypatch, args):
    """Between the renaming of the output and the record lies a moment; a rerun must not take one for another."""
    output = tmp_path / "x"

    def killed(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(provenance.atomic, "write_json", killed)
        build(output, {"order": 3}, text="first")
    try:
        build(output, args, text="second")
    except StaleOutputError:
        assert args == {"order": 4}
        return
    expected = {"second"} if args == {"order": 4} else {"first", "second"}
    assert output.read_text() in expected


def test_directories_are_outputs_too(tmp_path, corpus):
    output = tmp_path / "lang"
    with make(output, {}, [corpus]) as temporary:
        temporary.mkdir()
        (temporary / "tokens.txt").write_text("<blk> 0\n")
    with make(output, {}, [corpus]) as temporary:
        assert temporary is None
    assert (output / "tokens.txt").read_text() == "<blk> 0\n"


def test_fingerprint_sees_contents_and_names(corpus):
    seen = {fingerprint(corpus)}
    (corpus / "text").write_text("b")
    seen.add(fingerprint(corpus))
    (corpus / "text").rename(corpus / "text2")
    seen.add(fingerprint(corpus))
    (corpus / "deeper").mkdir()
    (corpus / "text2").rename(corpus / "deeper" / "text2")
    seen.add(fingerprint(corpus))
    (corpus / "wav.scp").unlink()
    seen.add(fingerprint(corpus))
    assert len(seen) == 5


def test_fingerprint_is_of_the_content_alone(corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    assert fingerprint(copy) == fingerprint(corpus)
    assert fingerprint(copy / "text") == fingerprint(corpus / "text")
    assert fingerprint(copy / "text") != fingerprint(copy / "wav.scp")


def test_fingerprint_ignores_what_is_hidden(corpus):
    """Records, temporary files and what a killed process left of a temporary directory are not data."""
    before = fingerprint(corpus)
    (corpus / ".text.made.json").write_text("{}")
    (corpus / ".tmp-1-fbank").mkdir()
    (corpus / ".tmp-1-fbank" / "part").write_text("left")
    assert fingerprint(corpus) == before


def test_large_files_count_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "HASHED_BYTES", 10)
    path = tmp_path / "archive"
    path.write_bytes(b"x" * 11)
    os.utime(path, ns=(5, 5))
    first = fingerprint(path)
    assert first == "stat:11:5"
    os.utime(path, ns=(6, 6))
    assert fingerprint(path) != first
    path.write_bytes(b"x" * 10)
    assert fingerprint(path).startswith("sha256:")
