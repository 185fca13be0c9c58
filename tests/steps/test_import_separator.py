"""steps.import_separator: files in asteroid's and denoiser's formats become checkpoints that the next stages take."""

from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion

from steps import import_separator
from steps.models.conv_tasnet import ConvTasNet
from steps.models.demucs import Demucs
from steps.tasks import config as task_config
from steps.tasks.enhancement import load_enhancer
from steps.tasks.separation import load_separator
from steps.training.checkpoint import load_checkpoint

CONV = {"n_filters": 16, "bn_chan": 6, "hid_chan": 10, "skip_chan": 4, "n_blocks": 2, "n_repeats": 1}


@pytest.fixture
def run(tmp_path):
    """A function that imports a saved value under a YAML and returns the run's directory."""

    def imported(value, *arguments: str, yaml: str = "task: separation\n", exp: str = "exp") -> Path:
        torch.save(value, tmp_path / "model.pth")
        (tmp_path / "conf.yaml").write_text(yaml)
        files = ["--weights", str(tmp_path / "model.pth"), "--config", str(tmp_path / "conf.yaml")]
        import_separator.main([*files, "--exp", str(tmp_path / exp), *arguments])
        return tmp_path / exp

    return imported


def asteroid(sources: int = 2, **sizes) -> dict:
    """A file of asteroid's, and the network in it."""
    torch.manual_seed(0)
    return {
        "model_name": "ConvTasNet",
        "state_dict": ConvTasNet(sources, **CONV).state_dict(),
        "model_args": {"fb_name": "FreeFB", "n_src": sources, "sample_rate": 8000, **CONV, **sizes},
        "infos": {"software_versions": {"torch_version": TorchVersion("2.1.0")}},
    }


def test_asteroid_file_becomes_a_run(run):
    value = asteroid()
    exp = run(value, yaml="task: separation\nmodel: {architecture: dprnn_tasnet, sizes: {chunk_size: 50}}\n")
    model, config = load_separator(exp / "checkpoints" / "averaged.pt", torch.device("cpu"))
    assert (config.model.architecture, config.model.sizes) == ("conv_tasnet", CONV)
    expected = ConvTasNet(2, **CONV).eval()
    expected.load_state_dict(value["state_dict"])
    wave = torch.randn(1, 500)
    assert torch.equal(model(wave), expected(wave))
    written = task_config.load_config(exp / "config.yaml")
    assert written == config


def test_what_the_file_does_not_tell_is_the_yamls(run):
    sizes = "{n_filters: 16, bn_chan: 6, hid_chan: 10, skip_chan: 4, n_blocks: 2, n_repeats: 1, mask_act: relu}"
    exp = run(
        asteroid()["state_dict"], yaml=f"task: separation\nmodel: {{architecture: conv_tasnet, sizes: {sizes}}}\n"
    )
    _, config = load_separator(exp / "checkpoints" / "averaged.pt", torch.device("cpu"))
    assert config.model.sizes["mask_act"] == "relu"


def test_the_command_line_wins(run):
    value = asteroid(mask_act="sigmoid")
    exp = run(value, "model.sizes.mask_act=relu", yaml="task: separation\nmodel: {sizes: {mask_act: tanh}}\n")
    assert load_checkpoint(exp / "checkpoints" / "averaged.pt")["config"]["model"]["sizes"]["mask_act"] == "relu"
    exp = run(value, yaml="task: separation\nmodel: {sizes: {mask_act: tanh}}\n", exp="second")
    assert load_checkpoint(exp / "checkpoints" / "averaged.pt")["config"]["model"]["sizes"]["mask_act"] == "sigmoid"
    with pytest.raises(ValueError, match="the file is of a conv_tasnet"):
        run(value, "model.architecture=dptnet", exp="third")


def test_another_number_of_talkers(run):
    with pytest.raises(ValueError, match="has 3 outputs, expected 2; see --sources"):
        run(asteroid(3))
    with pytest.raises(ValueError, match=r"mixtures\.speakers is 2 or more, and 2 for partial; got 3"):
        run(asteroid(3), "--sources", "3")  # what the run's data have is for the YAML to say


def test_denoiser_weights_become_an_enhancer(run):
    weights = Demucs(1, hidden=4, resample=2).state_dict()
    yaml = "task: enhancement\nmodel: {architecture: demucs, sizes: {hidden: 16, resample: 2}}\n"
    exp = run(weights, "model.sizes.normalize=causal", yaml=yaml)
    model, config = load_enhancer(exp / "checkpoints" / "averaged.pt", torch.device("cpu"))
    sizes = config.model.sizes
    assert (sizes["hidden"], sizes["resample"], sizes["normalize"]) == (4, 2, "causal")
    assert model.causal
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())
    with pytest.raises(ValueError, match="has 1 outputs, expected 2"):
        run(weights, "--sources", "2", yaml=yaml, exp="second")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value["state_dict"].pop("masker.bottleneck.0.gamma"), "Missing key.*masker.bottleneck.0.gamma"),
        (lambda value: value["state_dict"].update(more=torch.ones(1)), "Unexpected key.*more"),
        (lambda value: value["model_args"].update(bn_chan=8), "size mismatch"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_weights_of_another_network(run, tmp_path, change, message):
    value = asteroid()
    change(value)
    with pytest.raises(ValueError, match=message):
        run(value)
    assert not (tmp_path / "exp" / "checkpoints" / "averaged.pt").exists()


def test_another_task(run):
    with pytest.raises(ValueError, match="of task speaker; expected separation or enhancement"):
        run(asteroid(), yaml="task: speaker\n")
