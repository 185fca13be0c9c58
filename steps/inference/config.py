"""Configuration of running models over files of any length (no torch here)."""

from dataclasses import dataclass


@dataclass
class SeparateConfig:
    """How a long mixture is cut into windows, each separated by itself, and put together again."""

    window_seconds: float = 10.0
    overlap_seconds: float = 2.0  # of neighbours; by what they have in common it is known which output is whose
    batch: int = 1  # windows at a time

    def __post_init__(self) -> None:
        check_windows("separate", self.window_seconds, self.overlap_seconds, self.batch)


@dataclass
class EnhanceConfig:
    """How recordings are enhanced. Causal networks take them as they come and need no windows."""

    window_seconds: float = 10.0
    overlap_seconds: float = 1.0  # of neighbours, over which one is faded into the next
    batch: int = 1  # windows at a time
    dry: float = 0.0  # share of the input in the output, 0..1; the rest is what the network makes of it

    def __post_init__(self) -> None:
        check_windows("enhance", self.window_seconds, self.overlap_seconds, self.batch)
        if not 0 <= self.dry <= 1:
            raise ValueError(f"enhance.dry is a share between 0 (enhanced alone) and 1 (as it came), got {self.dry:g}")


def check_windows(section: str, window: float, overlap: float, batch: int) -> None:
    """Raises ValueError for windows that cannot be put together again, naming the keys of `section`; in seconds."""
    if not 0 < overlap <= window / 2:
        raise ValueError(
            f"{section}.overlap_seconds must be above 0 and at most half of {section}.window_seconds "
            f"({window:g}), got {overlap:g}"
        )
    if batch < 1:
        raise ValueError(f"{section}.batch must be at least 1, got {batch}")
