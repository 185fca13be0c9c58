"""The configuration of each task, composed of the dataclasses that the rooms own.

No module imported here needs torch, so that `steps.prepare_lang` and its like start quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from steps.backend.config import BackendConfig
from steps.data.config import AugmentConfig, DataConfig, FeatureConfig, SpeakerDataConfig, WaveAugmentConfig
from steps.data.mixture_config import MixtureConfig, MixtureDataConfig, SetSize
from steps.decoding.config import DecodeConfig
from steps.graph.config import GraphConfig, LangConfig, NgramConfig
from steps.inference.config import EnhanceConfig, SeparateConfig
from steps.losses.config import CtcConfig, EnhancementLossConfig, SeparationLossConfig, SpeakerLossConfig
from steps.metrics.config import ScoreConfig, SpeechScoreConfig, VerificationConfig
from steps.models.config import ConformerConfig, ExtractorConfig, IvectorConfig, SeparatorConfig
from steps.training.config import AverageConfig, TrainingConfig
from utils import config


@dataclass
class AsrConfig:
    """Speech recognition: everything that shapes one experiment."""

    task: str = MISSING
    seed: int = 0
    features: FeatureConfig = field(default_factory=FeatureConfig)
    lang: LangConfig = field(default_factory=LangConfig)
    ngram: NgramConfig = field(default_factory=NgramConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ConformerConfig = field(default_factory=ConformerConfig)
    loss: CtcConfig = field(default_factory=CtcConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


@dataclass
class SpeakerConfig:
    """Speaker recognition: everything that shapes one experiment. `task: ivector` trains no network, but `ivector`."""

    task: str = MISSING
    seed: int = 0
    features: FeatureConfig = field(default_factory=FeatureConfig)
    data: SpeakerDataConfig = field(default_factory=SpeakerDataConfig)
    augment: WaveAugmentConfig = field(default_factory=WaveAugmentConfig)
    model: ExtractorConfig = field(default_factory=ExtractorConfig)
    ivector: IvectorConfig = field(default_factory=IvectorConfig)
    loss: SpeakerLossConfig = field(default_factory=SpeakerLossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    backend: BackendConfig = field(default_factory=BackendConfig)
    score: VerificationConfig = field(default_factory=VerificationConfig)


@dataclass
class SeparationConfig:
    """Speech separation: everything that shapes one experiment."""

    task: str = MISSING
    seed: int = 0
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    data: MixtureDataConfig = field(default_factory=MixtureDataConfig)
    model: SeparatorConfig = field(default_factory=SeparatorConfig)
    loss: SeparationLossConfig = field(default_factory=SeparationLossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    separate: SeparateConfig = field(default_factory=SeparateConfig)
    score: SpeechScoreConfig = field(default_factory=SpeechScoreConfig)


def _noisy_mixtures() -> MixtureConfig:
    return MixtureConfig(sets={"noisy": SetSize(20_000, 1_000, 1_000)})


def _noisy_data() -> MixtureDataConfig:
    return MixtureDataConfig(kinds=["noisy"])


@dataclass
class EnhancementConfig:
    """Speech enhancement: everything that shapes one experiment."""

    task: str = MISSING
    seed: int = 0
    mixtures: MixtureConfig = field(default_factory=_noisy_mixtures)
    data: MixtureDataConfig = field(default_factory=_noisy_data)
    model: SeparatorConfig = field(default_factory=lambda: SeparatorConfig("demucs"))
    loss: EnhancementLossConfig = field(default_factory=EnhancementLossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    enhance: EnhanceConfig = field(default_factory=EnhanceConfig)
    score: SpeechScoreConfig = field(default_factory=SpeechScoreConfig)


SCHEMAS: dict[str, type] = {
    "asr": AsrConfig,
    "speaker": SpeakerConfig,
    "ivector": SpeakerConfig,
    "separation": SeparationConfig,
    "enhancement": EnhancementConfig,
}


def load_config(file: Path | str, overrides: Sequence[str] = ()) -> Any:
    """Loads a recipe's YAML with `key=value` overrides as the dataclass that its `task:` names.

    Raises utils.config.ConfigError with the way out.
    """
    task = config.peek(file, "task")
    if task not in SCHEMAS:
        raise config.ConfigError(f"{file}: task is {task!r}; expected one of {', '.join(SCHEMAS)}")
    return config.load(SCHEMAS[task], file, overrides)
