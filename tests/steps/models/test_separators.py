"""Every experiment of separation and enhancement can be built, and a wrong size is named."""

from pathlib import Path

import pytest
import torch

from steps.models.config import SEPARATORS, SeparatorConfig
from steps.models.separators import CLASSES, CONDITIONED, build_separator
from steps.tasks.config import load_config

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted(
    file
    for recipe in ("egs/aishell_mix/separation", "egs/aishell_noisy/enhancement")
    for file in (ROOT / recipe / "conf").glob("*.yaml")
    if not file.stem.endswith("_corpus")
)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_every_experiment_has_its_network(file):
    config = load_config(file)
    one = config.task == "enhancement" or config.model.architecture in CONDITIONED
    with torch.device("meta"):
        model = build_separator(config.model, 1 if one else 2)
    assert sum(p.numel() for p in model.parameters()) > 10_000


def test_every_name_has_a_class():
    assert set(CLASSES) == set(SEPARATORS)


def test_a_size_that_there_is_not():
    with pytest.raises(ValueError, match="conv_tasnet has no 'n_filter'; did you mean 'n_filters'"):
        build_separator(SeparatorConfig("conv_tasnet", {"n_filter": 3}), 2)
    with pytest.raises(ValueError, match=r"model.architecture: one of .*; got 'x'"):
        SeparatorConfig("x")
