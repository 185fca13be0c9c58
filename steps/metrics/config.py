"""Configuration of scoring (no torch here)."""

from dataclasses import dataclass, field


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
