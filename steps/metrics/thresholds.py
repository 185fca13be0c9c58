"""Which threshold? A table from the scores of held-out speakers, shipped with the model.

A false acceptance rate is only as good as the number of false acceptances that it was read from. By Doddington's rule
of 30 (Doddington et al., "The NIST speaker recognition evaluation", 2000) 30 errors put the true rate within 30 % of
the measured one with 90 % confidence, if trials are independent; trials that share speakers are less so. A row with
fewer is marked as unsupported, and one that asks for less than one error among all trials has no threshold at all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from steps.metrics.bootstrap import LEVEL, Interval
from steps.metrics.verification import ErrorCurve, threshold_at_far

FEWEST_ERRORS = 30


@dataclass(frozen=True)
class Threshold:
    """A row: the least threshold that lets at most a share `target_far` of non-target trials pass."""

    target_far: float
    threshold: float | None  # None where there are fewer than 1 / target_far non-target trials
    supported: bool  # by FEWEST_ERRORS non-target trials that may pass
    errors: int  # non-target trials at or above the threshold
    nontargets: int  # trials behind the row
    far: Interval  # that the true rate lies in at LEVEL, were trials independent (Clopper and Pearson)
    targets: int
    frr: float | None

    def to_dict(self) -> dict[str, Any]:
        """The row by name, for JSON."""
        return asdict(self)


def threshold_table(curve: ErrorCurve, fars: Sequence[float]) -> list[Threshold]:
    """A row for each rate, highest first. Raises ValueError for a rate that does not lie between 0 and 1."""
    return [_row(curve, far) for far in sorted(set(fars), reverse=True)]


def choose(table: Sequence[Threshold], far: float) -> float:
    """The threshold for `far`.

    Raises ValueError where the table has no such row, or too few trials support it, naming what it has instead.
    """
    usable = [row for row in table if row.supported]
    rates = ", ".join(f"{row.target_far:g}" for row in usable) or "none"
    for row in table:
        if np.isclose(row.target_far, far, rtol=1e-9, atol=0):
            if row.threshold is None or not row.supported:
                raise ValueError(
                    f"a FAR of {far:g} needs {needed(far)} non-target trials, the table was made from "
                    f"{row.nontargets}: measure on more speakers, or take one of {rates}"
                )
            return row.threshold
    raise ValueError(f"no threshold was measured for a FAR of {far:g}; there is one for {rates}")


def needed(far: float) -> int:
    """The number of non-target trials from which a rate is supported."""
    return int(np.ceil(FEWEST_ERRORS / far * (1 - 1e-12)))


def far_for_gallery(fpir: float, models: int) -> float:
    """The FAR a pair at which an unknown voice passes as any of `models` with probability `fpir`: 1 - (1 - fpir)^(1/N).

    It takes the scores against the models as independent, which errs on the safe side for scores that go together.
    """
    return float(-np.expm1(np.log1p(-fpir) / models))


def _row(curve: ErrorCurve, target_far: float) -> Threshold:
    if not 0 < target_far < 1:
        raise ValueError(f"a target FAR must lie between 0 and 1, got {target_far}")
    trials = len(curve.nontargets)
    supported = trials >= needed(target_far)
    if target_far * trials < 1 - 1e-12:
        far = Interval(0.0, 1.0)
        return Threshold(target_far, None, supported, 0, trials, far, len(curve.targets), None)
    threshold = threshold_at_far(curve.nontargets, target_far)
    errors = round(float(curve.far(threshold)) * trials)
    return Threshold(
        target_far,
        threshold,
        supported,
        errors,
        trials,
        clopper_pearson(errors, trials),
        len(curve.targets),
        float(curve.frr(threshold)),
    )


def clopper_pearson(errors: int, trials: int) -> Interval:
    """Bounds of a rate of which `errors` in `trials` independent trials were seen, at LEVEL or above."""
    tail = (1 - LEVEL) / 2
    low = beta.ppf(tail, errors, trials - errors + 1) if errors else 0.0
    high = beta.ppf(1 - tail, errors + 1, trials - errors) if errors < trials else 1.0
    return Interval(float(low), float(high))
