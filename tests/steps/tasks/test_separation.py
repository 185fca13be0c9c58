"""The task of separation: what it reports, what it needs, and that a trained model loads again."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from steps import simulate_mixtures
from steps.models.config import SeparatorConfig
from steps.tasks.config import load_config
from steps.tasks.registry import build_task
from steps.tasks.separation import load_separator
from utils import config as config_file

CONF = """
task: separation
mixtures: {sampling_rate: 8000, sets: {full: {train: 8, dev: 4, test: 2}}}
data: {chunk_seconds: 0.5, batch_size: 4, num_workers: 0}
model:
  architecture: conv_tasnet
  sizes: {n_filters: 16, kernel_size: 16, stride: 8, bn_chan: 8, hid_chan: 8, skip_chan: 8, n_blocks: 2, n_repeats: 1}
"""


class Perfect(nn.Module):
    """Gives the sources themselves, in an order that can be turned round."""

    def __init__(self):
        super().__init__()
        self.sources, self.turned = torch.zeros(0), False

    def forward(self, mixture):
        return self.sources.flip(1) if self.turned else self.sources


@pytest.fixture
def task(talkers, tmp_path):
    file = tmp_path / "conf.yaml"
    file.write_text(CONF)
    simulate_mixtures.main(["--config", str(file), "--data", str(talkers)])
    yield build_task(load_config(file, [f"data.dir={talkers}"]))
    for plan in talkers.glob("*plan_*"):
        plan.unlink()


def test_the_order_of_outputs_does_not_count_but_is_watched(task):
    model = Perfect().eval()
    first = next(iter(task.batches("dev")))
    model.sources = first["sources"]
    losses = task.loss(model, first, 0)
    gained, count = losses.sums["si_sdri"]
    assert count == 2 * len(first["ids"])
    assert gained / count > 30
    assert task.review([losses.outputs]) == {}  # nothing to compare with
    assert task.review([task.loss(model, first, 0).outputs]) == {"pit_switch_rate": 0.0}
    model.turned = True
    again = task.loss(model, first, 0)
    assert float(again.total) == pytest.approx(float(losses.total))
    assert task.review([again.outputs]) == {"pit_switch_rate": 1.0}


def test_no_improvement_without_separation(task):
    model, batch = Perfect().eval(), next(iter(task.batches("dev")))
    model.sources = batch["mixture"].unsqueeze(1).expand(-1, 2, -1)
    gained, count = task.loss(model, batch, 0).sums["si_sdri"]
    assert gained / count == pytest.approx(0.0, abs=1e-3)


def test_the_files_that_shape_it(task):
    names = {file.rpartition("/")[2] for file in task.inputs()}
    assert {"cuts_train.jsonl.gz", "plan_full_dev.jsonl.gz", "levels_train.jsonl.gz"} <= names


def test_training_lowers_the_loss(task):
    torch.manual_seed(0)
    model = task.build_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        for batch in task.batches("train"):
            loss = task.loss(model, batch, 0)
            (loss.total / loss.weight).backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.total.detach()) / loss.weight)
    assert sum(losses[-4:]) < sum(losses[:4]) - 4 * 3.0


def test_a_model_loads_as_it_was_saved(task, tmp_path):
    model = task.build_model().eval()
    path = tmp_path / "averaged.pt"
    torch.save({"model": model.state_dict(), "config": config_file.to_dict(task.config)}, path)
    loaded, config = load_separator(path, torch.device("cpu"))
    assert config == task.config
    wave = torch.randn(1, 1000)
    with torch.no_grad():
        assert torch.equal(loaded(wave), model(wave))
    torch.save({"model": {}, "config": {"task": "asr"}}, path)
    with pytest.raises(ValueError, match=r"averaged.pt is a model of task 'asr'; expected separation"):
        load_separator(path, torch.device("cpu"))


def test_extraction_needs_embeddings_and_separation_takes_none(task):
    config = replace(task.config, model=SeparatorConfig("voicefilter"))
    with pytest.raises(ValueError, match=r"voicefilter needs data\.enrolments: run\.sh makes them"):
        build_task(config)
    with pytest.raises(ValueError, match="conv_tasnet takes none"):
        build_task(replace(task.config, data=replace(task.config.data, enrolments="exp/x/enrolments")))
