"""The verbs that measure, plan, render and audit mixtures."""

import json

import pytest
import soundfile

from steps import audit_mixtures, measure_levels, render_mixtures, simulate_mixtures
from steps.data.levels import read_levels
from steps.data.mixture import read_plan, rendered_file, write_plan
from utils import provenance

CONF = """
task: separation
mixtures:
  noise_prob: 1.0
  sets: {full: {train: 6, dev: 3, test: 2}, partial: {train: 6, dev: 3, test: 2}}
"""


@pytest.fixture
def corpus(talkers, tmp_path):
    """A copy of the corpus's manifests, and a configuration."""
    for file in talkers.glob("*.jsonl.gz"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in tmp_path.glob("plan_*"):
        file.unlink()
    (tmp_path / "conf.yaml").write_text(CONF)
    return tmp_path


def simulate(corpus, *more):
    simulate_mixtures.main(["--config", str(corpus / "conf.yaml"), "--data", str(corpus), *more])


def test_from_levels_to_an_audit(corpus, capsys):
    simulate(corpus)
    said = capsys.readouterr().out
    render_mixtures.main(["--config", str(corpus / "conf.yaml"), "--data", str(corpus)])
    for kind in ("full", "partial"):
        for split, size in (("dev", 3), ("test", 2)):
            plan = read_plan(corpus / f"plan_{kind}_{split}.jsonl.gz")
            assert len(plan.mixtures) == size
            assert f"{size} mixtures, {plan.seconds / 3600:.2f} hours, plan {plan.digest()}" in said
            for mixture in plan.mixtures:
                for part in ("mix", "s1", "s2", "noise"):
                    info = soundfile.info(rendered_file(corpus / f"mixtures_{kind}_{split}", part, mixture.id))
                    assert (info.frames, info.samplerate) == (mixture.samples, mixture.sampling_rate)
        assert not (corpus / f"mixtures_{kind}_train").exists()
    audit_mixtures.main(["--data", str(corpus), "--sets", "full", "partial", "--out", str(corpus / "audit.json")])
    report = json.loads((corpus / "audit.json").read_text())
    assert report["splits"]["test"]["speakers"] <= 3
    assert report["plans"]["full_train"]["mixtures"] == 6
    assert "no speaker, utterance, noise recording or room is in two splits" in capsys.readouterr().out


def test_a_leak_is_found(corpus):
    simulate(corpus)
    dev = read_plan(corpus / "plan_full_dev.jsonl.gz").mixtures
    write_plan([*read_plan(corpus / "plan_full_test.jsonl.gz").mixtures, dev[0]], corpus / "plan_full_test.jsonl.gz")
    with pytest.raises(ValueError, match=r"not disjoint: speakers of dev and test: dev\d.*utterances.*noise") as error:
        audit_mixtures.main(["--data", str(corpus), "--sets", "full", "--out", str(corpus / "audit.json")])
    assert dev[0].sources[0].utterance in str(error.value)
    assert not (corpus / "audit.json").exists()


def test_other_mixtures_are_not_put_in_the_place_of_these(corpus):
    simulate(corpus)
    with pytest.raises(provenance.StaleOutputError, match=r"mixtures: .* then"):
        simulate(corpus, "mixtures.peak=0.8")


def test_no_noise_for_those_who_want_some(corpus):
    (corpus / "recordings_noise.jsonl.gz").unlink()
    with pytest.raises(FileNotFoundError, match="--noise-dir"):
        simulate(corpus)


def test_levels(talkers, tmp_path):
    levels = read_levels([talkers / "levels_test.jsonl.gz"])
    assert len(levels) == 9
    for level in levels:
        wave, rate = soundfile.read(talkers / f"{level.id}.wav")
        assert (level.samples, level.sampling_rate) == (len(wave), rate)
        assert abs(wave).max() <= level.peak <= abs(wave).max() + 1e-5
        assert 10 ** (level.power / 10) == pytest.approx((wave**2).mean(), rel=2e-3)
    noises = read_levels([talkers / "levels_noise.jsonl.gz"])
    assert [noise.id for noise in noises] == ["noise-0@0", "noise-0@1", "noise-1@0", "noise-2@0", "noise-3@0"]
    assert [noise.samples for noise in noises[:2]] == [160_000, 64_000]
    with pytest.raises(FileNotFoundError, match="earlier stage"):
        measure_levels.main(["--data", str(tmp_path), "--split", "train"])


def test_one_sine_at_a_known_loudness(tmp_path):
    """ITU-R BS.1770-4: a 997 Hz sine of full scale in one channel measures -3.01 LUFS."""
    import numpy as np
    from lhotse import Recording

    from steps.data.levels import measure

    time_axis = np.arange(48_000 * 2) / 48_000
    soundfile.write(tmp_path / "a.wav", np.sin(2 * np.pi * 997 * time_axis), 48_000, subtype="FLOAT")
    level = measure(Recording.from_file(tmp_path / "a.wav").to_cut())
    assert level.loudness == pytest.approx(-3.01, abs=0.05)
    assert level.power == pytest.approx(-3.01, abs=0.01)
