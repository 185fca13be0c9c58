"""Each extractor as ONNX: equal to torch at every length, equal in sherpa-onnx, and never kept when it is not."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import sherpa_onnx
import torch
from torch import nn

from steps import export_onnx
from steps.backend.calibration import Calibration
from steps.backend.decision import Decision
from steps.data.features import make_extractor
from steps.export import speaker
from steps.export.graph import agreement
from steps.metrics.thresholds import threshold_table
from steps.metrics.verification import error_curve
from steps.models import campplus, dvector, ecapa_tdnn, resnet
from steps.models.config import ExtractorConfig
from steps.models.extractors import build_extractor
from steps.models.fingerprint import weights_hash
from steps.models.speaker import SpeakerModel
from steps.tasks.config import SpeakerConfig
from steps.tasks.speaker import load_speaker_model
from steps.training.checkpoint import save_checkpoint
from utils import atomic
from utils import config as config_file

SIZE = 12
NARROW = {"dvector": 16, "xvector": 16, "resnet18": 4, "ecapa_tdnn": 16, "campplus": 4}
RATE = 16000


@dataclass
class Run:
    """What stages 5 and 7 leave, and what stage 8 makes of it."""

    checkpoint: Path
    backend: Path
    out: Path

    def arguments(self) -> list[str]:
        return ["--checkpoint", f"{self.checkpoint}", "--backend", f"{self.backend}", "--out", f"{self.out}"]

    def model(self) -> tuple[nn.Module, SpeakerConfig]:
        return load_speaker_model(self.checkpoint, torch.device("cpu"))


def write_run(folder: Path, architecture: str, task: str = "speaker", bins: int = 80, seed: int = 1) -> Run:
    """A checkpoint with random weights and statistics, and a decision made on random scores."""
    torch.manual_seed(seed)
    config = SpeakerConfig(task=task, model=ExtractorConfig(architecture, SIZE, NARROW[architecture]))
    config.features.num_mel_bins = bins
    model = SpeakerModel(build_extractor(config.model, bins))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            for scale in module.parameters():
                nn.init.uniform_(scale, 0.5, 1.5)
    save_checkpoint(folder / "averaged.pt", {"model": model.state_dict(), "config": config_file.to_dict(config)})

    labels = np.repeat([1, 0], [20, 1000])
    scores = np.random.default_rng(0).normal(labels * 2.0)
    calibration = Calibration.fit(scores, labels)
    table = threshold_table(error_curve(calibration.apply(scores), labels), [0.1, 0.001])
    rows = [row.to_dict() for row in table]
    (folder / "backend").mkdir()
    decision = {"chain": "cosine", "calibration": calibration.to_dict(), "thresholds": rows}
    atomic.write_json(folder / "backend" / "decision.json", decision)
    return Run(folder / "averaged.pt", folder / "backend", folder / "model.onnx")


@pytest.fixture(scope="module", params=NARROW)
def exported(request, tmp_path_factory):
    """A run with one extractor, exported. To be quick, with a layer of each kind where the architecture has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campplus, "BLOCKS", ((1, 1), (1, 2)))
        patch.setattr(dvector, "LAYERS", 2)
        patch.setitem(resnet.BLOCKS, 18, (1, 1, 1, 1))
        patch.setattr(ecapa_tdnn, "SCALE", 4)
        run = write_run(tmp_path_factory.mktemp(request.param), request.param)
        export_onnx.main(run.arguments())
        yield run


def test_equal_to_torch(exported):
    generator = torch.Generator().manual_seed(5)
    model, _ = exported.model()
    for count, frames in [(1, 1), (1, 2), (2, 15), (1, 99), (3, 160), (1, 161), (2, 199), (1, 200), (1, 201), (2, 333)]:
        found = agreement(model, exported.out, [{"x": 4 * torch.randn(count, frames, 80, generator=generator) - 6}])
        assert found.cosine > 1 - 1e-9, frames
        assert found.relative < 1e-5, frames


def test_equal_in_sherpa_onnx(exported):
    model, config = exported.model()
    fbank = make_extractor(config.features)
    options = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=f"{exported.out}", num_threads=1)
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(options)
    assert extractor.dim == SIZE
    ours, theirs = [], []
    for voice, seconds in enumerate((1.2347, 0.5, 3.33)):
        samples = speech(seconds, pitch=90 + 60 * voice)
        with torch.no_grad():
            ours.append(model(torch.from_numpy(fbank.extract(samples, RATE)).unsqueeze(0))[0].numpy())
        stream = extractor.create_stream()
        stream.accept_waveform(RATE, samples)
        stream.input_finished()
        theirs.append(np.array(extractor.compute(stream)))
    for one, other in zip(ours, theirs, strict=True):
        assert cosine(one, other) > 0.9999
        assert np.linalg.norm(one - other) < 1e-2 * np.linalg.norm(ours[0] - ours[2])  # of what tells voices apart


def test_metadata(exported):
    model, config = exported.model()
    found = {entry.key: entry.value for entry in onnx.load(exported.out).metadata_props}
    decision = Decision.load(exported.backend)
    assert json.loads(found.pop("thresholds")) == [row.to_dict() for row in decision.table]
    assert Calibration.from_dict(json.loads(found.pop("calibration"))).scale == decision.calibration.scale
    assert "log likelihood ratios" in found.pop("comment")
    assert found == {
        "framework": "3d-speaker",
        "output_dim": "12",
        "sample_rate": "16000",
        "normalize_samples": "1",
        "feature_normalize_type": "global-mean",
        "language": "zh",
        "url": "",
        "architecture": config.model.architecture,
        "model_hash": weights_hash(model.extractor.state_dict()),
        "chain": "cosine",
    }


def test_a_graph_that_differs_is_not_kept(exported, tmp_path, monkeypatch):
    architecture = exported.model()[1].model.architecture
    run = write_run(tmp_path, architecture, seed=2)
    monkeypatch.setattr(speaker, "export_graph", lambda model, file, *_: shutil.copy(exported.out, file))
    with pytest.raises(ValueError, match=r"averaged\.pt does not compute what the model does: cosine -?0\..*not kept"):
        export_onnx.main(run.arguments())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["averaged.pt", "backend"]


@pytest.mark.parametrize(
    ("task", "bins", "language", "message"),
    [
        ("ivector", 80, "zh", "holds i-vectors.*steps.enroll_speakers and steps.identify_speaker use it as it is"),
        ("asr", 80, "zh", "model of task 'asr'; those of speaker, separation and enhancement can be exported"),
        ("speaker", 40, "zh", "trained on 40 mel bins.*train with features.num_mel_bins=80"),
        ("speaker", 80, "", "--language is empty"),
    ],
)
def test_what_cannot_be_exported(tmp_path, task, bins, language, message):
    run = write_run(tmp_path, "xvector", task, bins)
    with pytest.raises(ValueError, match=message):
        export_onnx.main([*run.arguments(), "--language", language])
    assert not run.out.exists()


def test_without_a_decision(tmp_path):
    run = write_run(tmp_path, "xvector")
    (run.backend / "decision.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"steps\.score_trials \(stage 7\) makes it"):
        export_onnx.main(run.arguments())


def speech(seconds: float, pitch: float) -> np.ndarray:
    """(samples,) float32: harmonics of a moving pitch in syllables, a little noise, and digital silence at the end."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 2.3 * time))) / RATE
    voiced = sum(np.sin(order * phase) / order for order in range(1, 20)) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    noise = np.random.default_rng(round(pitch)).normal(size=len(time))
    return np.where(time < 0.9 * seconds, 0.1 * voiced + 0.003 * noise, 0.0).astype(np.float32)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
