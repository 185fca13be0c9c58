"""Plans of mixtures: rows that depend on nothing but their keys, geometry, and levels."""

import math
import random
from dataclasses import replace

import pytest

from steps.data.held_out import share_of
from steps.data.levels import Level
from steps.data.mixture import Plan, read_plan, write_plan
from steps.data.mixture_config import MixtureConfig, SetSize
from steps.data.mixture_plan import Planner


def levels(speakers: int = 5, each: int = 4, split: str = "train") -> list[Level]:
    rng = random.Random(split)
    return [
        Level(
            id=f"{split}-{speaker}-{number}",
            recording=f"{split}-{speaker}-{number}",
            speaker=f"{split}{speaker}",
            samples=rng.randint(20_000, 90_000),
            sampling_rate=16000,
            loudness=round(rng.uniform(-40, -20), 2),
            power=round(rng.uniform(-40, -20), 2),
            peak=round(rng.uniform(0.05, 1.0), 5),
        )
        for speaker in range(speakers)
        for number in range(each)
    ]


NOISES = [Level(f"n{k}@0", f"n{k}", "", 48_000, 16000, -30.0, -32.0 - k, 0.3) for k in range(6)]


def planner(kind: str = "full", utterances=None, noises=(), rooms=(), **changes) -> Planner:
    return Planner(MixtureConfig(**changes), 7, kind, "train", utterances or levels(), noises, rooms)


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_a_row_depends_on_nothing_but_seed_split_set_and_number(kind):
    whole = [planner(kind).row(index) for index in range(40)]
    backwards = planner(kind, list(reversed(levels())))
    assert [backwards.row(index) for index in reversed(range(40))] == whole[::-1]
    assert planner(kind).row(33) == whole[33]
    assert len({mixture.sources for mixture in whole}) > 35
    other = Planner(MixtureConfig(), 8, kind, "train", levels())
    assert other.row(3) != replace(whole[3], seed=8)


def test_dynamic_rows_differ_between_epochs_and_repeat_within_one():
    first = planner()
    rows = {epoch: [first.row(index, epoch) for index in range(20)] for epoch in (0, 1)}
    again = planner()
    assert [again.row(index, 1) for index in range(20)] == rows[1]
    assert [again.row(index, 0) for index in range(20)] == rows[0]
    assert all(a.sources != b.sources for a, b in zip(rows[0], rows[1], strict=True))
    assert rows[1][3].id == "full-train-000003-1"


def test_full_cuts_the_longer_to_the_shorter():
    by_id = {level.id: level for level in levels()}
    for index in range(50):
        mixture = planner().row(index)
        lengths = [by_id[source.utterance].samples for source in mixture.sources]
        assert mixture.samples == min(lengths)
        assert mixture.overlap == 1.0
        for source, length in zip(mixture.sources, lengths, strict=True):
            assert (source.samples, source.offset) == (mixture.samples, 0)
            assert 0 <= source.start <= length - source.samples
        assert mixture.sources[0].speaker != mixture.sources[1].speaker


@pytest.mark.parametrize("rate", [8000, 16000])
def test_partial_has_each_overlap_in_turn(rate):
    by_id = {level.id: level for level in levels()}
    rows = [planner("partial", sampling_rate=rate).row(index) for index in range(60)]
    for index, mixture in enumerate(rows):
        share = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0][index % 6]
        first, second = sorted(mixture.sources, key=lambda source: source.offset)
        assert [s.samples for s in mixture.sources] == [by_id[s.utterance].length(rate) for s in mixture.sources]
        shorter = min(source.samples for source in mixture.sources)
        both = min(first.offset + first.samples, second.offset + second.samples) - second.offset
        assert max(0, both) == round(share * shorter)
        assert mixture.overlap == pytest.approx(share, abs=1e-4)
        assert mixture.samples == max(s.offset + s.samples for s in mixture.sources)
        if share == 0:
            assert 0 <= -both <= 0.5 * rate


def test_talkers_have_the_loudness_that_was_drawn():
    by_id = {level.id: level for level in levels()}
    for index in range(50):
        mixture = planner(loudness=[-33.0, -25.0]).row(index)
        for source in mixture.sources:
            loudness = by_id[source.utterance].loudness + 20 * math.log10(source.gain / mixture.guard)
            assert -33.001 <= loudness <= -24.999


def test_differences_of_level_by_snr():
    by_id = {level.id: level for level in levels()}
    for index in range(50):
        mixture = planner(levels="snr", snr=[2.0, 5.0]).row(index)
        loudness = [by_id[s.utterance].loudness + 20 * math.log10(s.gain) for s in mixture.sources]
        assert 1.999 <= abs(loudness[0] - loudness[1]) <= 5.001


def test_no_mixture_can_clip():
    by_id = {level.id: level for level in levels()}
    peaks = {level.id: level.peak for level in NOISES}
    guards = set()
    for index in range(100):
        mixture = planner(loudness=[-25.0, -5.0], noises=NOISES, noise_prob=0.5).row(index)
        highest = sum(source.gain * by_id[source.utterance].peak for source in mixture.sources)
        if mixture.noise:
            highest += mixture.noise.gain * peaks[mixture.noise.recording]
        assert highest <= 0.9 * (1 + 1e-5)
        guards.add(mixture.guard)
    assert len(guards) > 10


def test_noise_has_its_snr_and_its_split():
    by_id = {level.id: level for level in levels()}
    powers = {level.id: level.power for level in NOISES}
    config = MixtureConfig(noise_snr={"train": [0.0, 10.0], "dev": [5.0, 5.0], "test": [2.5, 17.5]})
    heard = {}
    for split in ("train", "dev", "test"):
        plan = Planner(config, 0, "noisy", split, levels(split=split), NOISES)
        by_id |= {level.id: level for level in levels(split=split)}
        heard[split] = set()
        for index in range(30):
            mixture = plan.row(index)
            (source,) = mixture.sources
            speech = by_id[source.utterance].power + 20 * math.log10(source.gain)
            noise = powers[mixture.noise.recording] + 20 * math.log10(mixture.noise.gain)
            assert speech - noise == pytest.approx(mixture.noise.snr, abs=0.02)
            assert config.noise_snr[split][0] - 0.01 <= mixture.noise.snr <= config.noise_snr[split][1] + 0.01
            heard[split].add(mixture.noise.recording)
    assert not heard["train"] & heard["dev"] | heard["train"] & heard["test"] | heard["dev"] & heard["test"]


def test_every_sort_of_noise_is_in_every_split():
    names = {f"{sort}-{number:02d}" for sort in ("hum", "babble", "clicks") for number in range(8)}
    shares = {split: share_of(names, split, "noises") for split in ("train", "dev", "test")}
    assert set.union(*shares.values()) == names
    assert sum(map(len, shares.values())) == len(names)
    assert all({name[:3] for name in share} == {"hum", "bab", "cli"} for share in shares.values())
    with pytest.raises(ValueError, match="2 noises are too few to give train its own"):
        share_of({"a", "b"}, "train", "noises")


def test_utterances_are_used_evenly():
    rows = [planner().row(index) for index in range(200)]
    first = [source.utterance for mixture in rows for source in mixture.sources]
    assert all(first.count(level.id) >= 10 for level in levels())


def test_enrolments_are_other_utterances_of_the_same_talker():
    for index in range(50):
        for source in planner().row(index).sources:
            assert source.enrolment != source.utterance
            assert source.enrolment.rpartition("-")[0] == source.utterance.rpartition("-")[0]


def test_silence_and_short_utterances_are_left_out():
    some = levels(2, 2)
    silent = replace(some[0], id="silent", loudness=None, power=None)
    short = replace(some[0], id="short", samples=8000)
    assert set(planner(utterances=[*some, silent, short]).utterances) == {level.id for level in some}


def test_one_speaker_is_not_enough():
    with pytest.raises(ValueError, match=r"train has 1 speakers .* mixtures of 2 talkers need as many"):
        planner(utterances=levels(1, 5))
    with pytest.raises(ValueError, match="3 talkers"):
        planner(utterances=levels(2, 5), speakers=3, sets={"full": SetSize(1, 1, 1), "partial": SetSize()})


def test_plans_are_read_as_written(tmp_path):
    mixtures = [planner(noises=NOISES, noise_prob=0.5).row(index) for index in range(10)]
    write_plan(mixtures, tmp_path / "plan.jsonl.gz")
    plan = read_plan(tmp_path / "plan.jsonl.gz")
    assert plan.mixtures == mixtures
    assert plan.digest() == Plan(mixtures).digest()
    assert plan.seconds == pytest.approx(sum(m.samples for m in mixtures) / 16000)
    (tmp_path / "bad").write_text("{}")
    with pytest.raises(ValueError, match="bad: no plan of mixtures"):
        read_plan(tmp_path / "bad")
    with pytest.raises(FileNotFoundError, match="stage 2"):
        read_plan(tmp_path / "none")


def test_the_same_plan_on_every_machine():
    """A hash that was computed once: chance, rounding and the form of the lines must not change."""
    mixtures = [planner(kind, noises=NOISES, noise_prob=0.5).row(i) for kind in ("full", "partial") for i in range(50)]
    assert Plan(mixtures).digest() == "5c8242ef934b4a24"
