"""Enrolments: never the utterance in the mixture, the same choice everywhere, and errors that say what is missing."""

import json
import logging

import numpy as np
import pytest
import torch

from steps.backend.embeddings import Embeddings
from steps.data.enrolment import Enrolments
from steps.data.mixture import Source

SPEAKERS = {f"{name}{number}": name for name in "ab" for number in range(6)} | {"c0": "c"}


def vector(id: str) -> np.ndarray:
    return np.array([ord(id[0]) - 96, int(id[1:]) + 1, 2.0], dtype=np.float32)


def write(folder, ids, vectors=None, num_jobs=2):
    """As steps.extract_embeddings leaves it: a folder a job, utterances.npz and stats.json in each."""
    for job in range(1, num_jobs + 1):
        own = list(ids)[job - 1 :: num_jobs]
        part = folder / str(job)
        part.mkdir(parents=True)
        rows = np.stack([(vectors or {}).get(id, vector(id)) for id in own]) if own else np.zeros((0, 3), np.float32)
        Embeddings(own, rows, [id[0] for id in own], np.ones(len(own))).save(part / "utterances.npz")
        (part / "stats.json").write_text(json.dumps({"job": job, "num_jobs": num_jobs}))
    return folder


def source(utterance: str, **changed) -> Source:
    return Source(utterance, utterance[0], start=0, samples=9, **{"offset": 0, "gain": 1.0, **changed})


@pytest.fixture
def enrolments(tmp_path):
    return Enrolments(write(tmp_path / "embeddings_train", SPEAKERS), SPEAKERS)


def test_embeddings_are_those_of_the_jobs_and_of_length_one(enrolments):
    assert enrolments.dim == 3
    for id in SPEAKERS:
        found = enrolments.embedding(id)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, vector(id) / np.linalg.norm(vector(id)), rtol=1e-6)
    enrolments.embedding("a0").zero_()  # a batch may be written to
    assert enrolments.embedding("a0").norm() == pytest.approx(1.0)


def test_the_choice_is_another_utterance_of_the_same_speaker(enrolments):
    chosen = [enrolments.choose(0, f"full-train-{index:06d}", source("a3")) for index in range(200)]
    assert set(chosen) == {"a0", "a1", "a2", "a4", "a5"}
    assert min(chosen.count(id) for id in set(chosen)) > 20  # 40 on average


def test_the_choice_depends_on_seed_mixture_and_speaker_alone(enrolments, tmp_path):
    names = [f"full-train-{index:06d}" for index in range(50)]
    chosen = [enrolments.choose(3, name, source("b1")) for name in names]
    turned = dict(reversed(SPEAKERS.items()))
    turned.pop("a2")  # somebody else's
    other = Enrolments(write(tmp_path / "other", turned, num_jobs=5), turned)
    assert [other.choose(3, name, source("b1", offset=5, gain=0.1)) for name in reversed(names)] == chosen[::-1]
    assert [enrolments.choose(4, name, source("b1")) for name in names] != chosen


def test_what_the_plan_says_goes(enrolments):
    assert enrolments.choose(0, "m", source("a3", enrolment="a5")) == "a5"
    with pytest.raises(ValueError, match="mixture m: utterance b1 of speaker a is of b; the plan and the supervisions"):
        enrolments.choose(0, "m", source("a3", enrolment="b1"))


def test_one_utterance_is_its_own_enrolment_and_counted(tmp_path, caplog):
    folder = write(tmp_path / "e", SPEAKERS)
    with caplog.at_level(logging.WARNING):
        enrolments = Enrolments(folder, SPEAKERS)
    assert enrolments.alone == ("c",)
    assert enrolments.choose(0, "m", source("c0")) == "c0"
    assert "1 of 3 speakers have one utterance (the first is c)" in caplog.text
    caplog.clear()
    two = {id: speaker for id, speaker in SPEAKERS.items() if speaker != "c"}
    assert Enrolments(folder, two).alone == ()  # embeddings of others are left aside
    assert caplog.text == ""


def test_what_is_missing_is_named(enrolments, tmp_path):
    folder = write(tmp_path / "e", ["a0", "b0"])
    with pytest.raises(ValueError, match="2 of 4 utterances have no embedding, the first is a1"):
        Enrolments(folder, {"a0": "a", "a1": "a", "b0": "b", "b1": "b"})
    (folder / "2" / "stats.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not have the embeddings of all jobs.*steps\.extract_embeddings"):
        Enrolments(folder, {"a0": "a"})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Enrolments(tmp_path / "nowhere", {"a0": "a"})
    with pytest.raises(ValueError, match="of no use without supervisions"):
        Enrolments(folder, {})
    with pytest.raises(ValueError, match="mixture m: utterance a9 of speaker a is not among the supervisions"):
        enrolments.choose(0, "m", source("a9"))
    with pytest.raises(ValueError, match="utterance a9 is not among the supervisions"):
        enrolments.embedding("a9")


@pytest.mark.parametrize(("value", "length"), [(0.0, "0"), (np.inf, "inf"), (np.nan, "nan")])
def test_an_embedding_without_a_direction_is_refused(tmp_path, value, length):
    folder = write(tmp_path / "e", ["a0", "a1"], {"a1": np.full(3, value, np.float32)})
    with pytest.raises(ValueError, match=f"the embedding of a1 has length {length}; look at its audio"):
        Enrolments(folder, {"a0": "a", "a1": "a"})
