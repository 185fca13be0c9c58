"""The configuration of each task, composed of the dataclasses that the rooms own.

No module imported here needs torch, so that `steps.prepare_lang` and its like start quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from steps.data.config import AugmentConfig, DataConfig, FeatureConfig
from steps.decoding.config import DecodeConfig
from steps.graph.config import GraphConfig, LangConfig, NgramConfig
from steps.losses.config import CtcConfig
from steps.metrics.config import ScoreConfig
from steps.models.config import ConformerConfig
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


def load_config(file: Path | str, overrides: Sequence[str] = ()) -> AsrConfig:
    """Loads a recipe's YAML with `key=value` overrides; raises utils.config.ConfigError with the way out."""
    return config.load(AsrConfig, file, overrides)
