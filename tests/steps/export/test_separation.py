"""Separators as ONNX: equal to torch at every length, what 8 bits cost, and never kept when they differ."""

import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch import Tensor, nn

from steps import export_onnx, run_onnx
from steps.export import runner, separation
from steps.export.graph import agreement, open_graph
from steps.models.config import SeparatorConfig
from steps.models.fingerprint import weights_hash
from steps.models.recurrent import outputs
from steps.models.tasnet import Decoder, Encoder, covered
from steps.training.checkpoint import save_checkpoint

RATE, F, E = 8000, 24, 5
TYPES = {"separation": 2, "enhancement": 1, "target_speaker_extraction": 1}


class Tiny(nn.Module):
    """A layer of each kind that separators have."""

    def __init__(self, sources: int, embedding: int = 0):
        super().__init__()
        self.sources, self.embedding_dim = sources, embedding
        self.encoder, self.decoder = Encoder(F, 16, 8), Decoder(F, 16, 8)
        self.pointwise, self.depthwise = nn.Conv1d(F, F, 1), nn.Conv1d(F, F, 3, padding=1, groups=F)
        self.rnn, self.linear = nn.LSTM(F, 16, batch_first=True, bidirectional=True), nn.Linear(32, sources * F)
        self.voice = nn.Linear(embedding, F) if embedding else None

    def forward(self, mixture: Tensor, enrolment: Tensor | None = None) -> Tensor:
        """(N, T), (N, E) -> (N, S, T)"""
        frames = self.encoder(covered(mixture, 16, 8))
        hidden = torch.relu(self.depthwise(self.pointwise(frames)))
        if self.voice is not None:
            hidden = hidden * torch.sigmoid(self.voice(enrolment)).unsqueeze(2)
        masks = torch.sigmoid(self.linear(outputs(self.rnn, hidden.transpose(1, 2)))).transpose(1, 2)
        masks = masks.reshape(mixture.shape[0], self.sources, F, -1)
        return self.decoder(masks * frames.unsqueeze(1))[..., : mixture.shape[1]]


def config(kind: str) -> SimpleNamespace:
    windows = SimpleNamespace(window_seconds=7.5, overlap_seconds=2.0)
    architecture = "voicefilter" if kind.startswith("target") else "conv_tasnet"
    task = "enhancement" if kind == "enhancement" else "separation"
    return SimpleNamespace(
        task=task, model=SeparatorConfig(architecture), mixtures=SimpleNamespace(sampling_rate=RATE),
        **{"enhance" if task == "enhancement" else "separate": windows},
    )  # fmt: skip


def tiny(kind: str, seed: int = 1) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(TYPES[kind], E if kind.startswith("target") else 0).eval()


def export(folder: Path, kind: str, *arguments: str, loads: nn.Module | None = None) -> Path:
    """Runs the verb on a checkpoint of which only the task counts; `loads` is what is loaded from it."""
    task = config(kind).task
    save_checkpoint(folder / "averaged.pt", {"config": {"task": task}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separation, "load_network", lambda path, device, *tasks: (loads or tiny(kind), config(kind)))
        out = folder / "model.onnx"
        export_onnx.main(["--checkpoint", f"{folder / 'averaged.pt'}", "--out", f"{out}", *arguments])
    return out


def mixtures(folder: Path, rate: int = RATE) -> Path:
    """Three recordings of noise that swells."""
    folder.mkdir(parents=True)
    for seed, samples in enumerate((3001, 4999, 2003)):
        wave = 0.1 * np.random.default_rng(seed).normal(size=samples) * np.sin(np.arange(samples) / 900)
        soundfile.write(folder / f"{seed}.flac", wave, rate, subtype="PCM_24")
    return folder


@pytest.fixture(scope="module", params=TYPES)
def exported(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    options = ("--int8", f"{folder / 'int8.onnx'}", "--mixtures", f"{mixtures(folder / 'mix')}")
    return request.param, export(folder, request.param, *options)


def test_equal_to_torch(exported):
    kind, file = exported
    model = tiny(kind)
    for count, samples in ((1, 17), (3, 33), (1, 331), (2, 1999), (1, 8089)):
        case = separation._case(count, samples, model.embedding_dim, seed=samples)
        found = agreement(model, file, [case])
        assert found.cosine > 1 - 1e-9, samples
        assert found.relative < 1e-5, samples


def test_borders_and_metadata(exported):
    kind, file = exported
    session = open_graph(file)
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    voice = {"enrolment": ["N", E]} if kind.startswith("target") else {}
    assert inputs == {"mixture": ["N", "T"], **voice}
    assert [entry.name for entry in session.get_outputs()] == ["sources"]
    assert session.get_modelmeta().custom_metadata_map == {
        "model_type": kind,
        "sample_rate": "8000",
        "n_src": f"{TYPES[kind]}",
        "architecture": "voicefilter" if voice else "conv_tasnet",
        "model_hash": weights_hash(tiny(kind).state_dict()),
        "window_seconds": "7.5",
        "overlap_seconds": "2",
    }


def test_what_is_in_8_bits(exported):
    """The pointwise convolution, the recurrent and the linear layer; not the encoder, depthwise and decoder."""
    graph = onnx.load(exported[1].with_name("int8.onnx")).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert (kinds["ConvInteger"], kinds["DynamicQuantizeLSTM"], kinds["Conv"], kinds["ConvTranspose"]) == (1, 1, 2, 1)
    assert kinds["MatMulInteger"] == (2 if exported[0].startswith("target") else 1)
    assert kinds["LSTM"] == kinds["MatMul"] == kinds["Gemm"] == 0
    metadata = open_graph(exported[1].with_name("int8.onnx")).get_modelmeta().custom_metadata_map
    assert metadata["model_type"] == exported[0]


def test_8_bits_are_near_32(exported):
    """By SI-SDR computed another way: what least squares leave of the power."""
    kind, file = exported
    precise, rounded = open_graph(file), open_graph(file.with_name("int8.onnx"))
    voice = {n: v.numpy() for n, v in separation._case(1, 1, tiny(kind).embedding_dim, 0).items()}
    values = []
    waves = separation.read_mixtures(file.with_name("mix"), file)
    for wave in waves:
        case = {**voice, "mixture": wave[None]}
        for one, other in zip(*(session.run(None, case)[0][0] for session in (precise, rounded)), strict=True):
            _, residual, *_ = np.linalg.lstsq(one[:, None].astype(np.float64), other.astype(np.float64), rcond=None)
            power = float(np.square(other, dtype=np.float64).sum())
            values.append(10 * np.log10((power - residual[0]) / residual[0]))
    said = separation.export_int8(
        file, file.with_name("again.onnx"), separation.read_mixtures(file.with_name("mix"), file)
    )
    assert said == pytest.approx(np.median(values), abs=0.3)
    assert said > 25


def test_the_graph_runs(exported, tmp_path):
    """What the runner writes is what the network puts out, at the level of the mixture."""
    kind, file = exported
    wave = separation.read_mixtures(file.with_name("mix"), file)[0]
    case = separation._case(1, 1, tiny(kind).embedding_dim, seed=3) | {"mixture": torch.from_numpy(wave)[None]}
    with torch.no_grad():
        expected = tiny(kind)(*case.values())[0].numpy()
    options = []
    if "enrolment" in case:
        np.save(tmp_path / "voice.npy", case["enrolment"][0].numpy())
        options = ["--enrolment", f"{tmp_path / 'voice.npy'}"]
    sound = file.with_name("mix") / "0.flac"
    run_onnx.main(["--model", f"{file}", "--out", f"{tmp_path / 'out'}", *options, f"{sound}"])
    found = np.stack([soundfile.read(path)[0] for path in sorted((tmp_path / "out").glob("*.wav"))])
    assert len(found) == TYPES[kind]
    if kind == "enhancement":
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        np.testing.assert_allclose(found, runner.levels(wave, expected) * expected, atol=1e-4)


def test_a_graph_that_differs_is_not_kept(exported, tmp_path, monkeypatch):
    kind, file = exported
    monkeypatch.setattr(separation, "export_graph", lambda model, out, *_: out.write_bytes(file.read_bytes()))
    with pytest.raises(ValueError, match=r"averaged\.pt does not compute what the network does: cosine .*not kept"):
        export(tmp_path, kind, loads=tiny(kind, seed=2))
    assert not (tmp_path / "model.onnx").exists()


def test_8_bits_that_lose_too_much_are_not_kept(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(separation, "LEAST_SI_SDR", 90.0)
    save_checkpoint(tmp_path / "averaged.pt", {"config": {"task": "separation"}})
    (tmp_path / "model.onnx").write_bytes(exported[1].read_bytes())
    arguments = ["--checkpoint", tmp_path / "averaged.pt", "--out", tmp_path / "model.onnx"]
    arguments += ["--int8", tmp_path / "int8.onnx", "--mixtures", exported[1].with_name("mix")]
    with pytest.raises(ValueError, match=r"in 8 bits is \d+\.\d dB SI-SDR from float32, expected 90 or more"):
        export_onnx.main([f"{argument}" for argument in arguments])
    assert not (tmp_path / "int8.onnx").exists()


def test_mixtures_to_measure_on(exported, tmp_path):
    file = exported[1]
    found = separation.read_mixtures(file.with_name("mix"), file)
    assert [len(wave) for wave in found] == [3001, 4999, 2003]
    with pytest.raises(ValueError, match=r"has no \.flac and no \.wav"):
        separation.read_mixtures(tmp_path, file)
    with pytest.raises(ValueError, match="not one channel at 8000 Hz"):
        separation.read_mixtures(mixtures(tmp_path / "fast", 16000), file)
    with pytest.raises(ValueError, match=r"no mixture of those .* gives any sound"):
        separation.export_int8(file, tmp_path / "q.onnx", [])


def test_the_log_keeps_its_level(exported, tmp_path):
    level = logging.getLogger().level
    separation.export_int8(
        exported[1], tmp_path / "q.onnx", separation.read_mixtures(exported[1].with_name("mix"), exported[1])
    )
    assert logging.getLogger().level == level


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("speaker", [], "is a speaker model: it needs --backend EXP/score/backend"),
        ("separation", ["--backend", "{}"], "is a model of separation, which has no back end: leave --backend out"),
    ],
)
def test_options_of_other_tasks(tmp_path, task, options, message):
    save_checkpoint(tmp_path / "averaged.pt", {"config": {"task": task}})
    (tmp_path / "backend").mkdir()
    options = [option.format(tmp_path / "backend") for option in options]
    out = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=message):
        export_onnx.main(["--checkpoint", f"{tmp_path / 'averaged.pt'}", "--out", f"{out}", *options])
    assert not out.exists()


def test_8_bits_need_mixtures(tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(["--checkpoint", "x.pt", "--out", "x.onnx", "--int8", "q.onnx"])
    assert "--int8 and --mixtures go together" in capsys.readouterr().err
