"""Kaldi data directories in and out."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, RecordingSet, SupervisionSet

from local import kaldi_dir
from local.problems import BadDataError


def load(out: Path, split: str) -> tuple[list, list]:
    recordings = RecordingSet.from_file(out / f"recordings_{split}.jsonl.gz")
    return list(recordings), list(SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz"))


def test_manifests_work_from_any_directory(kaldi_corpus, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(kaldi_corpus.parent)
    kaldi_dir.main(["--corpus-dir", kaldi_corpus.name, "--out-dir", "数据 1", "--num-jobs", "1"])
    monkeypatch.chdir(tmp_path.root)
    recordings, supervisions = load(kaldi_corpus.parent / "数据 1", "train")
    assert [(s.id, s.speaker, s.text, s.language) for s in supervisions] == [
        ("spk0-1", "spk0", "打开 客厅 的 灯 1", "Chinese"),
        ("spk0-2", "spk0", "打开 客厅 的 灯 2", "Chinese"),
    ]
    assert recordings[0].load_audio().shape == (1, 16000)
    cuts = CutSet.from_manifests(RecordingSet.from_recordings(recordings), SupervisionSet(supervisions))
    assert [cut.duration for cut in cuts] == [1.0, 1.0]


def test_order_and_bytes_do_not_depend_on_the_order_of_lines(kaldi_corpus, tmp_path: Path) -> None:
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "a")
    for name in ("wav.scp", "text", "utt2spk"):
        file = kaldi_corpus / "train" / name
        file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "b")
    for split in ("train", "dev", "test"):
        for kind in ("recordings", "supervisions"):
            name = f"{kind}_{split}.jsonl.gz"
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_paths_are_looked_for_below_the_corpus_then_the_split(kaldi_corpus, audio, tmp_path: Path) -> None:
    inside = audio(kaldi_corpus / "train/own dir/a.wav")
    absolute = audio(tmp_path / "elsewhere.flac")
    wav = kaldi_corpus / "train/wav.scp"
    wav.write_text(f"spk0-1 own dir/a.wav\nspk0-2 flac -c -d -s '{absolute}' |\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    recordings, _ = load(tmp_path / "data", "train")
    assert [r.sources[0].source for r in recordings] == [str(inside), str(absolute)]
    wav.write_text("spk0-1 wav 文件/spk0-1.wav\nspk0-2 cat wav\\ 文件/spk0-2.wav |\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data 2")
    recordings, _ = load(tmp_path / "data 2", "train")
    assert [Path(r.sources[0].source).name for r in recordings] == ["spk0-1.wav", "spk0-2.wav"]


@pytest.mark.parametrize("line", ["sox a.wav -t wav - |", "cat a.wav b.wav |", "flac -t a.flac |", "cat 'a |", "|"])
def test_commands_are_not_run(kaldi_corpus, tmp_path: Path, line: str) -> None:
    (kaldi_corpus / "train/wav.scp").write_text(f"spk0-1 {line}\nspk0-2 wav 文件/spk0-2.wav\n")
    with pytest.raises(BadDataError, match="1 problem in"):
        kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    assert f"spk0-1\t{kaldi_corpus}/train/wav.scp:1\tcommand" in (tmp_path / "data/bad_data.tsv").read_text()


def test_segments(kaldi_corpus, audio, bursts, tmp_path: Path) -> None:
    train = kaldi_corpus / "train"
    audio(train / "long.wav", np.concatenate([bursts(1.5), bursts(2.0, seed=1)]))
    (train / "wav.scp").write_text("long long.wav\nunused wav 文件/spk0-1.wav\n")
    (train / "segments").write_text("spk0-1 long 0.25 1.5\nspk0-2 long 1.5 -1\nspk0-3 gone 0 1\nspk0-4 long 0 x\n")
    (train / "text").write_text("spk0-1 one\nspk0-2 two\nspk0-3 three\nspk0-4 four\n")
    (train / "utt2spk").write_text("spk0-1 s\nspk0-2 s\nspk0-3 s\nspk0-4 s\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data", "skip")
    recordings, supervisions = load(tmp_path / "data", "train")
    assert [(r.id, r.duration) for r in recordings] == [("long", 3.5)]
    assert [(s.id, s.recording_id, s.start, s.end) for s in supervisions] == [
        ("spk0-1", "long", 0.25, 1.5),
        ("spk0-2", "long", 1.5, 3.5),
    ]
    listed = (tmp_path / "data/bad_data.tsv").read_text()
    assert "spk0-3" in listed and "'gone' is not in" in listed
    assert "spk0-4" in listed and "expected: utterance-id recording-id start end" in listed
    assert "unused" not in listed, "a recording without segments is no fault"


def test_missing_files_are_listed_together(kaldi_corpus, tmp_path: Path) -> None:
    (kaldi_corpus / "dev/text").unlink()
    (kaldi_corpus / "test/utt2spk").unlink()
    for option in (["--download"], ["--out-dir", str(tmp_path / "data")]):
        with pytest.raises(FileNotFoundError, match=r"lacks dev/text, test/utt2spk; expected .*wav.scp"):
            kaldi_dir.main(["--corpus-dir", str(kaldi_corpus), *option])


@pytest.mark.parametrize("segmented", [False, True])
def test_round_trip(kaldi_corpus, tmp_path: Path, segmented: bool) -> None:
    (kaldi_corpus / "lexicon.txt").write_text("打开 d a3 k ai1\n灯 d eng1\n")
    if segmented:
        (kaldi_corpus / "train/segments").write_text("spk0-1 spk0-1 0.1 0.9\nspk0-2 spk0-1 0.123456 1.0\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    kaldi_dir.main(["--export", str(tmp_path / "data"), "--corpus-dir", str(tmp_path / "导出 1")])
    kaldi_dir.prepare(tmp_path / "导出 1", tmp_path / "again")
    for split in ("train", "dev", "test"):
        for name in ("text", "utt2spk"):
            exported = (tmp_path / "导出 1" / split / name).read_bytes()
            assert exported == (kaldi_corpus / split / name).read_bytes()
        for kind in ("recordings", "supervisions"):
            name = f"{kind}_{split}.jsonl.gz"
            assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "data" / name).read_bytes()
    assert (tmp_path / "导出 1/train/segments").exists() == segmented
    assert (tmp_path / "again/lexicon.txt").read_bytes() == (kaldi_corpus / "lexicon.txt").read_bytes()
    assert (tmp_path / "导出 1/test/spk2utt").read_text() == "spk2 spk2-1 spk2-2\n"


def test_export_of_one_split_and_its_warning(kaldi_corpus, tmp_path: Path, caplog) -> None:
    (kaldi_corpus / "test/utt2spk").write_text("spk2-1 anna\nspk2-2 anna\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data")
    kaldi_dir.main(["--export", str(tmp_path / "data"), "--split", "test", "--corpus-dir", str(tmp_path / "x")])
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["test"]
    assert "2 utterance ids, 'spk2-1' the first, do not begin with their speaker's" in caplog.text
    with pytest.raises(FileNotFoundError, match="stage 1"):
        kaldi_dir.main(["--export", str(tmp_path / "no"), "--corpus-dir", str(tmp_path / "x")])
    with pytest.raises(ValueError, match="--export needs --corpus-dir"):
        kaldi_dir.main(["--export", str(tmp_path / "data")])


def test_transcripts_need_not_be_there(kaldi_corpus, tmp_path: Path) -> None:
    (kaldi_corpus / "train/text").unlink()
    (kaldi_corpus / "dev/text").write_text("spk1-1 有 文字\nspk1-2 \nspk9-9 of nobody\n", encoding="utf-8")
    options = ["--corpus-dir", str(kaldi_corpus), "--out-dir", str(tmp_path / "data")]
    with pytest.raises(FileNotFoundError, match="lacks train/text"):
        kaldi_dir.main(options)
    kaldi_dir.main([*options, "--without-text"])
    assert not (tmp_path / "data/bad_data.tsv").exists()
    said = [[s.text for s in load(tmp_path / "data", split)[1]] for split in ("train", "dev", "test")]
    assert said == [[None, None], ["有 文字", None], ["打开 客厅 的 灯 1", "打开 客厅 的 灯 2"]]
    (kaldi_corpus / "test/utt2spk").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks test/utt2spk; .* each with wav.scp, utt2spk "):
        kaldi_dir.main([*options, "--without-text"])


def test_enrolments_and_trials_are_taken_over(kaldi_corpus, tmp_path: Path) -> None:
    (kaldi_corpus / "test/trials").write_text("spk2-1 spk2-2 target\n")
    (kaldi_corpus / "dev/enrolments").write_text("one spk1-1 spk1-2\n")
    (kaldi_corpus / "dev/trials").write_text("one spk1-2 target\none spk1-1 target\n")
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data", with_text=False)
    contents = {
        "enrolments_test.txt": "spk2-1 spk2-1\n",
        "trials_test.txt.gz": "spk2-1 spk2-2 target\n",
        "enrolments_dev.txt": "one spk1-1 spk1-2\n",
        "trials_dev.txt.gz": "one spk1-2 target\none spk1-1 target\n",
    }
    for name, text in contents.items():
        read = gzip.open if name.endswith(".gz") else open
        with read(tmp_path / "data" / name, "rt") as file:
            assert file.read() == text
    kaldi_dir.main(["--export", str(tmp_path / "data"), "--split", "dev", "--corpus-dir", str(tmp_path / "out")])
    for name in ("enrolments", "trials"):
        assert (tmp_path / "out/dev" / name).read_text() == (kaldi_corpus / "dev" / name).read_text()
    (tmp_path / "data/trials_dev.txt.gz").unlink()
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "data", with_text=False)
    assert (tmp_path / "data/trials_dev.txt.gz").exists(), "what is gone is made again"
    (kaldi_corpus / "dev/trials").unlink()
    (kaldi_corpus / "dev/enrolments").write_text("one spk1-1 spk2-1\n")
    with pytest.raises(BadDataError, match="1 problem in"):
        kaldi_dir.prepare(kaldi_corpus, tmp_path / "other", with_text=False)
    assert "'spk2-1', which one needs, is no utterance of dev" in (tmp_path / "other/bad_data.tsv").read_text()
    kaldi_dir.prepare(kaldi_corpus, tmp_path / "other", "skip", with_text=False)
    assert (tmp_path / "other/enrolments_dev.txt").read_text() == "one spk1-1\n"
    assert not (tmp_path / "other/trials_dev.txt.gz").exists()


def test_real_speech(shared_data: Path, tmp_path: Path) -> None:
    kaldi_dir.prepare(shared_data / "speechocean762", tmp_path / "data", num_jobs=2)
    assert not (tmp_path / "data/bad_data.tsv").exists()
    speakers = []
    for split, utterances, count in (("train", 1200, 60), ("dev", 160, 8), ("test", 240, 12)):
        recordings, supervisions = load(tmp_path / "data", split)
        assert len(recordings) == len(supervisions) == utterances
        speakers.append({s.speaker for s in supervisions})
        assert len(speakers[-1]) == count
        assert all(s.duration == r.duration for s, r in zip(supervisions, recordings, strict=True))
    assert not (speakers[0] & speakers[1] or speakers[0] & speakers[2] or speakers[1] & speakers[2])
    assert recordings[0].load_audio().shape == (1, recordings[0].num_samples)
