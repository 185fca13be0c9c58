"""CN-Celeb's layout: who trains, who is held out, and who is compared with whom."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet

from local import cnceleb
from local.problems import BadDataError
from local.speaker_choices import Choices, hold_out

TWO = Choices(dev_speakers=2)
TESTS = ["id00800-vlog-02-001", "id00800-live_broadcast-01-002", "id00801-speech-01-001", "id00802-vlog-01-001"]


@pytest.fixture
def corpus(tmp_path: Path, audio, bursts) -> Path:
    """Five speakers in the first part, two in the second; two models, an unknown speaker; lists say .wav."""
    root = tmp_path / "cn celeb"
    first, second = root / "CN-Celeb_flac", root / "CN-Celeb2_flac"
    for folder, speakers, leaving in ((first, range(5), "id00099"), (second, range(10000, 10002), "id10099")):
        names = [f"id{number:05d}" for number in speakers]
        for number, speaker in enumerate([*names, leaving]):
            for stem in ("interview-01-001", "live_broadcast-02-001"):
                audio(folder / "data" / speaker / f"{stem}.flac", bursts(0.3 + 0.1 * number))
        listed = first / "dev/dev.lst" if folder == first else second / "spk.lst"
        listed.parent.mkdir(exist_ok=True)
        listed.write_text("\n".join(names) + "\n")
    lists = first / "eval/lists"
    lists.mkdir(parents=True)
    enrolled = {"id00800": ["speech-01-001", "speech-01-002"], "id00801": ["speech-03-001", "vlog-01-001"]}
    for speaker, stems in enrolled.items():
        for number, stem in enumerate(stems):
            audio(first / "data" / speaker / f"{stem}.flac", bursts(0.5, seed=number))
        audio(first / f"eval/enroll/{speaker}-enroll.flac", bursts(1.0))
    for test in TESTS:
        audio(first / f"eval/test/{test}.flac")
    trials = [f"{s}-enroll test/{t}.wav {int(t.startswith(s))}" for s in enrolled for t in TESTS]
    write(lists / "trials.lst", trials)
    write(lists / "enroll.lst", [f"{s}-enroll enroll/{s}-enroll.wav" for s in enrolled])
    write(lists / "enroll.map", [f"{s}-enroll {' '.join(f'{s}/{u}.wav' for u in us)}" for s, us in enrolled.items()])
    return root


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def supervisions(out: Path, split: str) -> dict:
    return {s.id: s for s in SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz")}


def read_trials(out: Path) -> list[str]:
    return gzip.decompress((out / "trials_test.txt.gz").read_bytes()).decode().splitlines()


def test_splits_and_lists(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    cnceleb.main(["--corpus-dir", str(corpus), "--out-dir", str(out), "--dev-speakers", "2", "--num-jobs", "2"])
    train, dev, test = (supervisions(out, split) for split in ("train", "dev", "test"))
    speakers = [{s.speaker for s in part.values()} for part in (train, dev)]
    listed = {f"id{n:05d}" for n in (0, 1, 2, 3, 4, 10000, 10001)}
    assert speakers[0] | speakers[1] == listed, "folders that no list names are not trained on"
    assert speakers[1] == hold_out(listed, 2, 0) and not speakers[0] & speakers[1]
    some = next(s for s in train.values() if "live" in s.id)
    assert some.custom == {"genre": "live_broadcast", "session": "live_broadcast-02"}
    assert some.id == f"{some.speaker}-live_broadcast-02-001" and some.text is None and some.language == "Chinese"
    constituents = [f"id00800-enroll-speech-01-00{n}" for n in (1, 2)]
    constituents += ["id00801-enroll-speech-03-001", "id00801-enroll-vlog-01-001"]
    assert set(test) == {*TESTS, *constituents, "id00800-enroll", "id00801-enroll"}
    assert {s.speaker for s in test.values()} == {"id00800", "id00801", "id00802"}
    assert [test[f"id0080{n}-enroll"].custom["genre"] for n in (0, 1)] == ["speech", "mixed"]
    assert (out / "enrolments_test.txt").read_text().splitlines() == [
        f"id00800-enroll {' '.join(constituents[:2])}",
        f"id00801-enroll {' '.join(constituents[2:])}",
    ]
    assert (out / "enrolments_concat_test.txt").read_text().splitlines() == [
        "id00800-enroll id00800-enroll",
        "id00801-enroll id00801-enroll",
    ]
    lines = read_trials(out)
    assert len(lines) == 8 and lines[0] == "id00800-enroll id00800-vlog-02-001 target"
    assert lines[3] == "id00800-enroll id00802-vlog-01-001 nontarget"
    assert json.loads((out / "corpus.json").read_text())["splits"]["test"]["test"] == {
        "models": 2,
        "trials": 8,
        "targets": 3,
    }
    loaded = {r.id: r for r in RecordingSet.from_file(out / "recordings_test.jsonl.gz")}["id00800-enroll"].load_audio()
    assert loaded.shape == (1, 16000)


def test_wav_release_gives_the_same_ids(corpus: Path, tmp_path: Path) -> None:
    cnceleb.prepare(corpus, tmp_path / "flac", choices=TWO)
    for file in list(corpus.rglob("*.flac")):
        samples, rate = soundfile.read(file)
        soundfile.write(file.with_suffix(".wav"), samples, rate)
        file.unlink()
    for name in ("CN-Celeb", "CN-Celeb2"):
        (corpus / f"{name}_flac").rename(corpus / f"{name}_wav")
    cnceleb.prepare(corpus, tmp_path / "wav", choices=TWO)
    for name in ("supervisions_train.jsonl.gz", "supervisions_test.jsonl.gz", "trials_test.txt.gz"):
        assert (tmp_path / "flac" / name).read_bytes() == (tmp_path / "wav" / name).read_bytes()


def test_first_part_alone(corpus: Path, tmp_path: Path, caplog) -> None:
    cnceleb.prepare(corpus, tmp_path / "a", choices=TWO, with_second=False)
    assert "CN-Celeb2" not in caplog.text
    (corpus / "CN-Celeb2_flac").rename(tmp_path / "elsewhere")
    cnceleb.prepare(corpus, tmp_path / "b", choices=TWO)
    assert "has no CN-Celeb2_flac: 5 speakers to train on, instead of 2,793" in caplog.text
    assert "2 models and 8 trials, published 196 and 3484292" in caplog.text
    assert len({s.speaker for s in supervisions(tmp_path / "b", "train").values()}) == 3
    with pytest.raises(ValueError, match="--dev-speakers is 5, expected 1 to 4"):
        cnceleb.prepare(corpus, tmp_path / "c", choices=Choices(dev_speakers=5))


def test_held_out_speakers_hardly_change() -> None:
    speakers = [f"id{n:05d}" for n in range(500)]
    chosen = hold_out(speakers, 60, 0)
    assert chosen == hold_out(reversed(speakers), 60, 0) and len(chosen) == 60
    assert sorted(chosen)[:3] == ["id00002", "id00003", "id00005"], "the same on every machine"
    assert len(chosen & hold_out(speakers[:490], 60, 0)) >= 50
    assert len(chosen & hold_out(speakers, 60, 1)) < 30


def test_short_utterances_are_left_out_of_training_only(corpus: Path, tmp_path: Path, audio, bursts) -> None:
    audio(corpus / "CN-Celeb_flac/eval/test/id00802-vlog-01-001.flac", bursts(0.2))
    cnceleb.prepare(corpus, tmp_path / "all", choices=TWO)
    cnceleb.prepare(corpus, tmp_path / "long", choices=Choices(dev_speakers=2, min_seconds=0.45))
    kept, every = (supervisions(tmp_path / name, "train") for name in ("long", "all"))
    assert set(kept) == {id for id, s in every.items() if s.duration >= 0.45} != set(every)
    for name in ("dev", "test"):
        file = f"supervisions_{name}.jsonl.gz"
        assert (tmp_path / "all" / file).read_bytes() == (tmp_path / "long" / file).read_bytes()
    assert not (tmp_path / "long/bad_data.tsv").exists()
    with pytest.raises(ValueError, match=r"option min seconds: 0.0 then, 0.45 now"):
        cnceleb.prepare(corpus, tmp_path / "all", choices=Choices(dev_speakers=2, min_seconds=0.45))


def test_bad_audio_stops_or_takes_its_trials_along(corpus: Path, tmp_path: Path, caplog) -> None:
    first = corpus / "CN-Celeb_flac"
    (first / "eval/test/id00800-vlog-02-001.flac").unlink()
    (first / "data/id00801/vlog-01-001.flac").write_bytes(b"fLaC")
    whole = first / "data/id00801/speech-03-001.flac"
    with pytest.raises(BadDataError, match="2 problems"):
        cnceleb.prepare(corpus, tmp_path / "data", choices=TWO)
    cnceleb.prepare(corpus, tmp_path / "data", "skip", choices=TWO)
    assert "2 of 8 trials are left out" in caplog.text
    assert len(read_trials(tmp_path / "data")) == 6
    assert "id00801-enroll id00801-enroll-speech-03-001\n" in (tmp_path / "data/enrolments_test.txt").read_text()
    whole.unlink()
    cnceleb.prepare(corpus, tmp_path / "other", "skip", choices=TWO)
    for name in ("enrolments_test.txt", "enrolments_concat_test.txt"):
        assert [line.split()[0] for line in (tmp_path / "other" / name).open()] == ["id00800-enroll"]
    assert {line.split()[0] for line in read_trials(tmp_path / "other")} == {"id00800-enroll"}


def test_lists_that_do_not_fit(corpus: Path, tmp_path: Path) -> None:
    lists = corpus / "CN-Celeb_flac/eval/lists"
    good = (lists / "trials.lst").read_text()
    (lists / "trials.lst").write_text(good + "id00803-enroll test/id00800-vlog-02-001.wav 0\nid00800-enroll x\n")
    write(corpus / "CN-Celeb_flac/dev/dev.lst", [f"id0000{n}" for n in range(6)])
    with pytest.raises(BadDataError, match="3 problems"):
        cnceleb.prepare(corpus, tmp_path / "data", choices=TWO)
    listed = (tmp_path / "data/bad_data.tsv").read_text()
    assert "model 'id00803-enroll' of the trials has no enrolment" in listed
    assert "trials.lst:10\tmalformed line" in listed and "id00005 has no audio" in listed
    first = good.splitlines()[0]
    (lists / "trials.lst").write_text(good + first[:-1] + "0\n")
    with pytest.raises(ValueError, match="id00800-enroll id00800-vlog-02-001 is a target and a non-target"):
        cnceleb.scan(corpus, TWO)
    (lists / "trials.lst").write_text(good + first + "\n" + "id00801-enroll test/id00802-vlog-01-001.wav 1\n")
    with pytest.raises(ValueError, match="is a target and a non-target"):
        cnceleb.scan(corpus, TWO)
    write(lists / "trials.lst", [line[:-1] + "1" for line in [*good.splitlines(), first]])
    write(corpus / "CN-Celeb_flac/dev/dev.lst", [f"id0000{n}" for n in range(5)])
    cnceleb.prepare(corpus, tmp_path / "data", choices=TWO)
    listed = (tmp_path / "data/bad_data.tsv").read_text()
    assert "1 trials occur again" in listed and "5 of 8 trials are labelled otherwise" in listed
    assert len(read_trials(tmp_path / "data")) == 8
    with pytest.raises(FileNotFoundError, match=r"none of CN-Celeb_flac, .*trials.lst"):
        cnceleb.scan(tmp_path, TWO)


def test_evaluation_speakers_in_training_are_reported(corpus: Path, tmp_path: Path) -> None:
    with (corpus / "CN-Celeb_flac/dev/dev.lst").open("a") as file:
        file.write("id00800\n")
    with pytest.raises(BadDataError, match="2 problems"):
        cnceleb.prepare(corpus, tmp_path / "data", choices=TWO)
    assert "'id00800' of " in (tmp_path / "data/bad_data.tsv").read_text()


def test_headers_alone(corpus: Path, tmp_path: Path) -> None:
    cut = corpus / "CN-Celeb_flac/data/id00000/interview-01-001.flac"
    cut.write_bytes(cut.read_bytes()[:-400])
    silent = corpus / "CN-Celeb_flac/eval/test/id00802-vlog-01-001.flac"
    soundfile.write(silent, np.full(16000, 1e-4), 16000)  # steady and faint: nobody's speech, yet a published trial
    cnceleb.prepare(corpus, tmp_path / "quick", choices=Choices(dev_speakers=2, check_audio="headers"))
    with pytest.raises(BadDataError, match="1 problem in"):
        cnceleb.prepare(corpus, tmp_path / "all", choices=TWO)
    assert "truncated audio" in (tmp_path / "all/bad_data.tsv").read_text()
    cnceleb.prepare(corpus, tmp_path / "all", "skip", choices=TWO)
    assert supervisions(tmp_path / "quick", "test").keys() == supervisions(tmp_path / "all", "test").keys()


def test_what_is_there_is_not_downloaded_and_what_fails_names_the_way_round(corpus: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cnceleb.download, "get", lambda *_: pytest.fail("downloaded again"))
    cnceleb.main(["--download", "--corpus-dir", str(corpus)])

    def fail(archives, folder):
        raise ConnectionError(f"no route to {archives[-1].urls[-1]}")

    monkeypatch.setattr(cnceleb.download, "get", fail)
    with pytest.raises(OSError, match=r"cn-celeb2_v2.tar.gzac.* cn-celeb_v2.tar.gz .*--corpus-dir"):
        cnceleb.main(["--download", "--corpus-dir", str(tmp_path / "new")])
    with pytest.raises(OSError, match=r"82/cn-celeb_v2.tar.gz"):
        cnceleb.main(["--download", "--without-cnceleb2", "--corpus-dir", str(tmp_path / "new")])
