"""steps.choose_dry on measures whose errors are known."""

import json
import logging

import pytest

from steps import choose_dry
from steps.enhance_speech import read_dry

CONF = "task: enhancement\nscore: {metrics: [si_sdr], resamples: 100}\n"
NOISY, CLEAN, TOKENS = 5, 1, 10  # of each of three mixtures


@pytest.fixture
def exp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text(CONF)
    return tmp_path / "exp"


def measures(exp, dry, errors, count=3, recogniser="asr.pt", told=True):
    """A directory of measures in two jobs of which each mixture has as many errors in the estimate."""
    folder = exp / f"measures_{dry}"
    for job in (1, 2):
        (folder / str(job)).mkdir(parents=True)
        lines = []
        for number in range(job - 1, count, 2):
            heard = {"tokens": TOKENS, "estimate": errors, "mixture": NOISY, "clean": CLEAN}
            source = {"estimate": {"si_sdr": 9.0 - dry}, "mixture": {"si_sdr": 4.0}, "undefined": {}, "errors": heard}
            if recogniser is None:
                del source["errors"]
            known = {"id": f"noisy-dev-{number}", "kind": "noisy", "speakers": [f"S{number}"], "overlap": 0.0}
            row = {**known, "level_difference": None, "snr": 3.0, "seconds": 2.0, "sources": [source]}
            lines.append(json.dumps(row | ({"cp_errors": errors} if recogniser else {})) + "\n")
        (folder / str(job) / "measures.jsonl").write_text("".join(lines))
        stats = {"job": job, "num_jobs": 2, "dry": dry if told else None, "recogniser": recogniser}
        (folder / str(job) / "stats.json").write_text(json.dumps(stats))
    return str(folder)


def choose(exp, *folders):
    choose_dry.main(["--exp", str(exp), *folders])
    return json.loads((exp / "dry.json").read_text())


def test_the_share_with_the_fewest_errors(exp, capsys):
    found = choose(exp, measures(exp, 0.3, 3), measures(exp, 0.0, 4), measures(exp, 0.2, 3))
    assert found["dry"] == read_dry(str(exp / "dry.json")) == 0.2  # of equal ones the one with less noise
    assert [one["dry"] for one in found["enhanced"]] == [0.0, 0.2, 0.3]
    assert found["noisy"]["cer"]["value"] == 50.0
    assert found["clean"]["cer"]["value"] == 10.0
    assert found["chosen"]["cer"]["value"] == 30.0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["3", "mixtures,", "heard", "by", "asr.pt"] in rows
    cells = {row[0] + row[1]: row for row in rows if len(row) > 4}
    assert cells["noisy4.00"][2:4] == ["50.00", "50.00"]
    assert cells["dry0.2"][2:5] == ["*", "8.80", "30.00"]
    assert cells["dry0"][2:4] == ["9.00", "40.00"]
    assert cells["clean-"][2] == "10.00"


def test_it_says_when_denoising_does_harm(exp, caplog):
    with caplog.at_level(logging.WARNING):
        assert choose(exp, measures(exp, 0.0, 8), measures(exp, 0.5, 6))["dry"] == 0.5
    assert "understands the noisy speech itself best (CER 50.00 %, enhanced 60.00 %)" in caplog.text


def test_what_cannot_be_compared_is_refused(exp, tmp_path):
    first = measures(exp, 0.0, 3)
    (tmp_path / "b").mkdir()
    cases = [
        (measures(tmp_path / "b", 0.0, 3), "are both of dry=0"),
        (measures(exp, 0.1, 3, count=4), "are of different mixtures"),
        (measures(exp, 0.2, 3, recogniser="other.pt"), "are of different recognisers"),
        (measures(exp, 0.3, 3, recogniser=None), "has no errors of a recogniser: give steps.measure_speech --asr-ch"),
        (measures(exp, 0.4, 3, told=False), "its stats.json has no 'dry'"),
    ]
    for folder, message in cases:
        with pytest.raises(ValueError, match=message):
            choose(exp, first, folder)
        assert not (exp / "dry.json").exists()
