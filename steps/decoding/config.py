"""Configuration of the searches (no torch here, so that every verb can read it)."""

from dataclasses import dataclass, field

METHODS = ("ctc_greedy", "ctc_prefix_beam", "graph_1best", "graph_nbest")


@dataclass
class DecodeConfig:
    """How posteriors become words. Beams are differences of natural-log probability."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    batch_seconds: float = 200.0  # audio in a batch of the network
    prefix_beam: int = 8  # prefixes kept after each frame
    prefix_tokens: int = 8  # tokens tried in a frame at most, besides blank
    prefix_token_beam: float = 9.0  # tokens this much less likely than the frame's best are not tried
    acoustic_scale: float = 1.0  # of the log-posteriors against the graph during the search
    search_beam: float = 16.0  # paths this much worse than the frame's best are dropped
    lattice_beam: float = 8.0  # hypotheses this much worse than the best are not in the n-best list
    min_active: int = 30  # states kept in a frame whatever the beam says
    max_active: int = 10000
    nbest: int = 50  # distinct word sequences for graph_nbest

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods:
            raise ValueError(f"decode.methods: some of {', '.join(METHODS)}; got {self.methods}")
        for name in ("prefix_beam", "prefix_tokens", "max_active", "nbest"):
            if getattr(self, name) < 1:
                raise ValueError(f"decode.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("batch_seconds", "prefix_token_beam", "acoustic_scale", "search_beam", "lattice_beam"):
            if not getattr(self, name) > 0:
                raise ValueError(f"decode.{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.min_active <= self.max_active:
            raise ValueError(f"decode.min_active must be in [0, max_active], got {self.min_active}")
