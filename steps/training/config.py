"""Configuration of training and averaging (no torch here)."""

from dataclasses import dataclass, field


@dataclass
class TrainingConfig:
    """One optimisation run. Steps are optimiser steps; an epoch is one pass over the training cuts."""

    epochs: int = 30
    lr: float = 1e-3  # peak learning rate
    warmup_steps: int = 1000
    schedule: str = "cosine"  # after the warm-up: cosine, linear, exponential, inverse_sqrt or constant
    final_lr_share: float = 0.01  # where cosine, linear and exponential end, as a share of lr
    optimizer: str = "adamw"  # or sgd, with Nesterov's momentum
    weight_decay: float = 1e-2
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])  # adamw
    momentum: float = 0.9  # sgd
    clip_norm: float = 5.0
    accumulate: int = 1  # batches in an optimiser step
    precision: str = "auto"  # fp32, bf16, fp16; auto is bf16 on a GPU that has it, otherwise fp32
    nonfinite: str = "skip"  # a step with a loss or gradient that is not finite: skip or stop
    max_nonfinite: int = 10  # skips in one run after which it stops all the same
    log_every: int = 50  # steps
    save_every: int = 1000  # steps between checkpoints inside an epoch
    keep_steps: int = 1  # such checkpoints kept; those at the end of an epoch follow keep_epochs
    keep_epochs: int = 0  # newest epoch checkpoints kept; 0 keeps all (averaging needs its range)
    average_period: int = 10  # steps between updates of the running average of the weights
    init_from: str = ""  # checkpoint whose weights start the run (fine-tuning)

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"training.{name}: one of {', '.join(known)}; got '{getattr(self, name)}'")
        for name in ("epochs", "accumulate", "log_every", "save_every", "keep_steps", "average_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        if self.lr <= 0:
            raise ValueError(f"training.lr must be positive, got {self.lr}")


_CHOICES = {
    "schedule": ("cosine", "linear", "exponential", "inverse_sqrt", "constant"),
    "optimizer": ("adamw", "sgd"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "nonfinite": ("skip", "stop"),
}


@dataclass
class AverageConfig:
    """Which averages of the weights compete on dev. Each candidate is a number of last epochs."""

    last_epochs: list[int] = field(default_factory=lambda: [1, 2, 3, 5])

    def __post_init__(self) -> None:
        if not self.last_epochs or min(self.last_epochs) < 1:
            raise ValueError(f"average.last_epochs: numbers of at least 1, got {self.last_epochs}")
