"""Posteriors in a file."""

import numpy as np
import pytest
import torch

from steps.decoding.posteriors import Batch, PosteriorFile, PosteriorWriter, Utterance, keeping


def make_batch(names: str, num_frames: int) -> Batch:
    utterances = [Utterance(name, f"speaker {name}", f"文本 {name}", float(num_frames)) for name in names]
    log_probs = torch.randn(len(names), num_frames, 3)
    lengths = torch.arange(num_frames, num_frames - len(names), -1)
    return Batch(utterances, log_probs, lengths)


def test_what_is_written_comes_back(tmp_path) -> None:
    first, second = make_batch("abc", 9), make_batch("de", 4)
    path = tmp_path / "dir with space" / "posteriors.npz"
    with keeping(path, {"parameters": 12, "config": {"seed": 3}}) as keep:
        keep(first)
        keep(second)
    stored = PosteriorFile(path)
    assert stored.facts == {"parameters": 12, "config": {"seed": 3}}
    assert [utterance.id for utterance in stored.utterances] == list("abcde")
    (whole,) = stored.batches(1, 1, batch_seconds=1000.0)
    assert whole.utterances == [*first.utterances, *second.utterances]
    assert whole.lengths.tolist() == [9, 8, 7, 4, 3]
    for n, length in enumerate(whole.lengths[:3]):
        np.testing.assert_array_equal(whole.log_probs[n, :length], first.log_probs[n, :length].numpy())
    assert not whole.log_probs[4, 3:].any()


def test_jobs_share_everything_once(tmp_path) -> None:
    with PosteriorWriter(tmp_path / "p.npz", {}) as writer:
        writer.add(make_batch("abcdefg", 10))
    stored = PosteriorFile(tmp_path / "p.npz")
    shares = [[u.id for batch in stored.batches(job, 3, 25.0) for u in batch.utterances] for job in (1, 2, 3)]
    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


def test_nothing_is_kept_without_a_file(tmp_path) -> None:
    with keeping(None, {}) as keep:
        keep(make_batch("a", 2))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_file_leaves_nothing(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), keeping(tmp_path / "p.npz", {}) as keep:
        keep(make_batch("a", 2))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a zip file", "npz"])
def test_other_files_are_refused(tmp_path, content) -> None:
    path = tmp_path / "p.npz"
    if content == "npz":
        np.savez(path, a=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.npz: not a file that steps\.decode_asr --save-posteriors wrote"):
        PosteriorFile(path)
