"""The task of enhancement: its defaults, what it reports, and that a trained model loads again."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from steps import simulate_mixtures
from steps.models.config import SeparatorConfig
from steps.tasks.config import load_config
from steps.tasks.enhancement import load_enhancer
from steps.tasks.registry import build_task
from utils import config as config_file

CONF = """
task: enhancement
mixtures: {sets: {noisy: {train: 4, dev: 2, test: 1}}}
data: {chunk_seconds: 0.25, dev_seconds: 0.5, batch_size: 2, num_workers: 0}
model: {architecture: demucs, sizes: {hidden: 4, depth: 2, resample: 1}}
loss: {resolutions: [[128, 32, 128]], si_sdr: 0.02}
"""


class Fixed(nn.Module):
    """Gives what it was told to, whatever comes in."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, mixture):
        return self.answer


@pytest.fixture
def conf(tmp_path):
    file = tmp_path / "conf.yaml"
    file.write_text(CONF)
    return file


@pytest.fixture
def task(talkers, conf):
    simulate_mixtures.main(["--config", str(conf), "--data", str(talkers)])
    yield build_task(load_config(conf, [f"data.dir={talkers}"]))
    for plan in talkers.glob("*plan_*"):
        plan.unlink()


def test_noisy_mixtures_are_the_default(conf):
    config = load_config(conf)
    assert list(config.mixtures.sets) == config.data.kinds == ["noisy"]
    assert config.loss.stft > 0
    assert config.enhance.dry == 0


def test_from_batches_to_gradients_and_figures(task):
    batch = next(iter(task.batches("dev")))
    assert batch["sources"].shape[1] == 1
    count = float(len(batch["ids"]))
    perfect = task.loss(Fixed(batch["sources"]).eval(), batch, 0)
    nothing = task.loss(Fixed(batch["mixture"].unsqueeze(1)).eval(), batch, 0)
    assert perfect.weight == count
    assert perfect.sums["si_sdri"][0] / count > 30
    assert nothing.sums["si_sdri"][0] / count == pytest.approx(0.0, abs=1e-3)
    assert float(perfect.total) < float(nothing.total)
    parts = {name: value / count for name, (value, _) in nothing.sums.items() if name.startswith("loss_")}
    assert sorted(parts) == ["loss_l1", "loss_si_sdr", "loss_stft"]
    expected = parts["loss_l1"] + 0.5 * parts["loss_stft"] + 0.02 * parts["loss_si_sdr"]
    assert float(nothing.total) / count == pytest.approx(expected, rel=1e-5)

    torch.manual_seed(0)
    model = task.build_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch, losses = next(iter(task.batches("train"))), []
    for _ in range(20):
        loss = task.loss(model, batch, 0)
        assert loss.sums == {}
        (loss.total / loss.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_model_loads_as_it_was_saved(conf, tmp_path):
    task = build_task(load_config(conf))
    model, path = task.build_model().eval(), tmp_path / "averaged.pt"
    torch.save({"model": model.state_dict(), "config": config_file.to_dict(task.config)}, path)
    loaded, config = load_enhancer(path, torch.device("cpu"))
    assert config == task.config
    wave = torch.randn(1, 1000)
    with torch.no_grad():
        assert torch.equal(loaded(wave), model(wave))
    torch.save({"model": {}, "config": {"task": "separation"}}, path)
    with pytest.raises(ValueError, match=r"averaged.pt is a model of task 'separation'; expected enhancement"):
        load_enhancer(path, torch.device("cpu"))


def test_other_mixtures_and_enrolments_are_refused(conf):
    config = load_config(conf)
    with pytest.raises(ValueError, match=r"data.kinds of enhancement is \[noisy\]"):
        build_task(replace(config, data=replace(config.data, kinds=["full"])))
    with pytest.raises(ValueError, match="enhancement takes no enrolments"):
        build_task(replace(config, data=replace(config.data, enrolments="exp/x/enrolments")))
    with pytest.raises(ValueError, match="enhancement takes no enrolments"):
        build_task(replace(config, model=SeparatorConfig("voicefilter")))
