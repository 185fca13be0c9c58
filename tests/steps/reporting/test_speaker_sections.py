"""The page of a speaker recogniser: its tables and curves come from results.json."""

import json

from steps import report

SYSTEM = {
    "metrics": {"eer": {"value": 4.0, "low": 2.0, "high": 6.0, "unit": "%"}},
    "dev": {"metrics": {"eer": {"value": 3.0}}},
}
CURVES = {
    name: {"det": [[0.0, -1.0, -9.0], [-1.5, 0.0, 0.2]], "roc": [[0.0, 1.0], [0.3, 1.0]]} for name in ("cosine", "plda")
}
RESULTS = {
    "task": "speaker",
    "corpus": "mini",
    "split": "test",
    "chosen": "plda",
    "systems": [{"name": name, **SYSTEM} for name in ("cosine", "plda", "plda_qmf")],
    "thresholds": [
        {"target_far": 0.1, "threshold": 0.5, "frr": 0.01, "errors": 95, "nontargets": 952, "supported": True},
        {"target_far": 0.001, "threshold": None, "frr": None, "errors": 0, "nontargets": 952, "supported": False},
    ],
    "open_set": [{"gallery": 5, "rank1": 95.5, "dir": {"0.01": None, "0.1": 82.8}}],
    "durations": {"seconds": [1.0, None], "eer": [[30.0, 20.0], [10.0, 4.0]]},
    "genres": {"enrolment": ["speech", None], "test": ["song", None], "eer": [[None, 7.25], [9.0, 4.0]]},
}


def page(folder, **changes):
    (folder / "score").mkdir(parents=True)
    (folder / "score/curves.json").write_text(json.dumps(CURVES))
    (folder / "results.json").write_text(json.dumps({**RESULTS, **changes}))
    report.main(["--exp", str(folder)])
    return (folder / "report.html").read_text()


def test_everything_measured_is_shown(tmp_path):
    text = page(tmp_path / "run")
    for shown in (
        "DET",
        "ROC",
        "Of plda, which was best on dev",
        "95 of 952",
        "too few",
        "82.8",
        "30.00",
        "7.25",
        "song",
    ):
        assert shown in text, shown
    assert text.count("<svg") >= 2


def test_what_a_corpus_has_not_is_left_out(tmp_path):
    text = page(tmp_path / "run", genres=None, open_set=[])
    assert "Genres" not in text
    assert "Identification" not in text
    assert "Seconds of speech" in text


def test_points_outside_the_axes_are_not_drawn(tmp_path):
    text = page(tmp_path / "run")
    det = text[text.index("<b>DET</b>") :]  # whose third point lies beyond 0.1 %
    svg = det[det.index("<svg") : det.index("</svg>")]
    path = svg[svg.index('<path d="M') :].split('"')[1]
    assert path.count("L") == 1
