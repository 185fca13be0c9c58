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


@dataclass
class SpeakerDataConfig:
    """Chunks that train an extractor of speaker embeddings. `dir` is a path that run.sh gives."""

    dir: str = ""  # data/<corpus>: cuts_<split>.jsonl.gz
    chunk_seconds: float = 2.0  # of a training chunk; a shorter utterance is repeated until it fills one
    batch_size: int = 128  # chunks in a batch, on each rank
    utterances_per_speaker: int = 0  # 0: any utterances; M: batches hold M utterances of each of their speakers (GE2E)
    min_seconds: float = 0.5  # shorter training utterances are left out
    min_utterances: int = 1  # training speakers with fewer utterances are left out
    dev_seconds: float = 10.0  # of a dev utterance at most, when epochs are compared
    dev_utterances: int = 20  # of each dev speaker at most, chosen by the seed
    batch_seconds: float = 100.0  # of audio in a batch of whole utterances
    num_workers: int = 2  # processes that load batches; 0 loads in the training process

    def __post_init__(self) -> None:
        if self.chunk_seconds < 0.1 or self.min_seconds < 0:
            raise ValueError("data.chunk_seconds must be at least 0.1, data.min_seconds at least 0")
        if self.batch_size < 2 or (self.utterances_per_speaker and self.batch_size % self.utterances_per_speaker):
            raise ValueError(
                f"data.batch_size must be at least 2 and a multiple of data.utterances_per_speaker "
                f"({self.utterances_per_speaker}); got {self.batch_size}"
            )
        if self.utterances_per_speaker == 1:
            raise ValueError("data.utterances_per_speaker is 0 (any) or at least 2: one has no others to resemble")


@dataclass
class WaveAugmentConfig:
    """Changes to the waveform of a training chunk. Each draw comes from (seed, epoch, utterance id).

    Signal-to-noise ratios are wespeaker's for noise and music and Kaldi's for babble.
    """

    prob: float = 0.6  # share of chunks that get one of `kinds`, evenly among those that the data has
    kinds: list[str] = field(default_factory=lambda: ["noise", "music", "babble", "reverb"])
    noise_snr: list[float] = field(default_factory=lambda: [0.0, 15.0])  # dB
    music_snr: list[float] = field(default_factory=lambda: [5.0, 15.0])
    babble_snr: list[float] = field(default_factory=lambda: [13.0, 20.0])
    babble_talkers: list[int] = field(default_factory=lambda: [3, 7])  # where the data has single talkers
    speeds: list[float] = field(default_factory=lambda: [1.0, 0.9, 1.1])  # each but 1.0 makes new speakers
    speed_prob: float = 1.0  # share of chunks whose speed is drawn, evenly from `speeds`; the others keep theirs

    def __post_init__(self) -> None:
        known = ("noise", "music", "babble", "reverb")
        if set(self.kinds) - set(known):
            raise ValueError(f"augment.kinds: of {', '.join(known)}; got {self.kinds}")
        if not 0 <= self.prob <= 1 or not 0 <= self.speed_prob <= 1:
            raise ValueError("augment.prob and augment.speed_prob are probabilities")
        if not self.speeds or self.speeds[0] != 1.0 or any(not 0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ValueError(f"augment.speeds: 1.0 first, then factors between 0.5 and 2; got {self.speeds}")
        for name in ("noise_snr", "music_snr", "babble_snr", "babble_talkers"):
            least, most = [*getattr(self, name), 0, 0][:2]
            if len(getattr(self, name)) != 2 or least > most:
                raise ValueError(f"augment.{name}: [least, most], got {getattr(self, name)}")
