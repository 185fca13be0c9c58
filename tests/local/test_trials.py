"""Lists of trials: read in any order of words, checked against the utterances, and cut down with them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from local.problems import Problem, Reason
from local.trials import Verification, list_problems, read_trials, restrict, select, write

SPEAKERS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}


def a_test(tmp_path: Path, lines: str, enrolments: dict[str, list[str]], **ways: dict[str, list[str]]) -> Verification:
    (tmp_path / "trials").write_text(lines)
    return Verification("dev", tmp_path / "trials", {"": enrolments, **ways}, read_trials(tmp_path / "trials", []))


def test_reading_any_order_of_words(tmp_path: Path) -> None:
    path, problems = tmp_path / "list", []
    path.write_bytes("\ufeff1 x/a1.wav y/a2.wav\r\n0 x/a1.wav y/b1.wav\n\n2 x y\n1 x\n".encode())
    trials = read_trials(path, problems, (1, 2, 0), {"1": True, "0": False}, lambda word: word[2:4], lambda w: w[2:4])
    assert (trials.models, trials.utterances, len(trials)) == (["a1"], ["a2", "b1"], 2)
    assert (trials.rows.tolist(), trials.columns.tolist(), trials.targets.tolist()) == ([0, 0], [0, 1], [True, False])
    assert [(p.reason, p.file) for p in problems] == [(Reason.MALFORMED, f"{path}:{n}") for n in (4, 5)]
    assert "one of 1, 0 as words [2, 3, 1]" in problems[0].detail
    path.write_text("no trial here at all\n")
    with pytest.raises(ValueError, match="has no trial"):
        read_trials(path, [])


def test_two_spellings_of_an_id_are_one(tmp_path: Path) -> None:
    path, problems = tmp_path / "list", []
    path.write_text("m a.wav target\nm a target\nm b nontarget\n")
    trials = read_trials(path, problems, utterance_id=lambda word: word.removesuffix(".wav"))
    assert trials.utterances == ["a", "b"] and len(trials) == 2
    assert problems == [Problem(Reason.DUPLICATE, str(path), "1 trials occur again; each is scored once", warning=True)]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    lines = "m a2 target\nm b1 target\nm z9 nontarget\nn a2 nontarget\no a1 nontarget\n"
    test = a_test(tmp_path, lines, {"m": ["a1"], "n": ["b1", "q1"], "p": ["a1", "c1"]})
    found = list(list_problems(test, SPEAKERS))
    assert [(p.reason, p.warning) for p in found] == [
        (Reason.UNKNOWN, False),
        (Reason.UNKNOWN, False),
        (Reason.MALFORMED, False),
        (Reason.UNKNOWN, False),
        (Reason.MALFORMED, True),
    ]
    assert not any(problem.utterance for problem in found), "an id that another split has stays usable there"
    assert "'q1', which n needs, is no utterance of dev" in found[0].detail
    assert "'p' is enrolled with utterances of a and c" in found[2].detail
    assert "model 'o' of the trials has no enrolment" in found[3].detail
    assert found[4].detail.startswith("1 of 5 trials are labelled otherwise"), "m is a, b1 is b"


def test_restricting_agrees_with_going_through_the_list(tmp_path: Path, caplog) -> None:
    rng = np.random.default_rng(0)
    speakers = {f"u{n}": f"s{n % 7}" for n in range(40)}
    enrolments = {f"m{s}": [f"u{n}" for n in range(s, 21, 7)] for s in range(7)}
    whole = {f"m{s}": [f"u{s + 28}"] for s in range(7)}
    pairs = [(f"m{m}", f"u{u}") for m in range(7) for u in range(40) if rng.random() < 0.5]
    lines = "".join(f"{m} {u} {'target' if 's' + m[1:] == speakers[u] else 'nontarget'}\n" for m, u in pairs)
    test = a_test(tmp_path, lines, enrolments, concat=whole)
    assert not list(list_problems(test, speakers))
    lost = {"u3", "u10", "u17", "u29", "u1", "u39"}  # all of m3; the one file of m1; one of m1's; a test
    left = {u: s for u, s in speakers.items() if u not in lost}
    numbers = write(restrict(test, left), tmp_path / "data")
    kept = [line for line in lines.splitlines() if line.split()[0] not in ("m1", "m3") and line.split()[1] not in lost]
    assert gzip.decompress((tmp_path / "data/trials_dev.txt.gz").read_bytes()).decode().splitlines() == kept
    assert numbers == {"models": 5, "trials": len(kept), "targets": sum(" target" in line for line in kept)}
    assert f"{len(pairs) - len(kept)} of {len(pairs)} trials are left out" in caplog.text
    models = {f"m{s}" for s in range(7)} - {"m1", "m3"}
    for name in ("enrolments_dev.txt", "enrolments_concat_dev.txt"):
        assert {line.split()[0] for line in (tmp_path / "data" / name).open()} == models
    with pytest.raises(ValueError, match="nothing is left to test"):
        restrict(test, {u: s for u, s in speakers.items() if int(u[1:]) > 21})
    same = restrict(test, speakers)
    assert len(same.trials) == len(pairs) and len(select(same.trials, np.array([0, 2]))) == 2
