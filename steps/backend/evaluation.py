"""What each back end gets wrong on dev and test, and which one is best on dev."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.backend.calibration import Calibration, quality_measures
from steps.backend.chain import Backend
from steps.backend.config import BackendConfig
from steps.backend.embeddings import Embeddings
from steps.backend.split import Split
from steps.metrics import verification
from steps.metrics.config import VerificationConfig
from steps.metrics.speaker_bootstrap import speaker_intervals

PERCENT = 100.0


@dataclass
class Scored:
    """One back end's scores of dev and test, raw and as natural-log likelihood ratios."""

    backend: Backend
    calibration: Calibration
    raw: Mapping[str, np.ndarray]  # by split, (M, K) float32
    llr: Mapping[str, np.ndarray]
    joined: Mapping[str, np.ndarray]  # raw scores of models whose utterances were put end to end

    @property
    def name(self) -> str:
        """The chain's name."""
        return self.backend.name


def fitted_chains(train: Embeddings, dev: Embeddings, config: BackendConfig) -> Iterator[Backend]:
    """Each chain of the configuration; those that differ in normalisation alone are fitted once.

    With `config.adapt` they are then adapted to dev, whose speakers' names are not looked at.
    """
    fitted: dict[str, Backend] = {}
    for name in config.chains:
        kind = name.removesuffix("s_norm").removesuffix("_a").rstrip("_")
        if kind not in fitted:
            backend = Backend.fit(name, train.vectors, train.speakers, config)
            fitted[kind] = backend.adapt(dev.vectors, config) if config.adapt else backend
        yield fitted[kind].renamed(name)


def score_chain(backend: Backend, dev: Split, test: Split, config: BackendConfig) -> Scored:
    """Scores both splits, with averaged and with joined enrolments, and calibrates on dev."""
    splits = {"dev": dev, "test": test}
    raw = {name: backend.score(split.averaged(), split.tests) for name, split in splits.items()}
    joined = {name: backend.score(split.concatenated(), split.tests) for name, split in splits.items()}
    calibration = Calibration.fit(raw["dev"], dev.trials.labels, config.calibration_prior)
    return Scored(backend, calibration, raw, {name: calibration.apply(scores) for name, scores in raw.items()}, joined)


def with_quality(scored: Scored, dev: Split, test: Split, config: BackendConfig) -> Mapping[str, np.ndarray]:
    """Log-likelihood ratios of dev and test by split, calibrated on dev with durations, norms and cohort scores."""
    measures = {split.name: _measures(scored.backend, split, config) for split in (dev, test)}
    fitted = Calibration.fit(scored.raw["dev"], dev.trials.labels, config.calibration_prior, *measures["dev"])
    return {name: fitted.apply(scored.raw[name], *measures[name]) for name in measures}


def _measures(backend: Backend, split: Split, config: BackendConfig) -> tuple[np.ndarray, np.ndarray]:
    """(M, P) of the models and (K, P) of the tests."""
    models, tests = backend.cohort_means(split.averaged(), split.tests)
    norms = np.array([np.linalg.norm(vectors, axis=1).mean() for vectors in split.averaged()])
    longest = config.longest_seconds
    return (
        quality_measures(split.enrolled_seconds(), norms, models, longest),
        quality_measures(split.test_seconds(), np.linalg.norm(split.tests, axis=1), tests, longest),
    )


def entry(
    name: str, llr: Mapping[str, np.ndarray], joined: Mapping[str, np.ndarray] | None, splits: Mapping[str, Split],
    config: VerificationConfig, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """One of results.json's "systems": metrics on test with intervals over speakers, and on dev."""
    found = {split: _metrics(llr[split], splits[split], config, seed) for split in ("test", "dev")}
    for split, scores in (joined or {}).items():
        curve = verification.error_curve(scores, splits[split].trials.labels)
        found[split]["eer_joined"] = _value(PERCENT * verification.eer(curve).value, "%")
        for prior in config.priors:
            found[split][f"min_dcf_{prior:g}_joined"] = _value(verification.min_dcf(curve, prior).value)
    return {"name": name, "metrics": found["test"], "dev": {"metrics": found["dev"]}}


def _metrics(llr: np.ndarray, split: Split, config: VerificationConfig, seed: int) -> dict[str, dict[str, Any]]:
    """By name {"value", "unit"}, EER and minDCF with "low" and "high" where there are speakers enough."""
    curve = verification.error_curve(llr, split.trials.labels)
    sides = (split.trials.labels, split.model_speakers, split.test_speakers)
    intervals = speaker_intervals(llr, *sides, config.priors, config.resamples, config.bins, seed)
    equal = verification.eer(curve)
    metrics = {"eer": _value(PERCENT * equal.value, "%")}
    if intervals is not None:
        metrics["eer"] |= {"low": round(PERCENT * intervals.eer.low, 4), "high": round(PERCENT * intervals.eer.high, 4)}
    for prior in config.priors:
        metrics[f"min_dcf_{prior:g}"] = _value(verification.min_dcf(curve, prior).value)
        if intervals is not None:
            bounds = intervals.min_dcf[prior]
            metrics[f"min_dcf_{prior:g}"] |= {"low": round(bounds.low, 5), "high": round(bounds.high, 5)}
    for prior in config.priors:
        metrics[f"act_dcf_{prior:g}"] = _value(verification.act_dcf(curve, prior).value)
    best = verification.accuracy(curve)
    return metrics | {
        "cllr": _value(verification.cllr(curve)),
        "min_cllr": _value(verification.min_cllr(curve)),
        "accuracy": _value(PERCENT * best.value, "%"),  # 1 - min(FAR + FRR)
        "threshold": _value(equal.threshold),  # of the EER, in natural-log likelihood ratios
        "far": _value(PERCENT * float(curve.far(equal.threshold)), "%"),
        "frr": _value(PERCENT * float(curve.frr(equal.threshold)), "%"),
    }


def _value(value: float, unit: str = "") -> dict[str, Any]:
    return {"value": round(float(value), 5), "unit": unit}


def best_on_dev(entries: list[dict[str, Any]]) -> str:
    """The name of the system with the lowest EER on dev; of equals the one with the lowest minDCF, then the first."""

    def key(found: dict[str, Any]) -> list[float]:
        metrics = found["dev"]["metrics"]
        return [metrics["eer"]["value"], *(metrics[name]["value"] for name in metrics if name.startswith("min_dcf"))]

    return min(entries, key=key)["name"]
