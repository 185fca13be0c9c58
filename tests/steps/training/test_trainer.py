"""The loop: resume is exact, steps that are not finite are refused, unequal batches count right."""

import json
import os
import signal

import pytest
import torch

from steps.training import checkpoint
from steps.training.dist import World
from steps.training.guard import NonFiniteError
from steps.training.trainer import Trainer, autocast_dtype

CPU = World(0, 1, torch.device("cpu"))


def train(task, folder) -> dict:
    Trainer(task, folder, CPU).fit()
    return checkpoint.load_checkpoint(checkpoint.epoch_checkpoint(folder / "checkpoints", task.config.training.epochs))


def assert_same(a, b, where="state") -> None:
    """Bit for bit, through nested dicts and lists."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


class Killed(Exception):
    """Stands for SIGKILL: nothing of the trainer runs after it."""


def kill_at(monkeypatch, step: int) -> None:
    """Lets the trainer die before it takes step number `step`."""
    original = Trainer._train_step

    def dying(self, group, meter):
        if self.step == step:
            raise Killed
        return original(self, group, meter)

    monkeypatch.setattr(Trainer, "_train_step", dying)


def test_a_run_killed_at_any_step_ends_with_the_same_state(toy, tmp_path, monkeypatch):
    whole = train(toy, tmp_path / "whole")
    assert whole["step"] >= 20, "the run must be long enough for the test to mean something"
    for step in range(1, whole["step"], 3):
        folder = tmp_path / f"killed{step}"
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            with pytest.raises(Killed):
                Trainer(toy, folder, CPU).fit()
        resumed = train(toy, folder)
        # Torch's own generator is the one that dropout drew from; nobody draws from the others.
        assert_same(whole, resumed)


def test_every_checkpoint_leads_to_the_same_end(toy, tmp_path):
    toy.config.training.keep_steps = 1000
    whole = train(toy, tmp_path / "a")
    files = sorted((tmp_path / "a" / "checkpoints").glob("*.pt"))
    assert len(files) > 10
    for i, file in enumerate(files):
        folder = tmp_path / f"from{i}" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / file.name).write_bytes(file.read_bytes())
        assert_same(whole["model"], train(toy, folder.parent)["model"], file.name)


def test_accumulation_equals_one_large_batch(toy, tmp_path):
    """Two batches in a step give the gradient of their union, divided by all utterances."""
    trainer = Trainer(toy, tmp_path, CPU)
    batches = list(trainer.batches)[:2]
    assert len(batches[0]["ids"]) != len(batches[1]["ids"]), "unequal batches are the point"
    trainer.model.eval()  # without dropout
    trainer.wrapped.train = lambda: None
    expected = sum(toy.loss(trainer.model, b, 0).total for b in batches) / sum(len(b["ids"]) for b in batches)
    gradients = torch.autograd.grad(expected, list(trainer.model.parameters()))
    trainer.config.clip_norm = 1e9
    from steps.training.meters import Meter

    trainer._train_step(batches, Meter())
    for parameter, gradient in zip(trainer.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_step_that_is_not_finite_is_skipped_and_its_utterances_are_named(toy, tmp_path, caplog):
    toy.poison_step = 5
    state = train(toy, tmp_path)
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    saved = torch.load(next((tmp_path / "nonfinite").glob("step-0000005*.pt")), weights_only=True)
    assert saved[0]["ids"][0] in caplog.text


def test_stop_on_a_step_that_is_not_finite(toy, tmp_path):
    toy.poison_step, toy.config.training.nonfinite = 5, "stop"
    with pytest.raises(NonFiniteError, match=r"step 5.*training\.lr"):
        train(toy, tmp_path)


def test_other_options_are_refused_and_named(toy, tmp_path):
    train(toy, tmp_path)
    toy.config.training.lr = 0.5
    with pytest.raises(ValueError, match=r"training\.lr was 0\.01, is 0\.5.*--force"):
        train(toy, tmp_path)


def test_force_starts_afresh(toy, tmp_path, monkeypatch):
    train(toy, tmp_path)
    toy.config.training.lr = 0.5
    monkeypatch.setenv("RECIPE_FORCE", "true")
    assert train(toy, tmp_path)["config"]["training"]["lr"] == 0.5


def test_sigterm_saves_and_exits(toy, tmp_path, monkeypatch):
    whole = train(toy, tmp_path / "whole")
    original = Trainer._train_step

    def signalled(self, group, meter):
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, group, meter)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", signalled)
        with pytest.raises(SystemExit) as stopped:
            Trainer(toy, tmp_path / "a", CPU).fit()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert checkpoint.step_checkpoint(tmp_path / "a" / "checkpoints", 7).exists()
    assert_same(whole["model"], train(toy, tmp_path / "a")["model"])


def test_metrics_of_a_resumed_run_have_each_point_once(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, 11)
        with pytest.raises(Killed):
            Trainer(toy, tmp_path, CPU).fit()
    train(toy, tmp_path)
    points = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [(point["kind"], point["step"]) for point in points]
    assert len(steps) == len(set(steps))
    assert [kind for kind, _ in steps].count("valid") == 3
    losses = [point["loss"] for point in points if point["kind"] == "valid"]
    assert losses[-1] < losses[0]


def test_fine_tuning_takes_what_fits(toy, tmp_path):
    before = train(toy, tmp_path / "a")["model"]
    toy.config.training.init_from = str(tmp_path / "a/checkpoints/epoch-003.pt")
    model = Trainer(toy, tmp_path / "b", CPU).model
    assert_same(before, model.state_dict())
    toy.build_model = lambda: torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    )
    model = Trainer(toy, tmp_path / "c", CPU).model
    assert torch.equal(model[0].weight, before["0.weight"]) and model[3].weight.shape == (2, 8)
    toy.build_model = lambda: torch.nn.Sequential(torch.nn.Linear(4, 9))
    with pytest.raises(ValueError, match=r"training\.init_from: .* is of another model; .* 0\.bias, 0\.weight"):
        Trainer(toy, tmp_path / "d", CPU)


def test_running_average_between_two_times():
    model = torch.nn.Linear(1, 1, bias=False)
    average, states = checkpoint.RunningAverage(), []
    for value in (1.0, 2.0, 6.0, 10.0):
        torch.nn.init.constant_(model.weight, value)
        average.update(model)
        states.append({"count": average.count, "mean": {k: v.clone() for k, v in average.mean.items()}})
    assert checkpoint.RunningAverage.between(None, states[3])["weight"].item() == pytest.approx(4.75)
    assert checkpoint.RunningAverage.between(states[1], states[3])["weight"].item() == pytest.approx(8.0)
    with pytest.raises(ValueError, match="average_period"):
        checkpoint.RunningAverage.between(states[3], states[3])


def test_fp16_needs_a_gpu():
    with pytest.raises(ValueError, match="needs a GPU"):
        autocast_dtype("fp16", torch.device("cpu"))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"model": Runs()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="can be read safely"):
        checkpoint.load_checkpoint(tmp_path / "evil.pt")


def test_a_half_written_checkpoint_is_passed_over(toy, tmp_path):
    train(toy, tmp_path)
    newest = checkpoint.epoch_checkpoint(tmp_path / "checkpoints", 3)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert checkpoint.latest_checkpoint(tmp_path / "checkpoints")["batches"]["epoch"] == 2


def test_seconds_add_up_over_continuations(toy, tmp_path, monkeypatch):
    def seconds():
        return json.loads((tmp_path / "train.json").read_text())["seconds"]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 7)
        Trainer(toy, tmp_path, CPU).fit()
    facts = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**facts, "seconds": 1000.0}))
    train(toy, tmp_path)
    assert 1000.0 < seconds() < 1100.0
    train(toy, tmp_path)  # complete: nothing is added
    assert 1000.0 < seconds() < 1100.0


def test_an_option_that_is_new_since_then_has_its_default(toy, tmp_path):
    train(toy, tmp_path)
    file = checkpoint.epoch_checkpoint(tmp_path / "checkpoints", 3)
    state = torch.load(file, weights_only=True)
    del state["config"]["training"]["momentum"]
    torch.save(state, file)
    train(toy, tmp_path)
    toy.config.training.momentum = 0.5
    with pytest.raises(ValueError, match=r"training\.momentum was 0\.9, is 0\.5"):
        train(toy, tmp_path)


def test_the_checkpoint_with_the_most_steps_is_taken_whatever_its_time(toy, tmp_path):
    whole = train(toy, tmp_path / "a")
    folder = tmp_path / "a" / "checkpoints"
    for age, file in enumerate(sorted(folder.glob("*.pt"))):
        os.utime(file, (1e9 - 1000 * age, 1e9 - 1000 * age))
    assert checkpoint.latest_checkpoint(folder)["step"] == whole["step"]
    checkpoint.epoch_checkpoint(folder, 3).write_bytes(b"broken")
    assert checkpoint.latest_checkpoint(folder)["step"] <= whole["step"]
