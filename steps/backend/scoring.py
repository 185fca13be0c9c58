"""A run's trials scored with every back end: what goes into EXP/score and results.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steps.backend import conditions, evaluation
from steps.backend.embeddings import job_folders, read_embeddings, read_stats
from steps.backend.split import Split, read_excerpts, read_split
from steps.metrics import verification
from steps.metrics.bootstrap import LEVEL
from steps.metrics.thresholds import threshold_table
from steps.tasks.config import SpeakerConfig
from utils import atomic

CURVES = "curves.json"  # points of each back end's DET and ROC
QUALITY = "_qmf"  # of the name of a system that is calibrated with quality measures


def score_run(exp: Path, out: Path, config: SpeakerConfig, genres: Mapping[str, str]) -> dict[str, Any]:
    """Scores dev and test of `exp`, writes scores and the chosen back end to `out`, and returns what was measured.

    Returns {"systems", "chosen", "thresholds", "open_set", "durations", "genres", "trials", "stats", ...}
    for results.json.
    """
    train = read_embeddings(exp / "embeddings_train")
    dev, test = (read_split(exp, name) for name in ("dev", "test"))
    splits = {"dev": dev, "test": test}
    entries, kept = [], {}
    for backend in evaluation.fitted_chains(train, dev.utterances, config.backend):
        scored = evaluation.score_chain(backend, dev, test, config.backend)
        entries.append(evaluation.entry(scored.name, scored.llr, scored.joined, splits, config.score, config.seed))
        kept[scored.name] = scored
        np.save(out / f"{scored.name}.npy", scored.raw["test"])
    chosen = kept[evaluation.best_on_dev(entries)]
    quality = evaluation.with_quality(chosen, dev, test, config.backend)
    entries.append(evaluation.entry(chosen.name + QUALITY, quality, None, splits, config.score, config.seed))
    excerpts = read_excerpts(exp, "test", config.score.durations)
    curves = {name: _curves(scored, test, config) for name, scored in kept.items()}
    atomic.write_text(out / CURVES, json.dumps(curves))
    thresholds = _deploy(out / "backend", chosen, dev, config)
    return {
        "systems": entries,
        "chosen": chosen.name,
        "utterances": len(test.trials.tests),
        "speakers": len(set(test.test_speakers) | set(test.model_speakers)),
        "bootstrap": _bootstrap_facts(test, config),
        "trials": _counts(test),
        "thresholds": thresholds,
        "open_set": conditions.open_set(chosen.llr["test"], test, config.score, config.seed),
        "durations": conditions.duration_matrix(chosen.backend, test, excerpts),
        "genres": conditions.genre_matrix(chosen.llr["test"], test, genres),
        "stats": cost([read_stats(part) for part in job_folders(exp / "embeddings_test")]),
    }


def _deploy(folder: Path, chosen: evaluation.Scored, dev: Split, config: SpeakerConfig) -> list[dict[str, Any]]:
    """Writes what enrolment and identification need, and returns the table of thresholds of dev."""
    folder.mkdir()
    chosen.backend.save(folder / "backend.npz")
    curve = verification.error_curve(chosen.llr["dev"], dev.trials.labels)
    table = [row.to_dict() for row in threshold_table(curve, config.score.fars)]
    decision = {"chain": chosen.name, "calibration": chosen.calibration.to_dict(), "thresholds": table}
    atomic.write_json(folder / "decision.json", json.loads(json.dumps(decision)))
    return table


def _bootstrap_facts(test: Split, config: SpeakerConfig) -> dict[str, Any]:
    groups = len(set(test.test_speakers) | set(test.model_speakers))
    return {"level": LEVEL, "resamples": config.score.resamples, "by": "speaker", "groups": groups}


def _counts(test: Split) -> dict[str, int]:
    labels = test.trials.labels
    return {
        "models": len(test.trials.models),
        "tests": len(test.trials.tests),
        "targets": int((labels == 1).sum()),
        "nontargets": int((labels == 0).sum()),
    }


def _curves(scored: evaluation.Scored, test: Split, config: SpeakerConfig) -> dict[str, list[list[float]]]:
    """Points of DET (normal deviates) and ROC (rates), rounded: far, then frr or the share accepted."""
    curve = verification.error_curve(scored.llr["test"], test.trials.labels)
    count = config.score.plot_points
    return {
        name: [np.round(axis, 5).tolist() for axis in of(curve, count)]
        for name, of in (("det", verification.det), ("roc", verification.roc))
    }


def cost(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all jobs of an extraction: seconds of audio, real-time factors, device, parameters, memory."""
    audio = sum(part["audio_seconds"] for part in parts)
    spent = {kind: sum(part["seconds"].get(kind, 0.0) for part in parts) for kind in ("features", "network")}
    return {
        "audio_seconds": round(audio, 3),
        "rtf": {kind: round(seconds / max(audio, 1e-9), 6) for kind, seconds in spent.items()},
        "threads": parts[0]["threads"],
        "parameters": parts[0]["parameters"],
        "device": parts[0]["device"],
        "peak_memory": {
            kind: max(part["peak_memory"].get(kind, 0) for part in parts) for kind in parts[0]["peak_memory"]
        },
    }
