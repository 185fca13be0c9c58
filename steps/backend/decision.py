"""What score_trials decided on dev: the chain, its calibration, and the thresholds that its trials support."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from steps.backend.calibration import Calibration
from steps.metrics.bootstrap import Interval
from steps.metrics.thresholds import Threshold, choose, far_for_gallery

FILE = "decision.json"
LEAST_SPREAD = 1e-3  # of scores, natural log


@dataclass(frozen=True)
class Decision:
    """Calibration to natural-log likelihood ratios, and thresholds on those."""

    chain: str
    calibration: Calibration
    table: list[Threshold]

    @classmethod
    def load(cls, folder: Path) -> "Decision":
        """Reads decision.json of EXP/score/backend. Raises OSError, or ValueError for another kind of file."""
        file = folder / FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; steps.score_trials (stage 7) makes it")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            rows = [Threshold(**{**row, "far": Interval(**row["far"])}) for row in values["thresholds"]]
            return cls(values["chain"], Calibration.from_dict(values["calibration"]), rows)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no decision that this version reads ({error}); score again") from error

    def for_pair(self, far: float) -> float:
        """The threshold at which a stranger passes as one given speaker with probability `far`.

        Raises ValueError where the table does not support that, with the rates that it does.
        """
        return choose(self.table, far)

    def for_gallery(self, fpir: float, models: int) -> float:
        """The threshold at which a stranger passes as any of `models` speakers with probability `fpir` or less.

        It is that of the highest supported FAR a pair that gives it. Raises ValueError where there is none, with the
        least FPIR that the table supports for that many speakers.
        """
        if not 0 < fpir < 1 or models < 1:
            raise ValueError(f"an FPIR lies between 0 and 1, in a gallery of one speaker or more: {fpir:g}, {models}")
        needed = far_for_gallery(fpir, models)
        supported = sorted(row.target_far for row in self.table if row.supported)
        low_enough = [far for far in supported if far <= needed * (1 + 1e-9)]
        if low_enough:
            return self.for_pair(low_enough[-1])
        way_out = "measure on more speakers"
        if supported:
            least = -np.expm1(models * np.log1p(-supported[0]))
            way_out += f", or take --fpir {np.ceil(least * 1e4) / 1e4:g} (a FAR of {supported[0]:g}) or more"
        raise ValueError(
            f"an FPIR of {fpir:g} with {models} speakers needs a FAR of {needed:.2g} a pair, which the table does not "
            f"support: {way_out}"
        )

    def strictest(self) -> float | None:
        """The highest threshold of the table, whether many trials support it or not; None where it has none."""
        return max((row.threshold for row in self.table if row.threshold is not None), default=None)

    def same_voice(self, frr: float) -> float:
        """The threshold below which two recordings of one voice score with probability `frr`, or the EER's if lower.

        Through (FRR, threshold) of the rows a normal distribution of target scores is laid (a line in probits: a DET
        curve is straight in them); likewise for non-targets, and where both reject the same share lies the EER. The
        EER's threshold is an upper bound, since above it a check refuses more right enrolments than wrong ones.
        """
        rows = [row for row in self.table if row.threshold is not None]
        if not rows:
            raise ValueError("the table of thresholds has no threshold at all: measure on more speakers")
        thresholds = np.array([row.threshold for row in rows], dtype=np.float64)
        mean, spread = _line(np.array([row.frr for row in rows], dtype=np.float64), thresholds)
        strangers, their_spread = _line(1 - np.array([row.errors / row.nontargets for row in rows]), thresholds)
        equal = (mean * their_spread + strangers * spread) / (spread + their_spread)
        return float(min(mean + spread * norm.ppf(frr), equal))


def _line(rejected: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a normal distribution of scores of which shares lie below thresholds, both (n,).

    Shares of 0 and 1 have no probit. Where fewer than two others are left, nothing is known of the spread, and the
    highest threshold that rejects none, or else the lowest of all, stands for the distribution.
    """
    inside = (rejected > 0) & (rejected < 1)
    if len(np.unique(rejected[inside])) < 2:
        without = thresholds[rejected <= 0]
        return float(without.max() if len(without) else thresholds.min()), LEAST_SPREAD
    spread, mean = np.polyfit(norm.ppf(rejected[inside]), thresholds[inside], 1)
    return float(mean), max(float(spread), LEAST_SPREAD)
