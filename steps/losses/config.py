"""Configuration of the losses (no torch here)."""

from dataclasses import dataclass, field


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


SPEAKER_LOSSES = ("softmax", "am", "aam", "sphereface2", "ge2e_softmax", "ge2e_contrast")


@dataclass
class SpeakerLossConfig:
    """How speakers are told apart in training."""

    kind: str = "aam"
    scale: float = 32.0  # of cosines; am, aam, sphereface2
    margin: float = 0.2  # at its height: radians for aam and sphereface2 of type A, a cosine for the others
    margin_start_epoch: float = 20.0  # epochs done when it begins to rise from 0
    margin_end_epoch: float = 40.0  # epochs done when it is at its height; 0 here and above: from the first batch on
    subcenters: int = 1  # vectors for each speaker, the nearest counts; am, aam (3 is usual)
    inter_topk: int = 0  # nearest wrong speakers that are made harder; am, aam (5 is usual, 0 when fine-tuning)
    inter_topk_penalty: float = 0.06  # by how much, at a margin of 0.2
    exponent: int = 3  # sphereface2: t, which spreads similarities near 1
    positive_weight: float = 0.7  # sphereface2: lambda, the share of the true speaker in the loss
    margin_type: str = "C"  # sphereface2: C subtracts the margin from the similarity, A adds it to the angle

    def __post_init__(self) -> None:
        if self.kind not in SPEAKER_LOSSES:
            raise ValueError(f"loss.kind: one of {', '.join(SPEAKER_LOSSES)}; got '{self.kind}'")
        if self.margin_type not in ("A", "C"):
            raise ValueError(f"loss.margin_type: A or C; got '{self.margin_type}'")
        if self.scale <= 0 or not 0 <= self.margin <= 1 or not 0 <= self.inter_topk_penalty <= 0.2:
            raise ValueError("loss.scale must be above 0, loss.margin in 0..1, loss.inter_topk_penalty in 0..0.2")
        if not 0 <= self.margin_start_epoch <= self.margin_end_epoch:
            raise ValueError("loss.margin_start_epoch must be 0 or more, and not after loss.margin_end_epoch")
        if self.subcenters < 1 or self.inter_topk < 0:
            raise ValueError("loss.subcenters must be 1 or more, loss.inter_topk 0 or more")
        if self.kind not in ("am", "aam") and (self.subcenters > 1 or self.inter_topk > 0):
            raise ValueError(f"loss.subcenters and loss.inter_topk are for am and aam; leave them out with {self.kind}")
        if self.exponent < 1 or not 0 < self.positive_weight < 1:
            raise ValueError("loss.exponent must be 1 or more, loss.positive_weight between 0 and 1")


SEPARATION_LOSSES = ("si_sdr", "sa_sdr")


@dataclass
class SeparationLossConfig:
    """How estimates of several talkers are compared with the truth; all levels in dB."""

    kind: str = "si_sdr"  # each source by itself at any scale, or sa_sdr: all sources together, at the right scale
    soft_threshold: float = 30.0  # an estimate this good gains little by becoming better; at most 40
    silence: float = 50.0  # a target this far below the mixture is silent: its estimate need only be quiet
    zero_mean: bool = True  # take means off first, so that an offset of the recording counts for nothing

    def __post_init__(self) -> None:
        if self.kind not in SEPARATION_LOSSES:
            raise ValueError(f"loss.kind: one of {', '.join(SEPARATION_LOSSES)}; got '{self.kind}'")
        for name, most in (("soft_threshold", 40), ("silence", 100)):
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"loss.{name} is in dB, above 0 and at most {most}; got {getattr(self, name)}")


@dataclass
class EnhancementLossConfig:
    """What an enhanced waveform is compared by: a sum of losses, each times its weight; 0 leaves one out.

    STFTs are [n_fft, hop, window] in samples, those given here for 16 kHz.
    """

    l1: float = 1.0  # mean distance of samples
    stft: float = 0.5  # spectral convergence and distance of log magnitudes, the mean over resolutions
    si_sdr: float = 0.0  # minus SI-SDR in dB: its weight is small beside the others'
    compressed: float = 0.0  # squared distance of spectra whose magnitudes are raised to `exponent`
    resolutions: list[list[int]] = field(
        default_factory=lambda: [[512, 50, 240], [1024, 120, 600], [2048, 240, 1200]]  # of stft
    )
    frames: list[int] = field(default_factory=lambda: [512, 256, 512])  # the STFT of compressed
    exponent: float = 0.3
    complex_share: float = 0.3  # of compressed: real and imaginary parts; the rest are magnitudes
    soft_threshold: float = 30.0  # of si_sdr, in dB: an estimate this good gains little by becoming better
    silence: float = 50.0  # dB; a target this far below the mixture is silent, and is compared with the mixture's level

    def __post_init__(self) -> None:
        if min(self.l1, self.stft, self.si_sdr, self.compressed) < 0:
            raise ValueError("loss: weights are 0 or more (l1, stft, si_sdr, compressed)")
        if not self.l1 + self.stft + self.compressed > 0:
            raise ValueError(
                "loss: one of l1, stft and compressed needs a weight above 0, since si_sdr leaves open how loud the "
                "output is, and its sign"
            )
        for sizes in (*self.resolutions, self.frames):
            if len(sizes) != 3 or not 1 <= sizes[1] <= sizes[2] <= sizes[0]:
                raise ValueError(
                    f"loss.resolutions and loss.frames: [n_fft, hop, window], hop <= window <= n_fft; got {sizes}"
                )
        if not self.resolutions:
            raise ValueError("loss.resolutions needs at least one; loss.stft=0 leaves the whole loss out")
        if not 0 < self.exponent <= 1 or not 0 <= self.complex_share <= 1:
            raise ValueError("loss.exponent lies in 0..1 and is not 0, loss.complex_share in 0..1")
        if not 0 < self.soft_threshold <= 40 or not 0 < self.silence <= 100:
            raise ValueError("loss.soft_threshold is in dB, above 0 and at most 40, loss.silence at most 100")
