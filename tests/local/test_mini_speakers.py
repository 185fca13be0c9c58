"""The mini corpus for speaker recognition: its layout, its voices, its bytes, and its preparation."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet

from local import mini_speakers
from local.mini_speaker_plan import GENRES, MiniSpeakersConfig, Spoken, is_second, make_plan, speaker_voices
from local.mini_speaker_sound import background, music, render
from local.mini_voices import VARIANTS
from local.speaker_choices import Choices

SMALL = ["speakers=5", "dev_speakers=2", "genres=2", "sessions=1", "utterances=1", "enrolled=2", "unknown=1"]
SMALL += ["constituents=2", "tests=2", "noises=1", "noise_seconds=1", "rirs=2"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini") / "mini 说话人"
    mini_speakers.main(["--download", "--corpus-dir", str(folder), "--num-jobs", "2", *SMALL])
    return folder


def small() -> MiniSpeakersConfig:
    return mini_speakers.config.load(MiniSpeakersConfig, None, SMALL)


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_layout_is_that_of_cnceleb(corpus: Path) -> None:
    first, second = corpus / "CN-Celeb_flac", corpus / "CN-Celeb2_flac"
    assert (first / "dev/dev.lst").read_text().split() == ["id00000", "id00001", "id00002", "id00004"]
    assert (second / "spk.lst").read_text().split() == ["id10000"]
    for root, count in ((first / "data", 4 * 2 + 2 * 2), (second / "data", 2), (first / "eval/enroll", 2)):
        assert len(list(root.rglob("*.flac"))) == count
    tests = (first / "eval/lists/test.lst").read_text().split()
    assert len(tests) == 6 and all((first / "eval" / test).with_suffix(".flac").is_file() for test in tests)
    trials = [line.split() for line in (first / "eval/lists/trials.lst").open()]
    assert [(m, t) for m, t, _ in trials] == [(f"id0080{n}-enroll", test) for n in (0, 1) for test in tests]
    assert all((label == "1") == test.startswith(f"test/{model[:7]}") for model, test, label in trials)
    for line in (first / "eval/lists/enroll.map").open():
        model, *names = line.split()
        parts = [soundfile.read((first / "data" / name).with_suffix(".flac"), dtype="int16")[0] for name in names]
        whole, rate = soundfile.read(first / f"eval/enroll/{model}.flac", dtype="int16")
        np.testing.assert_array_equal(whole, np.concatenate(parts))
        assert rate == 16000 and len(parts) == 2
    assert sorted(p.name for p in (corpus / "rirs").iterdir()) == ["plan.jsonl", "room_000.wav", "room_001.wav"]


def test_one_job_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    mini_speakers.main(["--download", "--corpus-dir", str(tmp_path / "again"), *SMALL])
    assert tree(tmp_path / "again") == tree(corpus)


def test_an_utterance_depends_on_its_line_of_the_plan_alone(corpus: Path) -> None:
    lines = [json.loads(line) for line in (corpus / "plan.jsonl").open(encoding="utf-8")]
    plan = make_plan(small())
    assert [line["path"] for line in lines] == [item.path for item in plan]
    for item in (plan[0], plan[-1]):
        np.testing.assert_array_equal(render(item, 0), soundfile.read(corpus / item.path, dtype="int16")[0])


def test_preparation_holds_out_the_speakers_whose_voices_are_new(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    mini_speakers.main(["--corpus-dir", str(corpus), "--out-dir", str(out)])
    assert not list(out.glob("bad*"))
    speakers = {}
    for split, count in (("train", 6), ("dev", 4), ("test", 4 + 2 + 6)):
        supervisions = list(SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz"))
        assert len(supervisions) == len(RecordingSet.from_file(out / f"recordings_{split}.jsonl.gz")) == count
        assert {s.custom["genre"] for s in supervisions} <= GENRES.keys()
        speakers[split] = {s.speaker for s in supervisions}
    plan = make_plan(small())
    assert speakers["dev"] == {item.speaker for item in plan if item.split == "dev"}
    assert speakers["test"] == {"id00800", "id00801", "id00802"}
    sounds = {k: {r.id for r in RecordingSet.from_file(out / f"recordings_{k}.jsonl.gz")} for k in ("noise", "rir")}
    assert sounds["noise"] == {f"noise-{kind}_000" for kind in ("babble", "clicks", "coloured", "hum")}
    assert sounds["rir"] == {"rir-room_000", "rir-room_001"}
    mini_speakers.prepare(corpus, tmp_path / "other", choices=Choices(dev_speakers=1))
    assert len(list(SupervisionSet.from_file(tmp_path / "other/supervisions_dev.jsonl.gz"))) == 2


def test_default_plan() -> None:
    plan = make_plan(MiniSpeakersConfig())
    assert len({item.path for item in plan}) == len(plan) == 64 * 24 + 20 * 3 + 26 * 10
    variants = {
        split: {item.voice.variant for item in plan if item.split == split} for split in ("train", "dev", "eval")
    }
    assert not (variants["train"] & variants["dev"] or (variants["train"] | variants["dev"]) & variants["eval"])
    known = {name for group in VARIANTS.values() for names in group.values() for name in names.split()}
    assert set.union(*variants.values()) == known
    assert {is_second(item.speaker) for item in plan if item.split == "train"} == {True, False}
    for item in plan:
        assert 15 <= item.voice.pitch <= 85 and 30 <= item.voice.range <= 100 and 110 <= item.voice.rate <= 300
        assert 10 <= len(item.text.replace(" ", "")) <= 20
    tests = [item for item in plan if "/test/" in item.path and item.speaker == "id00800"]
    (home,) = {item.genre for item in plan if item.speaker == "id00800" and "/data/" in item.path}
    assert sum(item.genre == home for item in tests) == 4 and len({item.genre for item in tests}) == 6
    assert all(item.session == f"id00800 {item.genre} {2 if item.genre == home else 1}" for item in tests)


def test_speakers_of_one_variant_differ_in_pitch() -> None:
    for split, count in (("train", 52), ("dev", 12), ("eval", 26)):
        voices = speaker_voices(split, count, 0)
        assert len(set(voices)) == count and voices[:5] == speaker_voices(split, 5, 0)
        for number, voice in enumerate(voices):
            others = [other for other in voices[:number] if other.variant == voice.variant]
            assert all(abs(other.pitch - voice.pitch) >= 10 for other in others)
    assert speaker_voices("eval", 26, 1) != speaker_voices("eval", 26, 0)


def test_backgrounds_have_power_one() -> None:
    for kind in ("room", "street", "hum", "music"):
        sound = background(kind, 30000, np.random.default_rng(0))
        assert sound.shape == (30000,) and np.mean(sound**2) == pytest.approx(1.0)
    tune = music(48000, np.random.default_rng(0))
    spectrum = np.sort(np.abs(np.fft.rfft(tune)) ** 2)[::-1]
    assert spectrum[:500].sum() > 0.9 * spectrum.sum(), "notes, not noise"


def test_genres_are_heard(corpus: Path) -> None:
    item = make_plan(small())[0]
    changed = {"background": "hum", "band": (300.0, 3400.0), "snr": 60.0, "tilt": 0.0, "t60": 0.1}
    line = Spoken(**{**vars(item), **changed})
    spectrum = np.abs(np.fft.rfft(render(line, 0).astype(float))) ** 2
    frequency = np.fft.rfftfreq(2 * (len(spectrum) - 1), 1 / 16000)
    assert spectrum[(frequency < 200) | (frequency > 5000)].sum() < 1e-3 * spectrum.sum()


def test_configurations_and_folders_that_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"option tests: 2 then, 3 now"):
        mini_speakers.main(["--download", "--corpus-dir", str(corpus), *SMALL, "tests=3"])
    for override, message in (
        ("speakers=2", "speakers is 2, expected 13 to 800"),
        ("genres=9", "at most 6: interview"),
    ):
        with pytest.raises(ValueError, match=message):
            mini_speakers.main(["--download", "--corpus-dir", str(tmp_path / "x"), override])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no mini corpus"):
        mini_speakers.main(["--download", "--corpus-dir", str(tmp_path / "full"), *SMALL])
    with pytest.raises(FileNotFoundError, match="--download synthesises"):
        mini_speakers.main(["--corpus-dir", str(tmp_path / "full"), "--out-dir", str(tmp_path / "data")])
