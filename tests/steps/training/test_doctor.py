"""The first value that is not finite is traced to its module; nobody can tell afterwards that it was looked for."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor, nn

from steps.tasks.base import Losses
from steps.training.checkpoint import epoch_checkpoint, load_checkpoint, rng_state
from steps.training.dist import World
from steps.training.doctor import Doctor, Finding
from steps.training.guard import NonFiniteError
from steps.training.trainer import Trainer

CPU = World(0, 1, torch.device("cpu"))
IDS = ["one", "two", "three"]


class Function(nn.Module):
    """Any function of one tensor."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Caller(nn.Module):
    """Computes something itself between its layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function, self.last = nn.Linear(4, 4, bias=False), function, nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


class Root(nn.Module):
    """x times the root of a parameter that is 0 here and there."""

    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.tensor([1.0, 0.0, 1.0, 1.0]))

    def forward(self, x):
        return x * self.power.sqrt()


class AskingForMasks(nn.Module):
    """Hands a mask of -inf to a module, as attention does."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x):
        x = x.unsqueeze(1).expand(-1, 3, -1)
        mask = torch.full((3, 3), -torch.inf).triu(1)
        return self.attention(x, x, x, attn_mask=mask)[0].sum(dim=(1, 2))


def divided(x: Tensor) -> Tensor:
    return x / (x * 0)


def rooted(x: Tensor) -> Tensor:
    """Finite at zeros, of which the gradient is not."""
    return x.square().sum(dim=1, keepdim=True).sqrt() * torch.ones(4)


def batch_of(*zeros: int) -> dict:
    """Three utterances, those of `zeros` of nothing but 0."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    x[list(zeros)] = 0
    return {"ids": IDS, "x": x, "seconds": 3.0}


def loss_of(model: nn.Module, batch: dict) -> Losses:
    return Losses(model(batch["x"]).sum(), 3.0)


def examined(model: nn.Module, *batches: dict, loss=loss_of) -> Finding:
    """What the doctor finds in a first pass over the batches."""
    torch.manual_seed(0)
    return Doctor(model, loss).examine(list(batches))


def layers(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Sequential(*modules), nn.Linear(4, 1))


def test_a_layer_that_divides_by_zero_is_named():
    found = examined(layers(nn.Linear(4, 4), nn.Tanh(), Function(divided)), batch_of())
    assert (found.place, found.module, found.ids) == ("forward", "0.2", IDS)
    assert (found.nan, found.inf, found.values) == (0, 12, 12) or found.nan + found.inf == 12
    assert "the output of 0.2 (Function)" in found.message


def test_the_utterances_at_fault_are_named():
    """Their rows alone, in a batch of several; a batch before it is well."""
    model = layers(Function(lambda x: 1 / x.abs().sum(dim=1, keepdim=True) * x))
    found = examined(model, batch_of(), batch_of(0, 2))
    assert (found.module, found.ids, found.nan) == ("0.0", ["one", "three"], 8)


def test_what_a_module_computes_between_its_layers_is_its_own():
    found = examined(nn.Sequential(Caller(divided)), batch_of())
    assert (found.place, found.module) == ("forward", "0")
    assert "what 0 (Caller) computed before it called 0.last" in found.message


def test_a_gradient_that_is_lost_in_a_module():
    """sqrt at 0: the module and the first parameter that suffers are named, though every output is finite."""
    found = examined(layers(nn.Linear(4, 4, bias=False), nn.Tanh(), Function(rooted)), batch_of(1))
    assert (found.place, found.module, found.parameter) == ("gradient", "0.2", "0.0.weight")
    assert found.ids == ["two"]
    assert "finite at the output of 0.2 (Function), and is not at the output of 0.1 (Tanh)" in found.message


def test_a_gradient_that_is_lost_between_layers():
    found = examined(nn.Sequential(nn.Identity(), Caller(rooted)), batch_of(0))
    assert (found.place, found.module, found.parameter) == ("gradient", "1", "1.first.weight")
    assert "finite at the input of 1.last, and is not at the output of 1.first (Linear)" in found.message


def test_a_gradient_that_is_lost_in_a_parameter_or_in_the_loss():
    found = examined(layers(nn.Linear(4, 4), Root()), batch_of())
    assert (found.place, found.module, found.parameter) == ("gradient", "0.1", "0.1.power")

    def rooted_loss(model, batch):
        return Losses((model(batch["x"]) * 0).sum().sqrt(), 3.0)

    found = examined(layers(nn.Linear(4, 4)), batch_of(), loss=rooted_loss)
    assert (found.place, found.module) == ("gradient", None) and found.parameter in ("1.weight", "1.bias")
    assert "finite at the loss" in found.message


def test_the_batch_the_weights_and_the_loss_are_told_apart():
    broken = batch_of()
    broken["x"][1, 2] = torch.nan
    found = examined(layers(), broken)
    assert (found.place, found.ids, found.nan) == ("batch", ["two"], 1) and "'x'" in found.message
    model = layers(nn.Linear(4, 4))
    model[0][0].bias.data[3] = torch.inf
    found = examined(model, batch_of())
    assert (found.place, found.parameter, found.inf) == ("weights", "0.0.bias", 1)
    found = examined(layers(), batch_of(), loss=lambda m, b: Losses(m(b["x"]).sum() * torch.inf, 3.0))
    assert (found.place, found.module) == ("loss", None)


def test_gradients_whose_norm_alone_overflows():
    model = layers(nn.Linear(4, 4), Function(lambda x: x * 1e25))
    found = examined(model, batch_of(), batch_of(0))
    assert (found.place, found.parameter) == ("norm", "1.weight")


def test_a_step_that_is_well_and_masks_of_minus_infinity():
    assert examined(layers(nn.Linear(4, 4)), batch_of(), batch_of(0, 1, 2)).place == "nothing"
    assert examined(AskingForMasks(), batch_of()).place == "nothing"
    masked = layers(nn.Linear(4, 4, bias=False), nn.ReLU(), Function(rooted))
    assert examined(masked, batch_of(1)).place == "nothing", "the NaN stops at the ReLU and reaches no parameter"


def test_a_search_that_fails_says_so():
    def absent(model, batch):
        raise KeyError("targets")

    found = examined(layers(), batch_of(), loss=absent)
    assert found.place == "failed" and "KeyError: 'targets'" in found.message


@pytest.mark.parametrize("function", [divided, rooted, lambda x: x], ids=["forward", "gradient", "well"])
def test_nothing_is_left_of_the_search(function):
    """Weights, gradients, buffers, random state, hooks and mode; dropout in the rerun falls as in the step."""
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), Caller(function), nn.BatchNorm1d(1)).train()
    seen = []
    model[1].register_forward_hook(lambda module, _, output: seen.append(output.detach().clone()))
    doctor = Doctor(model, loss_of)
    doctor.remember()
    loss_of(model, batch_of(0, 2)).total.backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    generator = rng_state()["torch"]
    doctor.examine([batch_of(0, 2)])
    assert len(seen) == 2 and torch.equal(*seen)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0, equal_nan=True)
        assert not parameter._backward_hooks
    assert torch.equal(generator, rng_state()["torch"]) and model.training
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert sum(hooks) == 1, "the test's own"


def ailing(toy, name: str = "dummy-mono-cut-0007"):
    """The task with dropout and a gradient that is NaN wherever utterance `name` is."""
    collate = toy.collate

    def silenced(cuts, epoch):
        batch = collate(cuts, epoch)
        batch["x"][[i for i, cut in enumerate(cuts) if cut.id == name]] = 0
        return batch

    toy.collate = silenced
    toy.build_model = lambda: nn.Sequential(
        nn.Linear(4, 4, bias=False), Function(rooted), nn.Dropout(0.2), nn.LayerNorm(4), nn.Linear(4, 1)
    )
    return toy


def trained(task, folder) -> dict:
    Trainer(task, folder, CPU).fit()
    return load_checkpoint(epoch_checkpoint(folder / "checkpoints", task.config.training.epochs))


def reports(folder) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((folder / "nonfinite").glob("step-*.json"))]


def test_training_names_module_step_and_utterance_and_ends_as_without_looking(toy, tmp_path, caplog, monkeypatch):
    looked = trained(ailing(toy), tmp_path / "a")
    found = reports(tmp_path / "a")
    assert len(found) == 3, "the utterance comes once in an epoch"
    for report in found:
        assert (report["place"], report["module"], report["parameter"]) == ("gradient", "1", "0.weight")
        assert report["ids"] == ["dummy-mono-cut-0007"] and report["gradient_norm"] == "nan"
        saved = tmp_path / "a" / "nonfinite" / f"step-{report['step']:07d}.rank0.pt"
        assert torch.load(saved, weights_only=True)[0]["ids"] == report["batch_ids"]
        assert f"step {report['step']}: loss" in caplog.text
    assert "finite at the output of 1 (Function)" in caplog.text and "At fault: dummy-mono-cut-0007." in caplog.text

    monkeypatch.setattr(Doctor, "examine", lambda self, batches: Finding("nothing", "not looked for"))
    not_looked = trained(toy, tmp_path / "b")
    for name, value in looked["model"].items():
        assert torch.equal(value, not_looked["model"][name]), name
    assert torch.equal(looked["rng"][0]["torch"], not_looked["rng"][0]["torch"])


def test_a_refused_step_leaves_no_nan_in_batch_statistics(toy, tmp_path):
    build, collate = toy.build_model, toy.collate
    toy.build_model = lambda: nn.Sequential(nn.BatchNorm1d(4), build())

    def poisoned(cuts, epoch):
        batch = collate(cuts, epoch)
        batch["x"][[i for i, cut in enumerate(cuts) if cut.id == "dummy-mono-cut-0003" and epoch == 0]] = torch.nan
        return batch

    toy.collate = poisoned
    state = trained(toy, tmp_path)
    assert [report["place"] for report in reports(tmp_path)] == ["batch"]
    assert all(value.isfinite().all() for value in state["model"].values())


def test_stopping_says_where(toy, tmp_path):
    toy.config.training.nonfinite = "stop"
    with pytest.raises(NonFiniteError, match=r"finite at the output of 1 \(Function\).*training\.lr"):
        trained(ailing(toy), tmp_path)


WORKER = """
    import importlib.util, pathlib, sys, torch
    def module(name, file):
        spec = importlib.util.spec_from_file_location(name, file)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    here, folder = map(pathlib.Path, sys.argv[1:])
    toy, tests = module("toy", here / "conftest.py"), module("tests", here / "test_doctor.py")
    from steps.training.dist import join_world, leave_world
    world = join_world()
    trainer = tests.Trainer(tests.ailing(toy.ToyTask(toy.ToyConfig())), folder, world)
    trainer.fit()
    torch.save(trainer.model.state_dict(), folder / f"weights.{world.rank}.pt")
    leave_world(world)
"""


def test_two_ranks_skip_together_and_only_the_one_at_fault_names_a_module(tmp_path, root):
    """Gradients are exchanged, so both see NaN; the search exchanges nothing, or one would wait for ever."""
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(root)}
    command = [*map(str, launch), str(root / "tests/steps/training"), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    steps: dict[int, list] = {}
    for report in reports(tmp_path / "run"):
        steps.setdefault(report["step"], []).append((report["place"], report["module"], tuple(report["ids"])))
    assert len(steps) == 3
    for both in steps.values():
        assert sorted(both, key=str) == [("gradient", "1", ("dummy-mono-cut-0007",)), ("nothing", None, ())]
    weights = [load_checkpoint(tmp_path / "run" / f"weights.{rank}.pt") for rank in (0, 1)]
    for name, value in weights[0].items():
        assert value.isfinite().all() and torch.equal(value, weights[1][name]), name
