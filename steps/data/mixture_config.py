"""Configuration of mixtures: how many, of what, how loud (no torch here)."""

from dataclasses import dataclass, field

KINDS = ("full", "partial", "noisy")
SPLITS = ("train", "dev", "test")


@dataclass
class SetSize:
    """Mixtures of each split."""

    train: int = 0
    dev: int = 0
    test: int = 0


def _published_sizes() -> dict[str, SetSize]:
    return {"full": SetSize(50_000, 10_000, 9_000), "partial": SetSize(90_000, 20_000, 20_000)}


@dataclass
class MixtureConfig:
    """Mixtures of talkers, and of talkers with noise. Ranges are [least, most]; each draw is uniform.

    full: the shortest utterance as a whole, the others cut to its length ("min"). partial: two whole utterances that
    overlap by a share of the shorter one ("max"). noisy: one whole utterance in noise.
    """

    sets: dict[str, SetSize] = field(default_factory=_published_sizes)  # a set whose sizes are all 0 is left out
    speakers: int = 2  # in a mixture of full and partial
    sampling_rate: int = 16000  # Hz: 8000 or 16000
    min_seconds: float = 1.0  # shorter utterances are left out
    overlaps: list[float] = field(default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])  # partial: in turn
    gap: list[float] = field(default_factory=lambda: [0.0, 0.5])  # seconds between talkers where the overlap is 0
    levels: str = "lufs"  # lufs: a loudness for each talker, as LibriMix; snr: a difference, as WSJ0-2mix
    loudness: list[float] = field(default_factory=lambda: [-33.0, -25.0])  # LUFS of a talker (ITU-R BS.1770)
    snr: list[float] = field(default_factory=lambda: [0.0, 5.0])  # dB of the loudest talker above each other one
    noise_prob: float = 0.0  # share of mixtures with noise; noisy always has it
    noise_loudness: list[float] = field(default_factory=lambda: [-38.0, -30.0])  # LUFS, where noise_snr is empty
    noise_snr: dict[str, list[float]] = field(default_factory=dict)  # by split: dB of all talkers to the noise
    room_prob: float = 0.0  # share of mixtures heard through impulse responses of rooms
    early_seconds: float = 0.05  # of a room's response that belongs to the reference; the rest is to be taken out
    peak: float = 0.9  # no mixture goes above it: where it might, all its gains are lowered alike

    @property
    def kinds(self) -> list[str]:
        """The sets that have mixtures."""
        return [kind for kind, size in self.sets.items() if size.train + size.dev + size.test > 0]

    def __post_init__(self) -> None:
        for kind in self.sets:
            if kind not in KINDS:
                raise ValueError(f"mixtures.sets: of {', '.join(KINDS)}; got '{kind}'")
        if self.speakers < 2 or ("partial" in self.kinds and self.speakers != 2):
            raise ValueError(f"mixtures.speakers is 2 or more, and 2 for partial; got {self.speakers}")
        if self.sampling_rate not in (8000, 16000):
            raise ValueError(f"mixtures.sampling_rate: 8000 or 16000, got {self.sampling_rate}")
        if self.levels not in ("lufs", "snr"):
            raise ValueError(f"mixtures.levels: lufs or snr, got '{self.levels}'")
        if not self.overlaps or any(not 0 <= share <= 1 for share in self.overlaps):
            raise ValueError(f"mixtures.overlaps: shares between 0 and 1, got {self.overlaps}")
        ranges = {name: getattr(self, name) for name in ("gap", "loudness", "snr", "noise_loudness")}
        ranges |= {f"noise_snr.{split}": values for split, values in self.noise_snr.items()}
        for name, values in ranges.items():
            if len(values) != 2 or values[0] > values[1]:
                raise ValueError(f"mixtures.{name}: [least, most], got {list(values)}")
        if self.noise_snr and set(self.noise_snr) != set(SPLITS):
            raise ValueError(f"mixtures.noise_snr: a range for each of {', '.join(SPLITS)}; got {list(self.noise_snr)}")
        for name in ("noise_prob", "room_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mixtures.{name} is a probability, got {getattr(self, name)}")
        if not 0 < self.peak < 1 or self.min_seconds < 0.4:
            raise ValueError("mixtures.peak lies between 0 and 1; mixtures.min_seconds is 0.4 or more, to measure LUFS")


@dataclass
class MixtureDataConfig:
    """Chunks of mixtures that train a network. `dir` and `enrolments` are paths that run.sh gives."""

    dir: str = ""  # data/<name>: plans, levels, cuts
    kinds: list[str] = field(default_factory=lambda: ["full"])  # sets to train on and to choose on
    mixing: str = "dynamic"  # dynamic: other mixtures each epoch; fixed: those of the plan
    epoch_mixtures: int = 0  # drawn in an epoch; 0 for as many as the plans have
    chunk_seconds: float = 4.0  # of a training chunk; a shorter mixture is followed by silence
    batch_size: int = 16  # chunks in a batch, on each rank
    dev_mixtures: int = 0  # on which epochs are compared, the first of each set; 0 for all
    dev_seconds: float = 0.0  # of a dev mixture at most, from its start; 0 for all
    speeds: list[float] = field(default_factory=lambda: [1.0])  # of a talker in training, drawn evenly: more voices
    noise_speeds: list[float] = field(default_factory=lambda: [1.0])  # of the noise in training: more noises
    noise_layers: float = 0.0  # share of training mixtures in whose noise another one is heard as well
    noise_equaliser: float = 0.0  # dB at most by which bands of a training noise are raised or lowered
    crop_tries: int = 4  # places that are tried until every talker is heard in the chunk
    cache_mb: int = 512  # of decoded utterances that each loading process keeps
    num_workers: int = 2  # processes that load batches; 0 loads in the training process
    enrolments: str = ""  # EXP/enrolments_<split> of talkers to be extracted, up to the underscore

    def __post_init__(self) -> None:
        if self.mixing not in ("dynamic", "fixed"):
            raise ValueError(f"data.mixing: dynamic or fixed, got '{self.mixing}'")
        for name in ("speeds", "noise_speeds"):
            if not getattr(self, name) or any(not 0.5 <= speed <= 2.0 for speed in getattr(self, name)):
                raise ValueError(f"data.{name}: factors between 0.5 and 2, got {getattr(self, name)}")
        if not 0 <= self.noise_layers <= 1 or not 0 <= self.noise_equaliser <= 40:
            raise ValueError(
                f"data.noise_layers is a share from 0 to 1, data.noise_equaliser 0 to 40 dB; got {self.noise_layers} "
                f"and {self.noise_equaliser}"
            )
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise ValueError(f"data.kinds: of {', '.join(KINDS)}; got {self.kinds}")
        for name, least in (("chunk_seconds", 0.1), ("batch_size", 1), ("crop_tries", 1), ("cache_mb", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name} must be at least {least}, got {getattr(self, name)}")
