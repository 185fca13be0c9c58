"""Embeddings of enrolments: whose they are, and errors that say what is missing."""

import json
import logging

import numpy as np
import pytest
import torch

from steps.backend.embeddings import Embeddings
from steps.data.enrolment import Enrolments

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


def test_one_utterance_is_its_own_enrolment_and_counted(tmp_path, caplog):
    folder = write(tmp_path / "e", SPEAKERS)
    with caplog.at_level(logging.WARNING):
        enrolments = Enrolments(folder, SPEAKERS)
    assert enrolments.alone == ("c",)
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
    with pytest.raises(ValueError, match="utterance a9 is not among the supervisions"):
        enrolments.embedding("a9")


@pytest.mark.parametrize(("value", "length"), [(0.0, "0"), (np.inf, "inf"), (np.nan, "nan")])
def test_an_embedding_without_a_direction_is_refused(tmp_path, value, length):
    folder = write(tmp_path / "e", ["a0", "a1"], {"a1": np.full(3, value, np.float32)})
    with pytest.raises(ValueError, match=f"the embedding of a1 has length {length}; look at its audio"):
        Enrolments(folder, {"a0": "a", "a1": "a"})
