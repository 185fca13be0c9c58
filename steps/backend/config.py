"""Configuration of the back ends (no torch here)."""

from dataclasses import dataclass, field

COMPARISONS = ("cosine", "lda", "plda", "lda_plda")  # "lda" ends in a cosine too
NORMALISATIONS = ("", "s_norm", "as_norm")
CHAINS = tuple("_".join(filter(None, (one, norm))) for one in COMPARISONS for norm in NORMALISATIONS)


@dataclass
class BackendConfig:
    """How embeddings become scores, and which ways of doing so are compared."""

    chains: list[str] = field(default_factory=lambda: list(CHAINS))
    lda_dim: int = 150  # no more than training speakers - 1 are left of it
    shrinkage: float | None = None  # of covariances towards a multiple of the identity, 0 to 1; null: estimated (OAS)
    plda_iterations: int = 10  # of EM
    adapt: bool = False  # mean, cohort and PLDA to dev, as unlabelled speech of the domain that is scored
    across_scale: float = 0.25  # unsupervised adaptation: share of the excess variance that speakers differ by
    within_scale: float = 0.75  # ... and that utterances of a speaker differ by
    cohort_speakers: int = 3000  # at most, chosen by seed; 0 for all training speakers
    cohort_utterances: int = 0  # of each, at most, chosen by seed; 0 for all
    top_n: int = 300  # cohort scores that as_norm looks at
    calibration_prior: float = 0.01  # effective prior of a target trial that calibration is best for
    longest_seconds: float = 20.0  # more speech than this is no better, for calibration with quality measures
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.chains if name not in CHAINS]
        if unknown or not self.chains:
            raise ValueError(f"backend.chains: one or more of {', '.join(CHAINS)}; got '{', '.join(unknown)}'")
        for name, least in (("lda_dim", 1), ("plda_iterations", 1), ("top_n", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"backend.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("across_scale", "within_scale", "cohort_speakers", "cohort_utterances"):
            if getattr(self, name) < 0:
                raise ValueError(f"backend.{name} must not be negative, got {getattr(self, name)}")
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"backend.shrinkage must lie in 0 to 1 or be null, got {self.shrinkage}")
        if not 0 < self.calibration_prior < 1 or self.longest_seconds <= 0:
            raise ValueError("backend.calibration_prior must lie between 0 and 1, longest_seconds above 0")
