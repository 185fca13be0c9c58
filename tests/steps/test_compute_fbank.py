"""Features of a split: every utterance once at every speed, however the work was shared or interrupted."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from steps import combine_cuts, compute_fbank
from steps.data import archives
from steps.data.config import FeatureConfig
from steps.data.features import DeployedFbank, make_extractor
from utils import provenance

RATE = 16000
LENGTHS = [16001, 30077, 9999, 24003, 12345]  # samples
IDS = [f"说话人-{number}" for number in range(len(LENGTHS))]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch) -> Path:
    """A split of five utterances and a configuration, in a folder with a space, which is the working directory."""
    folder = tmp_path / "my corpus"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(3)
    for name, length in zip(IDS, LENGTHS, strict=True):
        soundfile.write(f"{name}.wav", rng.normal(0, 0.1, length).astype(np.float32), RATE, subtype="PCM_16")
    recordings = RecordingSet.from_recordings(Recording.from_file(f"{name}.wav") for name in IDS)
    recordings.to_file("recordings.jsonl.gz")
    SupervisionSet.from_segments(
        SupervisionSegment(r.id, r.id, 0.0, r.duration, text="你好", speaker="甲") for r in recordings
    ).to_file("supervisions.jsonl.gz")
    Path("conf.yaml").write_text("task: asr\n", encoding="utf-8")
    return folder


def compute(job: int = 1, num_jobs: int = 1, *more: str, out: str = "fbank") -> None:
    manifests = ["--recordings", "recordings.jsonl.gz", "--supervisions", "supervisions.jsonl.gz"]
    where = ["--config", "conf.yaml", "--out", f"{out}/{job}"]
    compute_fbank.main([*manifests, *where, "--job", str(job), "--num-jobs", str(num_jobs), *more])


def combine(parts: str = "fbank", out: str = "cuts.jsonl.gz") -> CutSet:
    combine_cuts.main(["--parts", parts, "--manifest", "supervisions.jsonl.gz", "--out", out])
    return CutSet.from_file(out).to_eager()


def test_every_utterance_at_every_speed(corpus):
    compute(1, 1, "--speed-perturb", "true")
    cuts = combine()
    assert [cut.id for cut in cuts] == [name + suffix for name in IDS for suffix in ("_sp0.9", "", "_sp1.1")]
    for cut, (length, factor) in zip(cuts, [(n, f) for n in LENGTHS for f in (0.9, 1.0, 1.1)], strict=True):
        assert cut.duration == pytest.approx(length / RATE / factor, abs=1.1 / RATE)
        features = cut.load_features()
        assert features.shape == (cut.num_frames, 80)
        assert cut.num_frames == pytest.approx(cut.duration * 100, abs=0.51)
        assert cut.supervisions[0].id == cut.id and cut.supervisions[0].text == "你好"
        assert cut.supervisions[0].speaker == "甲"
        expected = make_extractor(FeatureConfig()).extract(cut.load_audio(), RATE)
        assert np.abs(features - expected).max() <= 2**-5  # lilcom keeps multiples of 2^-5


def test_jobs_change_nothing(corpus):
    compute(out="one")
    for job in (3, 1, 2):
        compute(job, 3, out="three")
    one, three = combine("one", "cuts_one.jsonl.gz"), combine("three", "cuts_three.jsonl.gz")
    assert [cut.id for cut in one] == [cut.id for cut in three] == IDS
    for a, b in zip(one, three, strict=True):
        assert np.array_equal(a.load_features(), b.load_features())
    sizes = [json.loads(Path(f"three/{job}/part.json").read_text())["utterances"] for job in (1, 2, 3)]
    assert sum(sizes) == 5 and min(sizes) >= 1


def test_combined_bytes_depend_on_content_alone(corpus):
    compute()
    combine(out="first.jsonl.gz")
    combine(out="second.jsonl.gz")
    assert Path("first.jsonl.gz").read_bytes() == Path("second.jsonl.gz").read_bytes()


def test_an_interrupted_job_leaves_nothing_and_completes(corpus, monkeypatch):
    calls = []

    def interrupted(self, samples, sampling_rate):
        calls.append(len(samples))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(self, samples, sampling_rate)

    extract = DeployedFbank.extract
    monkeypatch.setattr(DeployedFbank, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute()
    assert list(Path("fbank").iterdir()) == []
    monkeypatch.setattr(DeployedFbank, "extract", extract)
    Path("fbank/.tmp-99-1").mkdir()  # as a killed process leaves it
    Path("fbank/.tmp-99-1/feats.lca").write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match=r"fbank/1 is missing or not complete; steps\.compute_fbank makes it"):
        combine()
    compute()
    assert len(combine()) == 5


def test_work_that_is_done_is_not_done_again(corpus, monkeypatch):
    compute()
    before = Path("fbank/1/feats.lca").stat().st_mtime_ns
    monkeypatch.setattr(archives, "write_part", None)
    compute()
    assert Path("fbank/1/feats.lca").stat().st_mtime_ns == before
    with pytest.raises(provenance.StaleOutputError, match=r"speed_perturb: \[1\.0\] then, \[0\.9, 1\.0, 1\.1\] now"):
        compute(1, 1, "--speed-perturb", "true")


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 2), (2, 3)])
def test_another_number_of_jobs_takes_what_is_there(corpus, monkeypatch, first, then):
    for job in range(1, first + 1):
        compute(job, first)
    monkeypatch.setattr(archives, "write_part", None)
    for job in range(1, then + 1):
        compute(job, then)
    assert [cut.id for cut in combine()] == IDS


def test_damage_is_found_before_the_parts_are_joined(corpus):
    compute(1, 2)
    with pytest.raises(FileNotFoundError, match="fbank/2 is missing"):
        combine()
    compute(2, 2)
    archive = Path("fbank/2/feats.lca")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{archive} has {len(whole) - 1} bytes, not {len(whole)}"):
        combine()
    archive.write_bytes(whole)
    cuts = Path("fbank/2/cuts.jsonl")
    lines = cuts.read_text(encoding="utf-8").splitlines(keepends=True)
    cuts.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{cuts} has {len(lines) - 1} new cuts, not {len(lines)}"):
        combine()
    cuts.write_text("".join(lines), encoding="utf-8")
    SupervisionSet.from_file("supervisions.jsonl.gz").subset(first=4).to_file("supervisions.jsonl.gz")
    with pytest.raises(ValueError, match="features of 5 utterances, the manifest has 4"):
        combine()
    assert not Path("cuts.jsonl.gz").exists()


def test_parts_of_different_runs_are_not_joined(corpus):
    compute(1, 2)
    compute(2, 3)
    with pytest.raises(ValueError, match="fbank/2 and fbank/1 are of different runs"):
        combine()


def test_unreadable_audio_is_named(corpus):
    wave = Path(f"{IDS[1]}.wav")
    wave.write_bytes(wave.read_bytes()[:20000])
    with pytest.raises(ValueError, match=rf"utterance {IDS[1]} \(.*{wave}\)"):
        compute()
    assert not Path("fbank/1").exists()


def test_another_rate_is_named(corpus):
    with pytest.raises(ValueError, match=rf"utterance {IDS[0]} .*16000 Hz, but features.sampling_rate is 8000"):
        compute(1, 1, "features.sampling_rate=8000")


def test_noise_recordings_need_no_supervisions(corpus):
    compute_fbank.main(["--recordings", "recordings.jsonl.gz", "--config", "conf.yaml", "--out", "noise/1"])
    combine_cuts.main(["--parts", "noise", "--manifest", "recordings.jsonl.gz", "--out", "cuts_noise.jsonl.gz"])
    assert [cut.num_frames for cut in CutSet.from_file("cuts_noise.jsonl.gz")] == [100, 188, 62, 150, 77]
