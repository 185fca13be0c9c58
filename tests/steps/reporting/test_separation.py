"""What the page says and plays of separated and enhanced mixtures."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steps.reporting import separation
from steps.reporting.run import read_run

RATE = 8000
# SI-SDR of the mixture and of the output by mixture: improvements 1, 5, 9 and 20 dB, and one without any.
IMPROVED = {"m-1": (0.0, 1.0), "m-5": (1.0, 6.0), "m-9": (-1.0, 8.0), "m-20": (0.0, 20.0), "m-none": (0.0, None)}


def line(name: str, before: float, after: float | None, talkers: int = 2) -> dict:
    source = {"estimate": {"si_sdr": after}, "mixture": {"si_sdr": before}, "undefined": {}}
    return {
        "id": name, "speakers": ["甲", "<乙>"][:talkers], "overlap": 0.8, "level_difference": 2.5, "seconds": 0.5,
        "snr": None if talkers > 1 else 7.5, "permutation": [1, 0][-talkers:] if talkers > 1 else [0],
        "sources": [source] * talkers,
    }  # fmt: skip


def system(name: str, talkers: int) -> dict:
    def metrics(value: float) -> dict:
        improved = {"value": value, "low": value - 1, "high": value + 1, "unit": "dB"}
        return {"si_sdr": {"value": value - 2, "unit": "dB"}, "si_sdr_mixture": {"value": -2.0}, "si_sdri": improved}

    sides = {"overlap": ("20 %", "80 %"), "level": ("below 0 dB", "0 dB and above")} if talkers > 1 else {}
    tables = {
        side: [{"name": n, "mixtures": 7, "metrics": metrics(8.0 + i)} for i, n in enumerate(names)]
        for side, names in sides.items()
    }
    return {"name": name, "talkers": talkers, "metrics": metrics(8.5), "buckets": tables}


def sound(file: Path, value: float, samples: int) -> None:
    """A constant, by which it is known again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = {"subtype": "FLOAT"} if file.suffix == ".wav" else {"subtype": "PCM_24"}
    soundfile.write(file, np.full(samples, value), RATE, **kind)


def write_run(tmp_path: Path, task: str, name: str, talkers: int, samples: int = 4000) -> Path:
    """egs/x/y/{data/mini,exp/small} of a run with one set. A mixture is 0.5, references 0.1 ..., outputs 0.3 ..."""
    exp, data = tmp_path / "exp" / "small", tmp_path / "data" / "mini"
    results = {"task": task, "split": "test", "systems": [system(name, talkers)]}
    for job in (1, 2):
        folder = exp / f"measures_{name}_test" / f"{job}"
        folder.mkdir(parents=True)
        rows = [line(key, *values, talkers) for key, values in list(IMPROVED.items())[job - 1 :: 2]]
        (folder / "measures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (exp / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (exp / "config.yaml").write_text(f"task: {task}\ndata:\n  dir: data/mini\n", encoding="utf-8")
    for key in IMPROVED:
        sound(data / f"mixtures_{name}_test" / "mix" / f"{key}.flac", 0.5, samples)
        for number in range(1, talkers + 1):
            sound(data / f"mixtures_{name}_test" / f"s{number}" / f"{key}.flac", 0.1 * number, samples)
            output = f"{key}_{number}.wav" if talkers > 1 else f"{key}.wav"
            sound(exp / f"estimates_{name}_test" / f"{1 + number % 2}" / output, 0.2 + 0.1 * number, samples)
    return exp


def played(content: str) -> list[float]:
    """The first sample of each player, in order."""
    uris = re.findall(r'src="data:audio/flac;base64,([^"]+)"', content)
    return [round(float(soundfile.read(io.BytesIO(base64.b64decode(uri)))[0][0]), 2) for uri in uris]


def never(ids: list[str]) -> dict:
    raise AssertionError("cuts of utterances were asked for")


@pytest.fixture
def separated(tmp_path) -> Path:
    return write_run(tmp_path, "separation", "full", talkers=2)


def test_worst_and_median_are_chosen():
    rows = [line(name, *values) for name, values in IMPROVED.items()]
    assert [(rank, row["id"]) for rank, row in separation.ranked(rows)] == [
        ("worst", "m-1"), ("median", "m-9"), ("2. worst", "m-5"),
    ]  # fmt: skip
    assert [(rank, row["id"]) for rank, row in separation.ranked(rows[:1])] == [("worst", "m-1")]
    assert separation.ranked([line("m", 0.0, None)]) == []


def test_the_improvement_is_the_mean_of_the_sources_that_have_one():
    row = line("m", 1.0, 6.0)
    row["sources"] = [*row["sources"], {"estimate": {"si_sdr": None}, "mixture": {"si_sdr": None}}]
    row["sources"][0] = {"estimate": {"si_sdr": 12.0}, "mixture": {"si_sdr": 3.0}}
    assert separation.improvement(row) == pytest.approx(7.0)


def test_sections_of_separation(separated):
    overlap, level, heard = separation.sections(read_run(separated), never)
    assert (overlap.short, level.short, heard.title) == ("Overlap", "Level", "Mixtures of full")
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", overlap.content)
    assert cells == [
        "overlap", "mixtures", "SI-SDR dB before", "SI-SDR dB", "SI-SDRi dB", "95 % interval",
        "20 %", "7", "-2.00", "6.00", "8.00", "7.00..9.00",
        "80 %", "7", "-2.00", "7.00", "9.00", "8.00..10.00",
    ]  # fmt: skip
    assert "0 dB and above" in level.content
    assert re.findall("<h3>([^<]*)</h3>", heard.content) == ["m-1", "m-9", "m-5"]
    assert "worst · SI-SDR improved by 1.0 dB · 0.5 s · overlap 80 % · levels +2.5 dB apart<" in heard.content


def test_outputs_stand_before_their_references(separated):
    """The permutation [1, 0] puts the second output to the first talker."""
    heard = separation.sections(read_run(separated), never)[-1].content
    assert played(heard) == [0.5, 0.4, 0.1, 0.3, 0.2] * 3
    assert "output 1, 甲: SI-SDR -1.0 → 8.0 dB" in heard
    assert "reference 2, &lt;乙&gt;" in heard and "<乙>" not in heard


def test_sections_of_enhancement(tmp_path):
    (heard,) = separation.sections(read_run(write_run(tmp_path, "enhancement", "noisy", talkers=1)), never)
    assert played(heard.content) == [0.5, 0.3, 0.1] * 3
    assert "SNR 7.5 dB" in heard.content and "overlap" not in heard.content
    labels = re.findall('<p class="note">(noisy|enhanced|clean)', heard.content)
    assert labels == ["noisy", "enhanced", "clean"] * 3


def test_references_in_rooms_are_the_early_ones(tmp_path):
    exp = write_run(tmp_path, "enhancement", "noisy", talkers=1)
    for name in IMPROVED:
        sound(tmp_path / "data/mini/mixtures_noisy_test/target1" / f"{name}.flac", 0.7, 4000)
    (heard,) = separation.sections(read_run(exp), never)
    assert played(heard.content) == [0.5, 0.3, 0.7] * 3


def test_recognition_errors_are_said():
    source = line("m", 0.0, 1.0)["sources"][0]
    source["errors"] = {"tokens": 12, "mixture": 9, "estimate": 4, "clean": 1}
    assert separation._figures(source) == ": SI-SDR 0.0 → 1.0 dB; errors 9 → 4 (1 clean) of 12"


def test_only_the_beginning_is_heard(tmp_path):
    seconds = separation.MOST_SECONDS + 3
    exp = write_run(tmp_path, "enhancement", "noisy", talkers=1, samples=round(seconds * RATE))
    (heard,) = separation.sections(read_run(exp), never)
    uri = re.search(r'src="data:audio/flac;base64,([^"]+)"', heard.content)[1]
    assert len(soundfile.read(io.BytesIO(base64.b64decode(uri)))[0]) == separation.MOST_SECONDS * RATE


def test_the_page_holds_no_more_than_it_may(separated, monkeypatch):
    whole = separation.sections(read_run(separated), never)[-1].content
    monkeypatch.setattr(separation, "MOST_SOUND", len(whole) // 2)
    half = separation.sections(read_run(separated), never)[-1].content
    assert len(half) < len(whole) * 0.55
    assert played(half) == [0.5, 0.4, 0.1, 0.3, 0.2]
    assert half.count("the page holds as much as it may") == 2


def test_what_is_missing_is_said(separated):
    (separated / "estimates_full_test" / "1" / "m-9_2.wav").unlink()
    (separated.parent.parent / "data/mini/mixtures_full_test/s2/m-5.flac").unlink()
    heard = separation.sections(read_run(separated), never)[-1].content
    assert played(heard) == [0.5, 0.4, 0.1, 0.3, 0.2]
    assert "estimates_full_test has no m-9_2.wav: stage 6 writes it" in heard
    assert "s2/m-5.flac is not there" in heard
    for file in separated.glob("measures_full_test/*/*"):
        file.unlink()
    assert "stage 7 (score) makes it" in separation.sections(read_run(separated), never)[-1].content


def test_without_results_there_is_nothing_to_say(tmp_path):
    (tmp_path / "exp").mkdir()
    assert separation.sections(read_run(tmp_path / "exp"), never) == []
