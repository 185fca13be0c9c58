"""What tasks that take sounds out of mixtures have in common: batches, files, the figure of dev, loading."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steps.data.loader import Batches
from steps.data.mixture_corpus import NOISE, ROOMS, levels_file, plan_file
from steps.data.separation import mixture_batches
from steps.losses.separation import si_sdr
from steps.models.separators import build_separator
from steps.tasks.config import SCHEMAS
from steps.training.checkpoint import load_checkpoint
from utils import config as config_file

HEARD = 1e-10  # mean square of a source below which there is nothing to improve


class MixtureTask:
    """See `steps.tasks.base.Task`; a subclass has `loss`."""

    best_metric = ("si_sdri", "max")

    def __init__(self, config: Any):
        self.config = config

    def build_model(self) -> nn.Module:
        """The network, with an output for each sound that it is to find."""
        return build_separator(self.config.model, source_count(self.config))

    def batches(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        """See `steps.data.separation.mixture_batches`."""
        return mixture_batches(self.config, split, rank, world_size)

    def inputs(self) -> list[str]:
        """The plans, what dynamic mixing draws from, and the utterances."""
        data = self.config.data
        folder = Path(data.dir)
        files = [folder / f"cuts_{split}.jsonl.gz" for split in ("train", "dev")]
        files += [plan_file(folder, kind, split) for kind in data.kinds for split in ("train", "dev")]
        if data.mixing == "dynamic":
            files.append(levels_file(folder, "train"))
        files += [file for file in (folder / NOISE, folder / ROOMS) if file.is_file()]
        return [str(file) for file in files]

    def review(self, outputs: list[Any]) -> dict[str, float]:
        """Nothing that is no sum over batches."""
        return {}


def source_count(config: Any) -> int:
    """S, the number of sounds that the network puts out: talkers apart, or one that is extracted or enhanced."""
    one = config.task == "enhancement" or bool(config.data.enrolments)
    return 1 if one else config.mixtures.speakers


def improvement_sums(estimates: Tensor, sources: Tensor, mixture: Tensor) -> dict[str, tuple[float, float]]:
    """SI-SDR improvement in dB over estimates and sources (N, S, T) of mixtures (N, T), as `Losses.sums` wants it;
    silent sources do not count."""
    heard = sources.square().mean(dim=-1) > HEARD
    before = si_sdr(mixture.unsqueeze(1).expand_as(sources), sources)
    gained = (si_sdr(estimates, sources) - before)[heard]
    return {"si_sdri": (float(gained.sum()), float(heard.sum()))}


def load_network(path: Path, device: torch.device, *tasks: str) -> tuple[nn.Module, Any]:
    """The network that a checkpoint of steps.average_checkpoints holds, in evaluation mode, and its configuration.

    Raises ValueError for a checkpoint of another task.
    """
    state = load_checkpoint(path)
    values = state.get("config", {})
    if values.get("task") not in tasks:
        raise ValueError(f"{path} is a model of task '{values.get('task')}'; expected {' or '.join(tasks)}")
    config = config_file.from_dict(SCHEMAS[values["task"]], values)
    model = build_separator(config.model, source_count(config))
    model.load_state_dict(state["model"])
    return model.to(device).eval(), config
