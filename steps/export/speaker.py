"""The extractor of speakers' embeddings as a graph that sherpa-onnx runs as it is.

sherpa-onnx computes the features that `steps.data.features` defines, takes their mean off as the graph itself does
(twice is as good as once), and returns the embedding. What decides on top of that, the back end's calibration and its
table of thresholds, lies in the metadata for those who score.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from steps.backend.decision import Decision
from steps.export.graph import Agreement, agreement, export_graph
from steps.models.fingerprint import weights_hash
from steps.models.speaker import SpeakerModel
from steps.tasks.config import SpeakerConfig
from steps.tasks.speaker import load_speaker_model

MEL_BINS = 80  # of every speaker model in sherpa-onnx
LENGTHS = (7, 98, 100, 101, 233, 457)  # frames; around whole segments of 100 and windows of 160, and between them


def export_speaker(checkpoint: Path, backend: Path, out: Path, language: str) -> Agreement:
    """Writes the checkpoint's extractor to `out`, compares both, and returns how far apart they are.

    Input `x` (N, T, 80) float32 log-mel, output `embedding` (N, E), not of length 1; `backend` is EXP/score/backend.
    Raises ValueError for features that sherpa-onnx does not compute, and where graph and checkpoint differ.
    """
    model, config = load_speaker_model(checkpoint, torch.device("cpu"))
    bins = config.features.num_mel_bins
    if bins != MEL_BINS:
        raise ValueError(
            f"{checkpoint} was trained on {bins} mel bins, sherpa-onnx gives a speaker model {MEL_BINS}: "
            f"train with features.num_mel_bins={MEL_BINS}, or leave the export out (--skip-stages 8)"
        )
    properties = metadata(model, config, Decision.load(backend), language)
    example = {"x": _features(2, max(LENGTHS), seed=0)}
    export_graph(model, out, example, ["embedding"], {"x": {0: "N", 1: "T"}}, properties)
    cases = ({"x": _features(1 + row % 2, frames, seed=row)} for row, frames in enumerate(LENGTHS))
    found = agreement(model, out, cases)
    if not found.holds():
        raise ValueError(
            f"the graph of {checkpoint} does not compute what the model does: cosine {found.cosine:.6f}, difference "
            f"{found.relative:.2g} of the largest value (nan: not finite); it was not kept"
        )
    return found


def metadata(model: SpeakerModel, config: SpeakerConfig, decision: Decision, language: str) -> dict[str, str]:
    """What sherpa-onnx reads of a speaker model (its "3d-speaker" kind), and what we say of it; all of it text.

    `calibration` turns scores of the back end `chain` into natural-log likelihood ratios, with which `thresholds`
    compare: JSON of `Calibration.to_dict` and of a list of `Threshold.to_dict`. Raises ValueError for no language.
    """
    if not language:
        raise ValueError("--language is empty; sherpa-onnx wants one, such as zh")
    architecture = config.model.architecture
    return {
        "framework": "3d-speaker",
        "output_dim": str(model.extractor.embedding_dim),
        "sample_rate": str(config.features.sampling_rate),
        "normalize_samples": "1",
        "feature_normalize_type": "global-mean",
        "language": language,
        "url": "",
        "comment": f"{architecture}; thresholds are of log likelihood ratios of the back end {decision.chain}",
        "architecture": architecture,
        "model_hash": weights_hash(model.extractor.state_dict()),
        "chain": decision.chain,
        "calibration": json.dumps(decision.calibration.to_dict()),
        "thresholds": json.dumps([row.to_dict() for row in decision.table]),
    }


def _features(count: int, frames: int, seed: int) -> Tensor:
    """(count, frames, 80) of the level and spread that log-mel energies of speech have."""
    generator = torch.Generator().manual_seed(seed)
    level = -8.0 + 3.0 * torch.randn(count, 1, MEL_BINS, generator=generator)
    return level + 3.0 * torch.randn(count, frames, MEL_BINS, generator=generator)
