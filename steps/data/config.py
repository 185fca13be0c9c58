"""Configuration of features, batches and augmentation (no torch here, so that every verb can read it)."""

from dataclasses import dataclass, field


@dataclass
class FeatureConfig:
    """Filter banks as Lhotse's `Fbank` computes them by default, which is also sherpa-onnx's front end."""

    num_mel_bins: int = 80
    sampling_rate: int = 16000  # Hz
    speed_perturb: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])  # copies of train; [1.0] for none

    def __post_init__(self) -> None:
        if not self.speed_perturb or any(not 0.5 <= factor <= 2.0 for factor in self.speed_perturb):
            raise ValueError(f"features.speed_perturb: factors between 0.5 and 2, got {self.speed_perturb}")


@dataclass
class DataConfig:
    """What goes into a batch. `dir` and `lang` are paths that run.sh gives."""

    dir: str = ""  # data/<corpus>: cuts_<split>.jsonl.gz
    lang: str = ""  # data/<corpus>/lang_<units>
    max_duration: float = 600.0  # seconds of audio in a batch, on each rank
    max_utterances: int = 10000  # utterances in a batch, on each rank
    min_seconds: float = 0.3  # shorter and longer training utterances are left out
    max_seconds: float = 20.0
    num_buckets: int = 15
    num_workers: int = 2  # processes that load batches; 0 loads in the training process

    def __post_init__(self) -> None:
        if self.max_duration < self.max_seconds:
            raise ValueError(
                f"data.max_duration ({self.max_duration} s a batch) is below data.max_seconds "
                f"({self.max_seconds} s an utterance): the longest utterances would fit no batch"
            )
        if not 0 <= self.min_seconds < self.max_seconds:
            raise ValueError(f"data.min_seconds must be in [0, max_seconds), got {self.min_seconds}")


@dataclass
class AugmentConfig:
    """Changes to training batches. Each draw comes from (seed, epoch, utterance id)."""

    noise_prob: float = 0.0  # share of utterances that get a noise of data/<corpus>/cuts_noise.jsonl.gz
    noise_snr: list[float] = field(default_factory=lambda: [10.0, 20.0])  # dB
    time_warp: int = 0  # frames that the warped point moves at most; 0 for none
    freq_masks: int = 2
    freq_mask_bins: int = 27
    time_masks: int = 10
    time_mask_frames: int = 100
    time_mask_share: float = 0.15  # of an utterance's frames that all time masks together may hide

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise_prob <= 1.0:
            raise ValueError(f"augment.noise_prob is a probability, got {self.noise_prob}")
        if len(self.noise_snr) != 2 or self.noise_snr[0] > self.noise_snr[1]:
            raise ValueError(f"augment.noise_snr: [lowest, highest] in dB, got {self.noise_snr}")
