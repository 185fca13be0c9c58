"""The page of a run is whole, needs nothing else, and shows what the run has left."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.cut import MonoCut

from steps import report
from steps.metrics.config import ScoreConfig
from steps.metrics.edit_distance import score
from steps.reporting.markup import VOID

REFS = {"u-1": "打开客厅的灯", "u-2": "明天去北京", "<script>alert(1)</script>": "三点二十分"}
HYPS = {"u-1": "打开客厅的灯", "u-2": "明天北金", "<script>alert(1)</script>": "三点二"}
LENGTHS = {"u-1": 16000, "u-2": 20001, "<script>alert(1)</script>": 12345}  # samples


class Page(HTMLParser):
    """Balance of the elements, and everything that is referred to."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.references += [values[name] for name in ("src", "href", "srcset", "poster", "data") if values.get(name)]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            assert values.get("alt"), "a picture without words for those who cannot see it"
        if tag not in VOID and tag != "link":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text.append(data)


@pytest.fixture
def cuts(tmp_path: Path) -> Path:
    """Cuts of the utterances, with noise for speech; the one with a hostile name among them."""
    made, rng = [], np.random.default_rng(5)
    for number, (name, length) in enumerate(LENGTHS.items()):
        file = tmp_path / f"音 {number}.wav"
        soundfile.write(file, rng.normal(0, 0.1, length), 16000)
        recording = Recording.from_file(file, recording_id=f"r{number}")
        supervision = SupervisionSegment(name, recording.id, 0.0, recording.duration, text=REFS[name], speaker="甲")
        made.append(MonoCut(name, 0.0, recording.duration, 0, supervisions=[supervision], recording=recording))
    CutSet.from_cuts(made).to_file(tmp_path / "cuts_test.jsonl.gz")
    return tmp_path / "cuts_test.jsonl.gz"


def system(name: str, value: float) -> dict:
    errors = {"insertions": 0, "deletions": 3, "substitutions": 1, "tokens": 16, "total": 4}
    cer = {"value": value, "low": value - 1, "high": value + 1, "unit": "%"}
    dev = {"metrics": {"cer": cer}, "errors": errors}
    return {"name": name, "metrics": {"cer": cer, "rtf": {"value": 0.01}}, "errors": errors, "dev": dev, "partial": 0}


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """A run with everything that a page shows."""
    folder = tmp_path / "exp" / "my <run>"
    scores = folder / "score" / "test" / "graph_1best"
    scores.mkdir(parents=True)
    (folder / ".stages").mkdir()
    found = score(REFS, HYPS, {name: "甲" for name in REFS}, ScoreConfig())
    lines = [json.dumps(utterance.to_dict(), ensure_ascii=False) + "\n" for utterance in found]
    (scores / "per_utterance.jsonl").write_text("".join(lines), encoding="utf-8")
    results = {
        "task": "asr", "corpus": "mini & more", "split": "test", "commit": "abc123", "parameters": 1_312_345,
        "peak_memory": {"host": 2**30}, "training_seconds": 171.0, "device": "cpu <x>",
        "systems": [system("ctc_greedy", 30.0), system("graph_1best", 25.0)],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    points = [{"kind": "train", "step": n, "epoch": 0, "lr": 1e-3, "loss": 100.0 / n} for n in range(1, 50)]
    points.append({"kind": "valid", "step": 49, "epoch": 0, "loss": 2.5, "token_error_rate": 0.31})
    text = "".join(json.dumps(point) + "\n" for point in points) + '{"kind": "train", "st'  # being written
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    (folder / "config.yaml").write_text("task: asr\nlang:\n  units: <char>\n", encoding="utf-8")
    for number, name, seconds in ((3, "lang", 2.0), (4, "train", 171.0)):
        record = {
            "stage": number,
            "title": name,
            "state": "done",
            "seconds": seconds,
            "end": "2026-01-02T03:04:05+00:00",
        }
        (folder / ".stages" / f"{number:02}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def make(*arguments: object) -> tuple[str, Page]:
    report.main([str(argument) for argument in arguments])
    text = (Path(arguments[1]) / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_is_balanced_and_needs_nothing_else(exp, cuts):
    text, page = make("--exp", exp, "--test-cuts", cuts)
    inner = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert sorted(inner) == sorted(page.ids) and len(inner) > 6
    outer = [reference for reference in page.references if not reference.startswith("#")]
    assert outer and all(reference.startswith("data:") for reference in outer)
    assert not re.search(r"@import|url\((?!data:)|https?://|\bfetch\(|XMLHttpRequest", text)
    assert len(text) < 5e6


def test_every_part_is_there(exp, cuts):
    _, page = make("--exp", exp, "--test-cuts", cuts)
    said = " ".join(page.text)
    for expected in (
        "my <run>", "mini & more", "25.00 %", "95 % interval 24.00 – 26.00", "1.31 M", "2 min 51 s", "cpu <x>",
        "abc123", "host 1.00 GiB", "Token error rate", "Learning rate", "49 steps, 1 epoch.", "4 train", "units",
        ": <char>",
    ):  # fmt: skip
        assert expected in said, expected


def test_sound_has_the_length_of_the_utterance(exp, cuts):
    text, page = make("--exp", exp, "--test-cuts", cuts)
    shown = re.findall(r"<h3>([^<]*)</h3><p class=\"note\">speaker", text)
    assert shown == ["&lt;script&gt;alert(1)&lt;/script&gt;", "u-2"]
    sounds = [reference for reference in page.references if reference.startswith("data:audio/flac;base64,")]
    lengths = [len(soundfile.read(io.BytesIO(base64.b64decode(s.partition(",")[2])))[0]) for s in sounds]
    assert lengths == [LENGTHS["<script>alert(1)</script>"], LENGTHS["u-2"]]
    assert sum(reference.startswith("data:image/png;base64,") for reference in page.references) == 2


def test_names_cannot_become_markup(exp, cuts):
    text, page = make("--exp", exp, "--test-cuts", cuts)
    assert text.count("<script>") == 1 and "<script>alert" not in text
    assert "<script>alert(1)</script>" in page.text


def test_without_cuts_there_is_no_sound(exp):
    text, _ = make("--exp", exp)
    assert "<audio" not in text and text.count("No sound: ") == 2


def test_audio_that_is_gone_is_said_to_be(exp, cuts, caplog):
    (cuts.parent / "音 1.wav").unlink()
    text, _ = make("--exp", exp, "--test-cuts", cuts)
    assert text.count("<audio") == 1 and "u-2: no sound in the report" in caplog.text


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ([], ["results.json yet: stage 7 (score)", "metrics.jsonl yet: stage 4 (train)", "config.yaml yet: stage 4"]),
        (["config.yaml", "metrics.jsonl"], ["results.json yet: stage 7 (score)"]),
        (["config.yaml", "metrics.jsonl", "results.json"], ["per_utterance.jsonl yet: stage 7 (score)"]),
    ],
)
def test_a_run_that_is_not_finished_says_what_is_missing(exp, tmp_path, files, missing):
    part = tmp_path / "part"
    part.mkdir()
    for name in files:
        (part / name).write_bytes((exp / name).read_bytes())
    text, _ = make("--exp", part)
    assert text.count('class="missing"') >= len(missing)
    for expected in missing:
        assert expected in text


def test_another_task_has_the_sections_that_all_have(exp):
    metrics = {"si_sdri": {"value": 5.0, "unit": "dB"}}
    results = {"task": "separation", "systems": [{"name": "dprnn", "metrics": metrics}]}
    (exp / "results.json").write_text(json.dumps(results), encoding="utf-8")
    text, page = make("--exp", exp)
    assert "Speech separation" in text and "si sdri, dB" in text
    assert page.ids == ["summary", "results", "mixtures-of-dprnn", "training", "stages", "configuration"]


def test_mistakes_are_named(exp, tmp_path):
    with pytest.raises(FileNotFoundError, match="exp/<name>, which stage 4"):
        report.main(["--exp", str(tmp_path / "none")])
    with pytest.raises(FileNotFoundError, match=r"none.jsonl.gz does not exist; stage 2 \(features\) makes it"):
        report.main(["--exp", str(exp), "--test-cuts", str(tmp_path / "none.jsonl.gz")])
    (exp / "metrics.jsonl").write_text('{"a": 1\n{"b": 2}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1 is not JSON"):
        report.main(["--exp", str(exp)])
    (exp / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"results\.json is not JSON.*run its stage again"):
        report.main(["--exp", str(exp)])
