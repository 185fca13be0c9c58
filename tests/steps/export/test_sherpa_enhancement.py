"""Enhancers in sherpa-onnx itself, against torch; and what would crash it, refused."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from steps import export_onnx
from steps.export.graph import compared
from steps.export.sherpa_enhancement import (
    SherpaGraph,
    SherpaStep,
    check,
    export_sherpa,
    export_sherpa_int8,
    metadata,
    snr,
    validate,
)
from steps.models.config import SeparatorConfig
from steps.models.fast_enhancer import FastEnhancer
from steps.models.gtcrn import GTCRN
from steps.models.separators import build_separator
from steps.tasks.config import EnhancementConfig
from utils import config as config_file

sherpa_onnx = pytest.importorskip("sherpa_onnx")
NARROW = {"n_fft": 64, "hop": 32, "channels": 8, "block_channels": 8, "places": 4, "blocks": 2}
MODELS = {
    "gtcrn": lambda: GTCRN(),
    "fast_enhancer": lambda: FastEnhancer(1, **{**NARROW, "n_fft": 320, "hop": 160}),
}
RATE = 16000


def noisy_speech(samples: int) -> np.ndarray:
    """(samples,): a quiet start, then harmonics with syllables in noise."""
    rng, time = np.random.default_rng(2), np.arange(samples) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * harmonic * time) / harmonic for harmonic in range(1, 20))
    sound = 0.1 * voice * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) + 0.02 * rng.standard_normal(samples)
    sound[:1600] = 0.0
    return sound.astype(np.float32)


def shaken(name: str) -> nn.Module:
    """A network of that name whose norms and mask are not those of the beginning."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 1.5)
    return model


@pytest.fixture(scope="module", params=list(MODELS))
def exported(request, tmp_path_factory):
    """Name, network, its graph, a recording (T,) and what torch makes of it (T,)."""
    model, file = shaken(request.param), tmp_path_factory.mktemp("sherpa") / "step.onnx"
    found = export_sherpa(model, file, RATE)
    assert found.cosine > 0.99999
    wave = noisy_speech(12345)
    with torch.no_grad():
        return request.param, model, file, wave, model(torch.from_numpy(wave)[None])[0, 0].numpy()


def test_offline_in_sherpa(exported):
    _, model, file, wave, expected = exported
    sizes = sherpa_onnx.OfflineSpeechDenoiserModelConfig(
        gtcrn=sherpa_onnx.OfflineSpeechDenoiserGtcrnModelConfig(model=str(file)), num_threads=1
    )
    denoiser = sherpa_onnx.OfflineSpeechDenoiser(sherpa_onnx.OfflineSpeechDenoiserConfig(model=sizes))
    given = denoiser(wave, RATE)
    assert given.sample_rate == RATE
    found = np.asarray(given.samples)
    whole = (len(found) // model.stft.hop - 1) * model.stft.hop  # the last frame has the end mirrored, not zeros
    assert whole > 11000
    assert snr(expected[:whole], found[:whole]) > 60
    assert snr(expected[:whole], wave[:whole]) < 30  # the network does something


def test_online_in_sherpa(exported):
    _, model, file, wave, expected = exported
    sizes = sherpa_onnx.OfflineSpeechDenoiserModelConfig(
        gtcrn=sherpa_onnx.OfflineSpeechDenoiserGtcrnModelConfig(model=str(file)), num_threads=1
    )
    denoiser = sherpa_onnx.OnlineSpeechDenoiser(sherpa_onnx.OnlineSpeechDenoiserConfig(model=sizes))
    assert denoiser.frame_shift_in_samples == model.stft.hop
    for _ in range(2):  # the second recording as the first
        parts = [denoiser(wave[place : place + 777], RATE).samples for place in range(0, len(wave), 777)]
        found = np.concatenate([*parts, denoiser.flush().samples]).astype(np.float32)
        length = min(len(found), len(expected))
        assert length > len(expected) - model.stft.win
        assert snr(expected[:length], found[:length]) > 60


def test_silence_stays_silent_and_does_no_harm(exported):
    _, _, file, wave, expected = exported
    graph = SherpaGraph(file)
    assert not graph(np.zeros((1, 999), np.float32)).any()
    assert snr(expected, graph(wave[None])[0]) > 60


def test_what_the_graph_is(exported):
    name, _, file, _, _ = exported
    proto = onnx.load(file)
    assert [value.name for value in proto.graph.input] == ["mix", "conv_cache", "tra_cache", "inter_cache"]
    assert [value.name for value in proto.graph.output] == [
        "enh",
        *(f"{x}_cache_out" for x in ("conv", "tra", "inter")),
    ]
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["model_type"] == "gtcrn"
    assert properties["window_type"] == "hann_sqrt"
    if name == "gtcrn":
        assert [properties[f"{x}_cache_shape"] for x in ("conv", "tra", "inter")] == [
            "2,1,16,16,33",
            "2,3,1,1,16",
            "2,1,33,16",
        ]
        assert (properties["n_fft"], properties["hop_length"], properties["window_length"]) == ("512", "256", "512")
    else:
        assert [properties[f"{x}_cache_shape"] for x in ("conv", "tra", "inter")] == ["2,4,8", "1", "1"]
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node} or name == "gtcrn"


def test_eight_bits(tmp_path):
    torch.manual_seed(0)
    wide = FastEnhancer(1, **{**NARROW, "block_channels": 64}).eval()
    graph, out = tmp_path / "step.onnx", tmp_path / "int8.onnx"
    export_sherpa(wide, graph, RATE)
    assert export_sherpa_int8(graph, out) > 20
    assert out.stat().st_size < 0.8 * graph.stat().st_size
    wave = noisy_speech(3000)[None]
    assert SherpaGraph(out)(wave).shape == wave.shape


def test_sizes_that_end_sherpa_are_refused(tmp_path):
    model = FastEnhancer(1, **{**NARROW, "hop": 16}).eval()
    with pytest.raises(ValueError, match="window as long as the transform and a hop of half"):
        export_sherpa(model, tmp_path / "step.onnx", RATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window_length": "48"}, "crash"),
        ({"n_fft": "1024"}, "crash"),
        ({"hop_length": "16"}, "noise"),
        ({"window_type": "hann"}, "hann_sqrt"),
        ({"model_type": "dpdfnet"}, "gtcrn"),
        ({"version": "one"}, "whole number"),
        ({"tra_cache_shape": "2"}, "tra_cache_shape is 2"),
        ({"inter_cache_shape": None, "n_fft": None}, "lacks the metadata n_fft, inter_cache_shape"),
    ],
)
def test_metadata_that_end_sherpa_are_refused(changed, message):
    model = FastEnhancer(1, **NARROW).eval()
    inputs = {name: tuple(value.shape) for name, value in SherpaStep(model).examples().items()}
    properties = metadata(model, RATE, "")
    check(properties, inputs, "it")
    properties = {key: changed.get(key, value) for key, value in properties.items()}
    with pytest.raises(ValueError, match=f"^it.*{message}"):
        check({key: value for key, value in properties.items() if value is not None}, inputs, "it")


def test_graph_without_metadata_is_refused(tmp_path):
    file = tmp_path / "plain.onnx"
    value = onnx.helper.make_tensor_value_info("mix", onnx.TensorProto.FLOAT, [1, 257, 1, 2])
    out = onnx.helper.make_tensor_value_info("enh", onnx.TensorProto.FLOAT, [1, 257, 1, 2])
    node = onnx.helper.make_node("Neg", ["mix"], ["enh"])
    graph = onnx.helper.make_graph([node], "plain", [value], [out])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), file)
    with pytest.raises(ValueError, match="lacks the metadata model_type"):
        validate(file)


def exported_by_the_verb(folder, architecture, sizes, *options):
    """Runs stage 8's verb on a checkpoint of a new network; returns the folder."""
    config = EnhancementConfig(task="enhancement", model=SeparatorConfig(architecture, sizes))
    checkpoint = {"model": build_separator(config.model, 1).state_dict(), "config": config_file.to_dict(config)}
    torch.save(checkpoint, folder / "averaged.pt")
    words = ["--checkpoint", "averaged.pt", "--out", "model.onnx", "--streaming", "streaming.onnx", *options]
    export_onnx.main([str(folder / word) if "." in word else word for word in words])
    return folder


def test_the_verb_writes_what_sherpa_streams(tmp_path):
    sizes = {"n_fft": 128, "hop": 64, "hid_size": 32, "fc_size": 32}
    exported_by_the_verb(tmp_path, "nsnet2", sizes, "--streaming-int8", "streaming.int8.onnx")
    for name in ("streaming.onnx", "streaming.int8.onnx"):
        validate(tmp_path / name)
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "streaming.onnx").metadata_props}
    assert properties["architecture"] == "nsnet2"
    assert (tmp_path / "streaming.int8.onnx").stat().st_size < (tmp_path / "streaming.onnx").stat().st_size


def test_the_verb_writes_the_step_of_demucs(tmp_path):
    exported_by_the_verb(tmp_path, "demucs", {"hidden": 2, "depth": 2, "resample": 1})
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "streaming.onnx").metadata_props}
    assert properties["model_type"] == "demucs_streaming"


def test_the_step_of_demucs_in_8_bits_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--streaming-int8 is of networks on spectra; leave it out for demucs"):
        exported_by_the_verb(tmp_path, "demucs", {"hidden": 2, "depth": 2, "resample": 1}, "--streaming-int8", "q.onnx")
    assert not (tmp_path / "q.onnx").exists()


def test_a_graph_that_differs_is_refused(tmp_path):
    wave = np.ones((1, 50), np.float32)
    with pytest.raises(ValueError, match=r"step\.onnx: the streaming graph does not compute what the network does"):
        compared(wave, -wave, tmp_path / "step.onnx")
    assert compared(wave, wave, tmp_path / "step.onnx").holds()


def test_what_cannot_stream_is_said_and_the_rest_written(tmp_path, caplog):
    exported_by_the_verb(tmp_path, "demucs", {"hidden": 2, "depth": 2, "resample": 1, "causal": False})
    assert (tmp_path / "model.onnx").exists()
    assert not (tmp_path / "streaming.onnx").exists()
    assert "demucs has no streaming form" in caplog.text


def test_hops_that_sherpa_cannot_stream_do_not_stop_the_rest(tmp_path, caplog):
    exported_by_the_verb(tmp_path, "nsnet2", {"n_fft": 64, "hop": 16, "hid_size": 8, "fc_size": 8})
    assert (tmp_path / "model.onnx").exists()
    assert not (tmp_path / "streaming.onnx").exists()
    assert "hops of half a window alone, not 16 of 64" in caplog.text


def test_8_bits_of_a_stream_without_the_stream(tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(["--checkpoint", "x.pt", "--out", "x.onnx", "--streaming-int8", "q.onnx"])
    assert "--streaming OUT" in capsys.readouterr().err
