"""Configuration of the models (no torch here)."""

from dataclasses import dataclass, field
from typing import Any


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


ARCHITECTURES = ("dvector", "xvector", "resnet18", "resnet34", "resnet221", "resnet293", "ecapa_tdnn", "campplus")


@dataclass
class ExtractorConfig:
    """A network from filter banks to one embedding for each utterance."""

    architecture: str = "resnet34"
    embedding_dim: int = 256
    channels: int = (
        0  # width: of ResNet's first block, ECAPA's and the TDNN's layers, the LSTM; 0 for the published one
    )
    global_context: bool = True  # ecapa_tdnn: attention sees the statistics of the whole utterance
    last_frame: bool = True  # dvector: its output as published, or the mean over frames, which needs less speech

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"model.architecture: one of {', '.join(ARCHITECTURES)}; got '{self.architecture}'")
        if self.embedding_dim < 1 or self.channels < 0:
            raise ValueError("model.embedding_dim must be 1 or more, model.channels 0 (as published) or more")


@dataclass
class IvectorConfig:
    """I-vectors: cepstra, a mixture of Gaussians (the UBM), and factors that move its means (T).

    Sizes are those of Kaldi's recipes: 2048 full covariances, 72 dimensions, 400 factors, the longest utterances.
    """

    num_ceps: int = 24  # cepstra of a frame; with first and second differences three times as many
    delta_window: int = 3  # frames to each side that a difference looks at
    cmn_window: int = 300  # frames over which the mean of the cepstra is taken off
    vad_below_mean: float = 2.0  # a frame is speech down to this far below the mean level, natural log of energy
    vad_context: int = 2  # frames to each side that a speech decision looks at; 0 for none
    num_gauss: int = 2048
    full_covariance: bool = True
    top_k: int = 20  # Gaussians that a frame may belong to; 0 for all
    variance_floor: float = 0.001  # share of the variance of all frames
    ubm_frames: int = 5_000_000  # that train the UBM, drawn evenly from the utterances; they lie in memory
    kmeans_frames: int = 500_000  # of those, for the first clusters
    kmeans_iterations: int = 10
    diagonal_iterations: int = 10  # of EM with diagonal covariances
    full_iterations: int = 4  # of EM with full covariances after that
    embedding_dim: int = 400
    prior_offset: float = 0.0  # 0: the paper's model; above (Kaldi: 100), the means are the offset's column of T
    iterations: int = 5  # of EM for T
    max_utterances: int = 100_000  # the longest ones train; short ones do T harm

    def __post_init__(self) -> None:
        counts = ("num_ceps", "delta_window", "cmn_window", "num_gauss", "embedding_dim", "max_utterances")
        for name in (*counts, "ubm_frames", "kmeans_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"ivector.{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("vad_context", "top_k", "prior_offset", "vad_below_mean"):
            if getattr(self, name) < 0:
                raise ValueError(f"ivector.{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 < self.variance_floor < 1:
            raise ValueError(f"ivector.variance_floor is a share between 0 and 1, got {self.variance_floor}")


SEPARATORS = (
    "conv_tasnet",
    "dprnn_tasnet",
    "dptnet",
    "sudormrf",
    "sudormrf_improved",
    "blstm_mask",
    "voicefilter",
    "demucs",
    "dccrn",
    "dcunet",
    "gtcrn",
    "nsnet2",
    "fast_enhancer",
)


@dataclass
class SeparatorConfig:
    """A network from one waveform to one or several.

    `sizes` are the arguments of the architecture's class other than the number of sources, under asteroid's or
    denoiser's names; what is not given is as published.
    """

    architecture: str = "conv_tasnet"
    sizes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in SEPARATORS:
            raise ValueError(f"model.architecture: one of {', '.join(SEPARATORS)}; got '{self.architecture}'")
