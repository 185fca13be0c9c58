"""Every kind of bad input, all of it in one pass, in one table; and what becomes of it with stop and with skip."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet, SupervisionSet

from local import aishell, kaldi_dir
from local.problems import BadDataError, Reason


def rewrite(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def spoil_kaldi(corpus: Path, audio, bursts) -> dict[str, Reason]:
    """Adds utterances to train, each with a fault of its own; returns the fault by utterance id."""
    folder, new = corpus / "wav 文件", {}

    def add(id: str, reason: Reason, samples=None, text: bytes = b"some words", speaker: str = "spkx", **options):
        new[id] = reason
        rewrite(corpus / "train/wav.scp", lambda old: old + f"{id} wav 文件/{id}.wav\n".encode())
        if text:
            rewrite(corpus / "train/text", lambda old: old + id.encode() + b" " + text + b"\n")
        if speaker:
            rewrite(corpus / "train/utt2spk", lambda old: old + f"{id} {speaker}\n".encode())
        return audio(folder / f"{id}.wav", samples, **options)

    add("x-missing", Reason.MISSING).unlink()
    add("x-empty", Reason.EMPTY, np.zeros(0))
    add("x-zero-bytes", Reason.EMPTY).write_bytes(b"")
    cut = add("x-truncated", Reason.TRUNCATED)
    rewrite(cut, lambda old: old[:9000])
    add("x-nan", Reason.NOT_FINITE, np.where(np.arange(16000) == 5, np.nan, bursts()), subtype="FLOAT")
    add("x-rate", Reason.RATE, rate=8000)
    add("x-stereo", Reason.CHANNELS, np.stack([bursts(), bursts()], axis=1))
    add("x-silence", Reason.SILENT, np.zeros(16000))
    add("x-garbage", Reason.UNREADABLE).write_bytes(b"RIFFnot really")
    add("x-no-words", Reason.NO_TEXT, text=b" ")
    add("x-gb18030", Reason.ENCODING, text="你好".encode("gb18030"))
    add("x-no-text", Reason.UNTRANSCRIBED, text=b"")
    add("x-no-speaker", Reason.NO_SPEAKER, speaker="")
    add("x-shared", Reason.SHARED_SPEAKER, speaker="spk1")
    add("x-double", Reason.DUPLICATE)
    rewrite(corpus / "train/text", lambda old: old + b"x-double other words\n")
    rewrite(corpus / "train/text", lambda old: old + b"x-no-audio words\n")
    new["x-no-audio"] = Reason.UNRECORDED
    rewrite(corpus / "train/wav.scp", lambda old: old + b"x-pipe sph2pipe -f wav x.sph |\n")
    rewrite(corpus / "train/text", lambda old: old + b"x-pipe words\n")
    rewrite(corpus / "train/utt2spk", lambda old: old + b"x-pipe spkx\n")
    new["x-pipe"] = Reason.COMMAND
    rewrite(corpus / "dev/text", lambda old: old.replace(b"\n", b"\r\n"))
    return new


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_kaldi_dir_stops_after_finding_everything(
    kaldi_corpus, audio, bursts, tmp_path: Path, caplog, num_jobs: int
) -> None:
    spoilt, out = spoil_kaldi(kaldi_corpus, audio, bursts), tmp_path / "data"
    with pytest.raises(BadDataError, match=rf"{len(spoilt)} problems in .*--on-bad-data skip"):
        kaldi_dir.prepare(kaldi_corpus, out, "stop", num_jobs)
    assert [path.name for path in out.iterdir()] == ["bad_data.tsv"], "no manifest of a bad corpus"
    listed = read_list(out)
    assert {row["utterance"]: row["reason"] for row in listed if row["severity"] == "bad"} == {
        id: reason.title for id, reason in spoilt.items()
    }
    assert [row["reason"] for row in listed if row["severity"] == "warning"] == [Reason.LINE_ENDS.title]
    table = caplog.text
    for reason in Reason:
        expected = reason in {*spoilt.values(), Reason.LINE_ENDS}
        assert (f"  {reason.title}" in table and reason.way_out in table) == expected, reason
    assert f"{len(spoilt)}  in all, and 1 warnings" in table
    assert "      2  audio without samples" in table


def test_kaldi_dir_skips_and_lists(kaldi_corpus, audio, bursts, tmp_path: Path) -> None:
    spoilt, out = spoil_kaldi(kaldi_corpus, audio, bursts), tmp_path / "data"
    kaldi_dir.prepare(kaldi_corpus, out, "skip")
    assert {row["utterance"] for row in read_list(out)} == {*spoilt, ""}
    supervisions = SupervisionSet.from_file(out / "supervisions_train.jsonl.gz")
    assert [s.id for s in supervisions] == ["spk0-1", "spk0-2"]
    assert [r.id for r in RecordingSet.from_file(out / "recordings_train.jsonl.gz")] == ["spk0-1", "spk0-2"]
    dev = SupervisionSet.from_file(out / "supervisions_dev.jsonl.gz")
    assert [s.text for s in dev] == ["打开 客厅 的 灯 1", "打开 客厅 的 灯 2"], "carriage returns are gone"


def test_mended_corpus_loses_its_list(kaldi_corpus, tmp_path: Path, caplog) -> None:
    text, out = kaldi_corpus / "train/text", tmp_path / "data"
    good = text.read_bytes()
    text.write_bytes(good + b"u9 nothing\n")
    with pytest.raises(BadDataError):
        kaldi_dir.prepare(kaldi_corpus, out)
    text.write_bytes(good)
    kaldi_dir.prepare(kaldi_corpus, out)
    assert not (out / "bad_data.tsv").exists()
    caplog.set_level(logging.INFO)
    kaldi_dir.prepare(kaldi_corpus, out)
    assert "is up to date" in caplog.text


def test_a_forced_run_that_stops_leaves_nothing_older(kaldi_corpus, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "data"
    kaldi_dir.prepare(kaldi_corpus, out)
    rewrite(kaldi_corpus / "dev/text", lambda old: old + b"u9 nothing\n")
    with pytest.raises(ValueError, match="made differently"):
        kaldi_dir.prepare(kaldi_corpus, out)
    monkeypatch.setenv("RECIPE_FORCE", "true")
    with pytest.raises(BadDataError):
        kaldi_dir.prepare(kaldi_corpus, out)
    assert [path.name for path in out.iterdir()] == ["bad_data.tsv"]
    monkeypatch.delenv("RECIPE_FORCE")
    with pytest.raises(BadDataError):
        kaldi_dir.prepare(kaldi_corpus, out)


def test_a_missing_manifest_is_made_again(kaldi_corpus, tmp_path: Path) -> None:
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    lost = tmp_path / "data/recordings_dev.jsonl.gz"
    before = lost.read_bytes()
    lost.unlink()
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    assert lost.read_bytes() == before


def test_a_split_with_nothing_left_is_an_error(kaldi_corpus, tmp_path: Path) -> None:
    (kaldi_corpus / "test/text").write_text("spk2-1  \nspk2-2\n")
    with pytest.raises(ValueError, match="no usable utterance in 'test'"):
        kaldi_dir.prepare(kaldi_corpus, tmp_path / "data", "skip")
    with pytest.raises(ValueError, match="expected 'stop' or 'skip'"):
        kaldi_dir.prepare(kaldi_corpus, tmp_path / "other", "ask")


def test_a_speaker_stays_in_the_later_split(kaldi_corpus, tmp_path: Path) -> None:
    (kaldi_corpus / "dev/utt2spk").write_text("spk1-1 spk1\nspk1-2 spk2\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data", "skip")
    kept = {split: split_ids(tmp_path / "data", split) for split in ("train", "dev", "test")}
    assert kept == {"train": ["spk0-1", "spk0-2"], "dev": ["spk1-1"], "test": ["spk2-1", "spk2-2"]}


def test_aishell_layout_with_faults(aishell_corpus, audio, tmp_path: Path, caplog) -> None:
    wav, transcript = aishell_corpus / "data_aishell/wav", aishell_corpus / aishell.TRANSCRIPT
    audio(wav / "train/S0002/BAC009S0002W0123.wav", rate=48000)
    audio(wav / "train/S0724/BAC009S0724W0200.wav")  # a speaker of dev
    audio(wav / "train/S0003/BAC009S0003W0130.wav")  # no transcript
    audio(wav / "train/S0002/BAC009S0764W0121.wav")  # an id of test
    lines = b"BAC009S0002W0123 x\nBAC009S0724W0200 x\nBAC009S0999W0121 x\nBAC009S0003W0121 again\n"
    rewrite(transcript, lambda old: old + lines)
    with pytest.raises(BadDataError):
        aishell.prepare(aishell_corpus, tmp_path / "data")
    expected = {
        "BAC009S0002W0123": Reason.RATE,
        "BAC009S0724W0200": Reason.SHARED_SPEAKER,
        "BAC009S0003W0130": Reason.UNTRANSCRIBED,
        "BAC009S0764W0121": Reason.DUPLICATE,
        "BAC009S0999W0121": Reason.UNRECORDED,
        "BAC009S0003W0121": Reason.DUPLICATE,
    }
    found = {row["utterance"]: row["reason"] for row in read_list(tmp_path / "data")}
    assert found == {id: reason.title for id, reason in expected.items()}
    aishell.prepare(aishell_corpus, tmp_path / "data", "skip")
    assert split_ids(tmp_path / "data", "train") == ["BAC009S0002W0121", "BAC009S0002W0122", "BAC009S0003W0122"]
    assert split_ids(tmp_path / "data", "test") == ["BAC009S0764W0122"], "every copy of a doubled id is dropped"
    numbers = json.loads((tmp_path / "data/corpus.json").read_text())["splits"]
    assert numbers["train"] == {"utterances": 3, "speakers": 2, "hours": round(3 / 3600, 4)}


def test_what_is_untranscribed_in_the_published_corpus_does_not_stop_it(
    aishell_corpus, audio, tmp_path: Path, monkeypatch
) -> None:
    audio(aishell_corpus / "data_aishell/wav/train/S0003/BAC009S0003W0130.wav")
    monkeypatch.setattr(aishell, "PUBLISHED_TRANSCRIPTS", 8)
    aishell.prepare(aishell_corpus, tmp_path / "data")
    (row,) = read_list(tmp_path / "data")
    assert (row["severity"], row["reason"]) == ("warning", Reason.UNTRANSCRIBED.title)
    assert len(split_ids(tmp_path / "data", "train")) == 4


def read_list(out: Path) -> list[dict[str, str]]:
    header, *rows = (out / "bad_data.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def split_ids(out: Path, split: str) -> list[str]:
    return [s.id for s in SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz")]
