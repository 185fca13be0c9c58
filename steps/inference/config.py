"""Configuration of running models over files of any length (no torch here)."""

from dataclasses import dataclass


@dataclass
class SeparateConfig:
    """How a long mixture is cut into windows, each separated by itself, and put together again."""

    window_seconds: float = 10.0
    overlap_seconds: float = 2.0  # of neighbours; by what they have in common it is known which output is whose
    batch: int = 1  # windows at a time

    def __post_init__(self) -> None:
        if not 0 < self.overlap_seconds <= self.window_seconds / 2:
            raise ValueError(
                f"separate.overlap_seconds must be above 0 and at most half of separate.window_seconds "
                f"({self.window_seconds:g}), got {self.overlap_seconds:g}"
            )
        if self.batch < 1:
            raise ValueError(f"separate.batch must be at least 1, got {self.batch}")
