"""Calibration: scores become natural-log likelihood ratios, on which decisions can be made.

Linear, by logistic regression weighted for an effective prior (Brümmer and du Preez, "Application-independent
evaluation of speaker detection", 2006). With quality measures of both sides it is the "quality measure function" of
Thienpondt, Desplanques and Demuynck, "The IDLab VoxSRC-20 submission" (2021). What a calibrated score is compared
with is `metrics.verification.bayes_threshold`.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

QUALITIES = ("log_seconds", "norm", "cohort_mean")
ITERATIONS, ENOUGH = 100, 1e-10  # of Newton's method; decrement at which it ends
RIDGE = 1e-9  # against measures that say the same twice; far below what trials say


@dataclass
class Calibration:
    """llr = scale * score + enrol @ enrol_weights + test @ test_weights + offset."""

    scale: float
    offset: float
    enrol_weights: np.ndarray  # (P,), of quality measures of the model, or (0,)
    test_weights: np.ndarray  # (P,), of the test, or (0,)
    prior: float

    @classmethod
    def fit(
        cls,
        scores: np.ndarray,
        labels: np.ndarray,
        prior: float = 0.01,
        enrol: np.ndarray | None = None,
        test: np.ndarray | None = None,
    ) -> "Calibration":
        """From scores (M, K) and labels (M, K): 1 target, 0 non-target, -1 no trial.

        `prior` is the effective prior for which the mean logarithmic cost (Cllr at 0.5) is least. enrol (M, P), test
        (K, P): quality measures, without them any shape of scores will do. Targets count as targets by all but one in
        their number + 2, and non-targets likewise (Platt 1999), so that scores without overlap get finite weights: the
        log posterior odds cannot exceed what that many trials can show. Raises ValueError when targets or non-targets
        are missing, or a value is not finite.
        """
        features, targets = _trials(scores, labels, enrol, test)
        counts = np.array([np.sum(~targets), np.sum(targets)])
        if not counts.all():
            raise ValueError(f"calibration needs targets and non-targets, got {counts[1]} and {counts[0]}")
        if not np.isfinite(features).all():
            raise ValueError("calibration got scores or quality measures that are not finite")
        if not 0 < prior < 1:
            raise ValueError(f"the prior of calibration must lie between 0 and 1, got {prior}")
        means, spreads = features.mean(axis=0), features.std(axis=0)
        constant = spreads <= 1e-9 * np.abs(means)
        spreads[constant] = np.inf  # says nothing: weight 0
        shares = np.where(targets, prior / counts[1], (1 - prior) / counts[0])
        doubts = shares / (counts[targets.astype(int)] + 2)
        weights = np.where(targets, (shares - doubts, doubts), (doubts, shares - doubts))
        solution = _regression((features - means) / spreads, weights, np.log(prior / (1 - prior)))
        slopes = solution[:-1] / spreads
        if slopes[0] <= 0:
            logging.warning(f"calibration found a slope of {slopes[0]:.3g}: higher scores do not mean the same speaker")
        half = (len(slopes) - 1) // 2
        offset = solution[-1] - slopes @ means
        return cls(float(slopes[0]), float(offset), slopes[1 : 1 + half], slopes[1 + half :], prior)

    def apply(self, scores: np.ndarray, enrol: np.ndarray | None = None, test: np.ndarray | None = None) -> np.ndarray:
        """Scores (M, K) -> natural-log likelihood ratios (M, K) float32; enrol (M, P) and test (K, P) as in `fit`."""
        given = [0 if side is None else side.shape[1] for side in (enrol, test)]
        if given != [len(self.enrol_weights), len(self.test_weights)]:
            raise ValueError(f"calibration was fitted with {len(self.enrol_weights)} quality measures, got {given}")
        ratios = np.float32(self.scale) * scores.astype(np.float32, copy=False)
        if enrol is None or test is None:
            return ratios + np.float32(self.offset)
        ratios += (enrol @ self.enrol_weights + self.offset).astype(np.float32)[:, None]
        ratios += (test @ self.test_weights).astype(np.float32)
        return ratios

    def to_dict(self) -> dict[str, Any]:
        """Numbers and lists, for JSON or a model's metadata."""
        lists = {name: [float(w) for w in getattr(self, name)] for name in ("enrol_weights", "test_weights")}
        return {"scale": self.scale, "offset": self.offset, **lists, "prior": self.prior}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """The inverse of `to_dict`. Raises ValueError that names a key that is missing or not known."""
        fields = {"scale", "offset", "enrol_weights", "test_weights", "prior"}
        if wrong := fields ^ set(values):
            raise ValueError(f"calibration: expected the keys {sorted(fields)}; missing or unknown: {sorted(wrong)}")
        weights = (np.array(values[name], dtype=np.float64) for name in ("enrol_weights", "test_weights"))
        return cls(float(values["scale"]), float(values["offset"]), *weights, float(values["prior"]))


def quality_measures(
    seconds: np.ndarray, norms: np.ndarray, cohort_means: np.ndarray, longest: float = 20.0
) -> np.ndarray:
    """(n, 3), as QUALITIES: log of seconds of speech (0.1 to `longest`), norm of the embedding, mean cohort score.

    Of a model with several utterances: seconds together, mean norm, and the cohort's mean of the model.
    """
    return np.column_stack([np.log(np.clip(seconds, 0.1, longest)), norms, cohort_means]).astype(np.float64)


def _trials(
    scores: np.ndarray, labels: np.ndarray, enrol: np.ndarray | None, test: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 1 + 2 P) and whether each of the n trials is a target."""
    if scores.shape != labels.shape or (enrol is None) != (test is None):
        raise ValueError(f"expected labels of the scores' shape {scores.shape}, got {labels.shape}; both sides or none")
    chosen = labels >= 0
    columns = [scores[chosen].astype(np.float64)[:, None]]
    if enrol is not None and test is not None:
        if (len(enrol), len(test)) != scores.shape or enrol.shape[1] != test.shape[1]:
            raise ValueError(f"expected measures (M, P), (K, P) for scores {scores.shape}: {enrol.shape}, {test.shape}")
        models, tests = np.nonzero(chosen)
        columns += [enrol[models], test[tests]]
    return np.column_stack(columns), labels[chosen] > 0


def _regression(features: np.ndarray, weights: np.ndarray, prior_odds: float) -> np.ndarray:
    """(Q + 1,): slopes and offset that minimise the logarithmic cost; Newton's method, halving steps that are too long.

    features (n, Q); weights (2, n): how much each trial counts as a target, and as a non-target.
    """
    features = np.column_stack([features, np.ones(len(features))])
    both = weights.sum(axis=0)

    def cost(solution: np.ndarray) -> float:
        odds = features @ solution + prior_odds
        softplus = np.maximum(odds, 0) + np.log1p(np.exp(-np.abs(odds)))  # of -odds it is this - odds
        return float(both @ softplus - weights[0] @ odds + 0.5 * RIDGE * solution @ solution)

    solution = np.zeros(features.shape[1])
    value = cost(solution)
    for _ in range(ITERATIONS):
        posterior = expit(features @ solution + prior_odds)
        gradient = features.T @ (both * posterior - weights[0]) + RIDGE * solution
        hessian = (features.T * (both * posterior * (1 - posterior))) @ features + RIDGE * np.eye(len(solution))
        step = np.linalg.solve(hessian, gradient)
        decrement, length = float(gradient @ step), 1.0
        if decrement < ENOUGH * value:
            break
        while (lower := cost(solution - length * step)) > value - 0.1 * length * decrement and length > 1e-6:
            length /= 2
        solution, value = solution - length * step, lower
    return solution
