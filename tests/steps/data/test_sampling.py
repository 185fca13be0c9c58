"""Samplers: every utterance where it belongs, whatever the number of ranks."""

import pytest
from lhotse.testing.dummies import dummy_cut

from steps.data.sampling import ChunkSampler, LengthSampler


def cuts(sizes):
    found = []
    for speaker, size in sizes.items():
        for number in range(size):
            one = dummy_cut(len(found), duration=1.0 + len(found), supervisions=[])
            one.supervisions = [_supervision(f"{speaker}-{number}", speaker)]
            found.append(one.with_id(f"{speaker}-{number}"))
    return found


def _supervision(id, speaker):
    from lhotse import SupervisionSegment

    return SupervisionSegment(id, "r", 0, 1, speaker=speaker)


def ids(batches):
    return [[cut.id for cut in batch] for batch in batches]


def test_an_epoch_has_every_utterance_once_but_for_the_rest():
    sampler = ChunkSampler(cuts({"a": 10, "b": 13}), 5, seed=1)
    batches = ids(sampler)
    assert [len(batch) for batch in batches] == [5] * 4
    seen = [id for batch in batches for id in batch]
    assert len(set(seen)) == 20 == sampler.total
    sampler.set_epoch(1)
    other = ids(sampler)
    assert other != batches
    sampler.set_epoch(0)
    assert ids(sampler) == batches
    assert ids(ChunkSampler(cuts({"a": 10, "b": 13})[::-1], 5, seed=1)) == batches  # the manifest's order is nothing


def test_ranks_share_the_batches_evenly():
    whole = ids(ChunkSampler(cuts({"a": 25}), 3, seed=0))
    parts = [ids(ChunkSampler(cuts({"a": 25}), 3, 0, rank, 3)) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert [batch for row in zip(*parts, strict=True) for batch in row] == whole[:6]


def test_a_small_corpus_makes_small_batches_and_too_small_a_one_none():
    assert [len(batch) for batch in ChunkSampler(cuts({"a": 3, "b": 4}), 64, 0)] == [7]
    assert [len(batch) for batch in ChunkSampler(cuts({"a": 3, "b": 4}), 64, 0, 1, 2)] == [3]
    with pytest.raises(ValueError, match=r"3 training utterances make no batch on each of 2.*lower data\.batch_size"):
        ChunkSampler(cuts({"a": 3}), 64, 0, 0, 2)


def test_grouped_batches_hold_so_many_of_each_of_their_speakers():
    sampler = ChunkSampler(cuts({"a": 9, "b": 8, "c": 4, "d": 12, "e": 1}), 9, seed=2, per_speaker=3)
    batches = ids(sampler)
    for batch in batches:
        speakers = [id.split("-")[0] for id in batch]
        assert all(speakers.count(speaker) == 3 for speaker in speakers)
        assert speakers == sorted(speakers, key=speakers.index)  # the groups are not mixed
        assert len(set(speakers)) >= 2
    seen = [id for batch in batches for id in batch]
    assert len(set(seen)) == len(seen)
    assert not any(id.startswith("e") for id in seen)
    sampler.set_epoch(1)
    assert ids(sampler) != batches


def test_whole_utterances_come_longest_first_within_the_seconds():
    batches = list(LengthSampler(cuts({"a": 6}), 10.0))  # of 1 to 6 s
    assert [[cut.duration for cut in batch] for batch in batches] == [[6.0], [5.0, 4.0], [3.0, 2.0, 1.0]]
    parts = [[cut.id for batch in LengthSampler(cuts({"a": 6}), 10.0, rank, 2) for cut in batch] for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == [f"a-{n}" for n in range(6)]
