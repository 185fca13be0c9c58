"""Configuration of the models (no torch here)."""

from dataclasses import dataclass


@dataclass
class ConformerConfig:
    """Conformer encoder with a CTC output layer (Gulati et al. 2020, table 1 has the paper's sizes)."""

    layers: int = 12
    dim: int = 256
    heads: int = 4
    feedforward_dim: int = 2048
    kernel: int = 31  # of the depthwise convolution, frames; odd
    subsampling_channels: int = 64
    dropout: float = 0.1
    layer_drop: float = 0.0  # probability that a training step skips a layer (stochastic depth)

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"model.dim ({self.dim}) must be a multiple of model.heads ({self.heads})")
        if self.kernel % 2 == 0:
            raise ValueError(f"model.kernel must be odd, so that it is centred; got {self.kernel}")
