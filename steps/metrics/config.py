"""Configuration of scoring (no torch here)."""

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class ScoreConfig:
    """How hypotheses are compared with references, and what is chosen on dev."""

    unit: str = "char"  # char: character error rate, spaces aside; word: word error rate
    nfkc: bool = True  # full-width letters and digits count as the plain ones
    upper: bool = True  # case does not count
    graph_scales: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 1.7, 2.0])
    word_bonuses: list[float] = field(default_factory=lambda: [-1.0, -0.5, 0.0, 0.5, 1.0])  # natural log, a word
    resamples: int = 10000  # of the bootstrap
    resample_by: str = "speaker"  # speaker: the utterances of each go together; utterance

    def __post_init__(self) -> None:
        for name, known in (("unit", ("char", "word")), ("resample_by", ("speaker", "utterance"))):
            if getattr(self, name) not in known:
                raise ValueError(f"score.{name}: one of {', '.join(known)}; got '{getattr(self, name)}'")
        if self.resamples < 100:
            raise ValueError(f"score.resamples must be at least 100, got {self.resamples}")
        if not self.graph_scales or not self.word_bonuses:
            raise ValueError("score.graph_scales and score.word_bonuses need at least one value each")


@dataclass
class VerificationConfig:
    """How speaker recognition is measured. Rates and shares are shares, not percent."""

    enrolment_utterances: int = 3  # a model, where the corpus defines no enrolments
    priors: list[float] = field(default_factory=lambda: [0.01, 0.001])  # of a target, in detection costs
    resamples: int = 1000  # of the bootstrap over speakers
    bins: int = 512  # thresholds of the bootstrap; its EER and minDCF are exact to about 1 / bins
    folds: int = 10  # draws of known and unknown speakers in open-set identification
    unknown_share: float = 0.5  # of the speakers with models
    gallery_sizes: list[int] = field(default_factory=lambda: [5, 10, 20, 50, 100, 200, 500])  # and all known speakers
    fpirs: list[float] = field(default_factory=lambda: [0.01, 0.1])  # false positive identification rates
    fars: list[float] = field(default_factory=lambda: [0.1, 0.05, 0.01, 0.005, 0.001, 0.0001])  # in the threshold table
    durations: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0, 3.0, 5.0])  # seconds; and uncut
    plot_points: int = 500  # of ROC and DET

    def __post_init__(self) -> None:
        for name in ("priors", "fpirs", "fars"):
            values = getattr(self, name)
            if not values or not all(0 < value < 1 for value in values):
                raise ValueError(f"score.{name}: expected numbers between 0 and 1, got {values}")
        if not all(seconds > 0 for seconds in self.durations):
            raise ValueError(f"score.durations: expected positive seconds, got {self.durations}")
        if not 0 < self.unknown_share < 1:
            raise ValueError(f"score.unknown_share must lie between 0 and 1, got {self.unknown_share}")
        for name, least in (("enrolment_utterances", 1), ("resamples", 100), ("bins", 16), ("folds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"score.{name} must be at least {least}, got {getattr(self, name)}")
        if any(size < 2 for size in self.gallery_sizes):
            raise ValueError(f"score.gallery_sizes: expected at least 2 speakers, got {self.gallery_sizes}")


SPEECH_METRICS = ("si_sdr", "sdr", "pesq_wb", "pesq_nb", "stoi", "estoi", "leak")


@dataclass
class SpeechScoreConfig:
    """How separated and enhanced speech is measured, and in which buckets means are taken."""

    metrics: list[str] = field(default_factory=lambda: list(SPEECH_METRICS))
    zero_mean: bool = True  # SI-SDR of signals without their means, as asteroid's; torchmetrics' default keeps them
    permute: bool = True  # SI-SDR finds which output is which talker; false: output i is talker i, as in extraction
    frame_seconds: float = 0.02  # of frames in which a talker speaks or is silent
    silence: float = -40.0  # dB; a talker's frames that far below the loudest one are silent
    overlaps: list[float] = field(default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])  # a mixture is of the nearest
    level_edges: list[float] = field(default_factory=lambda: [-5.0, 0.0, 5.0])  # dB of a talker above the other
    snr_edges: list[float] = field(default_factory=lambda: [0.0, 5.0, 10.0, 15.0])  # dB
    resamples: int = 1000  # of the bootstrap
    resample_by: str = "speakers"  # speakers: the mixtures of one talker, or pair of talkers, go together; mixture

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in SPEECH_METRICS]
        if unknown or "si_sdr" not in self.metrics:
            raise ValueError(f"score.metrics: si_sdr and any of {', '.join(SPEECH_METRICS[1:])}; got {self.metrics}")
        if self.resample_by not in ("speakers", "mixture"):
            raise ValueError(f"score.resample_by: speakers or mixture, got '{self.resample_by}'")
        for name in ("overlaps", "level_edges", "snr_edges"):
            values = getattr(self, name)
            if not values or any(low >= high for low, high in pairwise(values)):
                raise ValueError(f"score.{name}: expected ascending numbers, got {values}")
        if self.frame_seconds <= 0 or self.silence >= 0:
            raise ValueError(
                "score.frame_seconds is positive, score.silence negative (dB from a talker's loudest frame)"
            )
        if self.resamples < 100:
            raise ValueError(f"score.resamples must be at least 100, got {self.resamples}")
