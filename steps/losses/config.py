"""Configuration of the losses (no torch here)."""

from dataclasses import dataclass


@dataclass
class CtcConfig:
    """CTC and what helps it."""

    flat_start_steps: int = 0  # first steps that learn from equal alignments, fading into CTC over their second half
    flat_start_margin: int = 5  # frames (of the encoder) taken for silence at both ends of an equal alignment
    cr_scale: float = 0.0  # CR-CTC: weight of the consistency between two augmented views; 0 for plain CTC

    def __post_init__(self) -> None:
        if self.flat_start_steps < 0 or self.flat_start_margin < 0:
            raise ValueError("loss.flat_start_steps and loss.flat_start_margin must be 0 or more")
        if self.cr_scale < 0:
            raise ValueError(f"loss.cr_scale must be 0 or more, got {self.cr_scale}")
