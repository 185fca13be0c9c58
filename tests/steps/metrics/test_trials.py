"""Trials: text and matrices agree, crosses count right, and nothing can be shifted unnoticed."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from steps.metrics import trials as t

SPEAKERS = {f"{speaker}-{n}": speaker for speaker in ("A", "B", "C") for n in range(4)} | {"D-0": "D"}


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def as_lines(trials: t.Trials) -> set[tuple[str, str, int]]:
    return {
        (model, test, int(trials.labels[row, column]))
        for row, model in enumerate(trials.models)
        for column, test in enumerate(trials.tests)
        if trials.labels[row, column] >= 0
    }


def test_lines_become_a_matrix(tmp_path: Path) -> None:
    file = write(tmp_path / "trials", "m2 u1 target", "m1 u1 nontarget", "m1\tu2  target", "m2 u3 nontarget")
    trials = t.Trials.read(file)
    assert (trials.models, trials.tests) == (["m2", "m1"], ["u1", "u2", "u3"])
    assert trials.labels.dtype == np.int8
    assert trials.labels.tolist() == [[1, -1, 0], [0, 1, -1]]


@pytest.mark.parametrize("name", ["trials", "trials.txt.gz"])
def test_round_trip_as_text_and_as_npz(tmp_path: Path, name: str) -> None:
    trials = t.Trials(
        ["甲-enroll", "乙"], ["u 1".replace(" ", "_"), "u2", "u3"], np.array([[1, -1, 0], [0, 1, -1]], np.int8)
    )
    trials.write(tmp_path / name)
    assert as_lines(t.Trials.read(tmp_path / name)) == as_lines(trials)
    first = (tmp_path / name).read_bytes()
    trials.write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert name.endswith(".gz") == (first[:2] == b"\x1f\x8b")
    trials.save(tmp_path / "trials.npz")
    loaded = t.Trials.load(tmp_path / "trials.npz")
    assert (loaded.models, loaded.tests) == (trials.models, trials.tests)
    assert loaded.labels.dtype == np.int8 and (loaded.labels == trials.labels).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["m u target", "m u2"], r"trials:2: expected 'model utterance target\|nontarget', got m u2"),
        (["m u Target"], "trials:1: expected .* got m u Target"),
        (["m u target", "", "m v target"], "trials:2: .* got an empty line"),
        (["m u target", "n u nontarget", "m v target", "n u target"], "trials:4: trial n u occurs twice"),
        (["m u target", "m w target"], "trials:2: utterance w is not among the 2 that exist"),
        (["x u target"], "trials:1: model x is not among the 2 that exist"),
        ([], "trials holds no trial"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t.Trials.read(write(tmp_path / "trials", *lines), models=["m", "n"], tests=["u", "v"])


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"m u target\n" * 1000)[:-9])
    (tmp_path / "plain.gz").write_bytes(b"m u target\n")
    (tmp_path / "latin").write_bytes("ä".encode("latin-1"))
    for name in ("cut.gz", "plain.gz", "latin"):
        with pytest.raises(ValueError, match=f"{name}: not readable"):
            t.Trials.read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        t.Trials.read(tmp_path / "none")
    np.savez(tmp_path / "other.npz", models=np.array(["m"]))
    for name in ("other.npz", "plain.gz"):
        with pytest.raises(ValueError, match=f"{name} does not hold trials"):
            t.Trials.load(tmp_path / name)


def test_matrix_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t, "CELLS", 3)
    with pytest.raises(ValueError, match="2 models by 2 utterances do not fit"):
        t.Trials.read(write(tmp_path / "trials", "a b target", "c d target"))


def test_names_and_labels_must_fit() -> None:
    with pytest.raises(ValueError, match=r"labels \(2, 1\) for 1 models and 2"):
        t.Trials(["m"], ["u", "v"], np.zeros((2, 1), np.int8))
    with pytest.raises(ValueError, match="test utterance u occurs twice"):
        t.Trials(["m"], ["u", "u"], np.zeros((1, 2), np.int8))


def test_cross_counts_and_leaves_enrolment_out() -> None:
    enrolments = {"A": ["A-0"], "A2": ["A-1", "A-2"], "B": ["B-3"]}
    trials = t.Trials.cross(enrolments, SPEAKERS)
    assert trials.models == ["A", "A2", "B"]
    assert trials.tests == ["A-3", "B-0", "B-1", "B-2", "C-0", "C-1", "C-2", "C-3", "D-0"]
    assert trials.labels.tolist() == [[1] + [0] * 8, [1] + [0] * 8, [0, 1, 1, 1] + [0] * 5]
    assert t.model_speakers(enrolments, SPEAKERS) == {"A": "A", "A2": "A", "B": "B"}


@pytest.mark.parametrize(
    ("enrolments", "message"),
    [
        ({"A": ["A-9"]}, "model A: enrolment utterance A-9 has no speaker"),
        ({"A": ["A-0", "B-0"]}, "model A: expected utterances of one speaker, got A, B"),
        ({"A": []}, "model A: expected utterances of one speaker, got none"),
        ({}, "no trials from 0 models and 13 utterances"),
        ({"S": list(SPEAKERS)[:4], "T": list(SPEAKERS)[4:8], "U": list(SPEAKERS)[8:12], "V": ["D-0"]}, "and 0 utt"),
    ],
)
def test_cross_refuses(enrolments: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t.Trials.cross(enrolments, SPEAKERS)


def test_enrolments_are_drawn_by_speaker_and_seed(caplog: pytest.LogCaptureFixture) -> None:
    speakers = {f"S{s:02}-{n}": f"S{s:02}" for s in range(30) for n in range(10)}
    drawn = t.make_enrolments(speakers, 3, seed=1)
    assert list(drawn) == sorted(set(speakers.values()))
    assert all(len(set(own)) == 3 and {speakers[u] for u in own} == {s} for s, own in drawn.items())
    backwards = dict(reversed(speakers.items()))
    assert t.make_enrolments(backwards, 3, seed=1) == drawn
    fewer = {utterance: speaker for utterance, speaker in speakers.items() if speaker != "S07"}
    assert t.make_enrolments(fewer, 3, seed=1) == {s: own for s, own in drawn.items() if s != "S07"}
    assert t.make_enrolments(speakers, 3, seed=2) != drawn
    assert not caplog.records
    assert len(t.Trials.cross(drawn, speakers).tests) == 30 * 7


def test_a_speaker_with_too_few_utterances_is_an_unknown_one(caplog: pytest.LogCaptureFixture) -> None:
    drawn = t.make_enrolments(SPEAKERS, 1, seed=0)
    assert sorted(drawn) == ["A", "B", "C"]
    assert "1 speakers with at most 1 utterances get no model: ['D']" in caplog.text
    assert (t.Trials.cross(drawn, SPEAKERS).labels[:, -1] == 0).all()
    with pytest.raises(ValueError, match="none of 4 speakers has the 5 utterances"):
        t.make_enrolments(SPEAKERS, 4, seed=0)
    with pytest.raises(ValueError, match="at least one enrolment utterance, got 0"):
        t.make_enrolments(SPEAKERS, 0, seed=0)


def test_enrolments_round_trip_and_wrong_lines(tmp_path: Path) -> None:
    enrolments = {"m1": ["u1", "u2"], "m2": ["u3"]}
    t.write_enrolments(tmp_path / "enrolments", enrolments)
    assert (tmp_path / "enrolments").read_text() == "m1 u1 u2\nm2 u3\n"
    assert t.read_enrolments(tmp_path / "enrolments") == enrolments
    for lines, message in (
        (["m1 u1", "m2"], ":2: expected 'model utterance"),
        (["m1 u1", ""], ":2: expected 'model utterance"),
        (["m1 u1", "m1 u2"], ":2: model m1 occurs twice"),
        (["m1 u1 u1"], ":1: model m1 has an utterance twice"),
        ([], "holds no model"),
    ):
        with pytest.raises(ValueError, match=message):
            t.read_enrolments(write(tmp_path / "wrong", *lines))


def test_scores_follow_their_names() -> None:
    trials = t.Trials(["m1", "m2"], ["u1", "u2", "u3"], np.zeros((2, 3), np.int8))
    scores = np.arange(12.0).reshape(3, 4)
    aligned = trials.align(scores, ["m2", "x", "m1"], ["u3", "u1", "y", "u2"])
    assert aligned.tolist() == [[9.0, 11.0, 8.0], [1.0, 3.0, 0.0]]
    same = np.zeros((2, 3))
    assert trials.align(same, trials.models, trials.tests) is same
    assert trials.align(scores, ["m1", "m2", "x"], ["u1", "u2", "u3", "y"]).tolist() == [[0, 1, 2], [4, 5, 6]]


def test_a_missing_utterance_is_named_and_never_shifts_a_score() -> None:
    trials = t.Trials(["m1", "m2"], ["u1", "u2", "u3"], np.zeros((2, 3), np.int8))
    with pytest.raises(ValueError, match="of 3 wanted, 1 are not there: test utterance u2"):
        trials.align(np.zeros((2, 2)), ["m1", "m2"], ["u1", "u3"])
    with pytest.raises(ValueError, match="not there: model m2"):
        trials.align(np.zeros((1, 3)), ["m1"], trials.tests)
    with pytest.raises(ValueError, match="test utterance u1 occurs twice"):
        trials.align(np.zeros((2, 4)), trials.models, ["u1", *trials.tests])
    with pytest.raises(ValueError, match=r"scores \(3, 2\) for 2 models"):
        trials.align(np.zeros((3, 2)), trials.models, trials.tests)
    vectors = np.arange(3)[:, None]
    assert vectors[t.positions(["a", "b", "c"], ["c", "a", "c"])].ravel().tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match=r"7 are not there: utterance 0, 1, 2, 3, 4 \.\.\."):
        t.positions(["a"], [str(n) for n in range(7)])
