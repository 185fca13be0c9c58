"""Batches of mixtures: the same for every number of workers and ranks, and after taking up again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from steps import simulate_mixtures
from steps.data.mixture import read_plan
from steps.data.mixture_corpus import plan_file
from steps.data.separation import IndexSampler, all_heard, mixture_batches
from steps.tasks.config import load_config

CONF = """
task: separation
mixtures:
  sampling_rate: 8000
  sets: {full: {train: 12, dev: 5, test: 2}, partial: {train: 12, dev: 5, test: 2}}
data: {kinds: [full, partial], chunk_seconds: 0.8, batch_size: 4, num_workers: 0, cache_mb: 1}
"""

NOISY = """
task: enhancement
mixtures:
  sampling_rate: 8000
  noise_snr: {train: [0.0, 5.0], dev: [0.0, 5.0], test: [0.0, 5.0]}
  sets: {noisy: {train: 12, dev: 3, test: 2}}
data: {kinds: [noisy], chunk_seconds: 0.5, batch_size: 4, num_workers: 0, cache_mb: 1}
"""


@pytest.fixture(scope="module")
def config(talkers, tmp_path_factory):
    file = tmp_path_factory.mktemp("conf") / "conf.yaml"
    file.write_text(CONF)
    simulate_mixtures.main(["--config", str(file), "--data", str(talkers)])
    return load_config(file, [f"data.dir={talkers}"])


def changed(config, **data):
    return replace(config, data=replace(config.data, **data))


def content(batches) -> list[tuple]:
    return [(tuple(b["ids"]), b["mixture"].numpy().tobytes(), b["sources"].numpy().tobytes()) for b in batches]


@pytest.mark.parametrize("mixing", ["dynamic", "fixed"])
def test_an_epoch_depends_on_its_number_alone(config, mixing):
    config = changed(config, mixing=mixing)
    first = mixture_batches(config, "train")
    epochs = []
    for _ in range(2):
        epochs.append(content(first))
        first.next_epoch()
    assert len(epochs[0]) == 6
    assert sorted(id for ids, *_ in epochs[0] for id in ids) != sorted(id for ids, *_ in epochs[1] for id in ids) or (
        mixing == "fixed"
    )
    with_workers = mixture_batches(changed(config, num_workers=2), "train")
    with_workers.next_epoch()
    assert content(with_workers) == epochs[1]
    ranks = [mixture_batches(config, "train", rank, 2) for rank in (0, 1)]
    for one in ranks:
        one.next_epoch()
    halves = [content(one) for one in ranks]
    assert sorted(halves[0] + halves[1]) == sorted(epochs[1])
    resumed = mixture_batches(config, "train")
    resumed.load_state_dict({"epoch": 1, "position": 4, "seen": 16})
    assert content(resumed) == epochs[1][4:]


def test_a_training_batch(config):
    for batch in mixture_batches(config, "train"):
        assert batch["mixture"].shape == (4, 6400)
        assert batch["sources"].shape == (4, 2, 6400)
        assert batch["mixture"].dtype == batch["sources"].dtype == torch.float32
        assert batch["seconds"] == pytest.approx(3.2)
        assert torch.allclose(batch["sources"].sum(dim=1), batch["mixture"], atol=1e-7)
        full = [row for row, id in enumerate(batch["ids"]) if id.startswith("full")]
        assert all((batch["sources"][row].square().mean(dim=-1) > 0).all() for row in full)


def test_talkers_at_other_speeds(config):
    """Twice as fast: what is heard in a chunk is the first two chunks' length of the talker, an octave higher."""
    plain, fast = (next(iter(mixture_batches(changed(config, speeds=[speed]), "train"))) for speed in (1.0, 2.0))
    assert plain["ids"] == fast["ids"] and plain["sources"].shape == fast["sources"].shape
    assert torch.allclose(fast["sources"].sum(dim=1), fast["mixture"], atol=1e-6)
    drawn = next(iter(mixture_batches(changed(config, speeds=[0.9, 1.0, 1.1]), "train")))
    again = next(iter(mixture_batches(changed(config, speeds=[0.9, 1.0, 1.1]), "train")))
    assert torch.equal(drawn["mixture"], again["mixture"])
    assert not torch.equal(drawn["mixture"], plain["mixture"])

    def pitch(batch, row):
        return torch.fft.rfft(batch["sources"][row, 0]).abs()[20:].argmax() + 20

    row = next(row for row, id in enumerate(plain["ids"]) if id.startswith("full"))
    assert abs(pitch(fast, row) / pitch(plain, row) - 2.0) < 0.1


def test_changed_noise_is_drawn_alike_and_leaves_the_talkers(talkers, tmp_path):
    (tmp_path / "noisy.yaml").write_text(NOISY)
    config = load_config(tmp_path / "noisy.yaml", [f"data.dir={talkers}"])
    simulate_mixtures.main(["--config", str(tmp_path / "noisy.yaml"), "--data", str(talkers)])
    settings = {"noise_speeds": [0.9, 1.1], "noise_layers": 0.5, "noise_equaliser": 12.0}
    plain = next(iter(mixture_batches(config, "train")))
    first, again = (next(iter(mixture_batches(changed(config, **settings), "train"))) for _ in range(2))
    assert torch.equal(first["mixture"], again["mixture"])
    assert first["ids"] == plain["ids"] and torch.equal(first["sources"], plain["sources"])
    noises = [(batch["mixture"] - batch["sources"].sum(dim=1)).square().mean(dim=1) for batch in (plain, first)]
    assert torch.allclose(*noises, rtol=0.02)
    assert not torch.allclose(plain["mixture"], first["mixture"], atol=1e-3)


def test_dev_is_the_plan(config):
    batches = list(mixture_batches(config, "dev"))
    plans = [read_plan(plan_file(Path(config.data.dir), kind, "dev")) for kind in ("full", "partial")]
    by_id = {mixture.id: mixture for plan in plans for mixture in plan.mixtures}
    assert sorted(id for batch in batches for id in batch["ids"]) == sorted(by_id)
    for batch in batches:
        assert batch["mixture"].shape[1] == min(by_id[id].samples for id in batch["ids"])
    limited = list(mixture_batches(changed(config, dev_mixtures=2, dev_seconds=0.5), "dev"))
    assert sum(len(batch["ids"]) for batch in limited) == 4
    assert {batch["mixture"].shape[1] for batch in limited} == {4000}


def test_more_mixtures_an_epoch_than_the_plan_has(config):
    batches = mixture_batches(changed(config, epoch_mixtures=40), "train")
    ids = [id for batch in batches for id in batch["ids"]]
    assert len(ids) == batches.total == 40
    fewer = mixture_batches(changed(config, epoch_mixtures=8), "train")
    assert len(list(fewer)) == 2


def test_too_few_for_a_batch_on_each_rank():
    with pytest.raises(ValueError, match="1 training mixtures make no batch on each of 2 processes"):
        IndexSampler(1, 1, 4, 0, 0, 2)
    assert [len(batch) for batch in IndexSampler(3, 3, 8, 0, 0, 1)] == [3]


def test_who_is_heard():
    whole = np.ones((2, 100), np.float32)
    whole[1, 50:] = 0
    assert all_heard(whole[:, 25:75], whole)
    assert not all_heard(whole[:, 50:], whole)
