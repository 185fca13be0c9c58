"""Speech separation.

The files of its pipeline, in the order that data flows through them:

    local/<corpus>.py             recordings and supervisions of each split
    steps/data/archives.py        cuts of the utterances              (steps.make_cuts)
    steps/data/levels.py          how loud they are                   (steps.measure_levels)
    steps/data/mixture_plan.py    who talks over whom, how loud       (steps.simulate_mixtures)
    steps/data/mixing.py          rows of the plan become sound       (steps.render_mixtures)
    steps/data/audit.py           nothing is in two splits            (steps.audit_mixtures)
    steps/data/separation.py      batches, with enrolment.py for the extraction of one talker
    steps/models/separators.py    the networks, one in each file
    (another toolkit's weights)   taken over by name                  (steps.import_separator)
    steps/losses/separation.py    permutation-invariant losses
    steps/training/trainer.py     the loop                            (steps.train, steps.average_checkpoints)
    steps/inference/separation.py windows over files of any length    (steps.separate_speech)
    steps/metrics/                SI-SDR, SDR, PESQ, STOI, CER        (steps.measure_speech, steps.score_speech)
    steps/export/                 ONNX                                (steps.export_onnx, steps.run_onnx)
    steps/reporting/              one page about a run                (steps.report)
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steps.data.loader import Batches
from steps.data.mixture_corpus import NOISE, ROOMS, levels_file, plan_file
from steps.data.separation import mixture_batches
from steps.losses.separation import reorder, separation_loss, si_sdr, switch_rate
from steps.models.separators import CONDITIONED, build_separator
from steps.tasks.base import Losses
from steps.tasks.config import SeparationConfig
from steps.training.checkpoint import load_checkpoint
from utils import config as config_file


class SeparationTask:
    """See `steps.tasks.base.Task`. With an architecture of CONDITIONED one talker is extracted, told by an embedding."""

    best_metric = ("si_sdri", "max")

    def __init__(self, config: SeparationConfig):
        self.config = config
        self.permutations: dict[str, tuple[int, ...]] = {}  # of dev mixtures, when they were last evaluated
        conditioned = config.model.architecture in CONDITIONED
        if conditioned != bool(config.data.enrolments):
            raise ValueError(
                f"model.architecture={config.model.architecture} "
                + ("needs data.enrolments: run.sh makes them with --speaker-model" if conditioned else "takes none")
            )

    def build_model(self) -> nn.Module:
        """The network, with as many outputs as there are talkers."""
        return build_separator(self.config.model, source_count(self.config))

    def batches(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        """See `steps.data.separation.mixture_batches`."""
        return mixture_batches(self.config, split, rank, world_size)

    def inputs(self) -> list[str]:
        """The plans, or what they are drawn from, and the utterances."""
        data = self.config.data
        folder = Path(data.dir)
        files = [folder / f"cuts_{split}.jsonl.gz" for split in ("train", "dev")]
        files += [plan_file(folder, kind, split) for kind in data.kinds for split in ("train", "dev")]
        if data.mixing == "dynamic":
            files.append(levels_file(folder, "train"))
        files += [file for file in (folder / NOISE, folder / ROOMS) if file.is_file()]
        return [str(file) for file in files]

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """The loss per mixture; in evaluation also the improvement of SI-SDR in dB, and which output is whose."""
        mixture, sources = batch["mixture"], batch["sources"]
        estimates = estimate(model, batch)
        found = separation_loss(self.config.loss, estimates, sources, mixture)
        count = float(len(batch["ids"]))
        if model.training:
            return Losses(found.loss.sum(), count)
        improvement, heard = improvements(reorder(estimates, found.permutation), sources, mixture)
        sums = {"si_sdri": (float(improvement[heard].sum()), float(heard.sum()))}
        order = dict(zip(batch["ids"], map(tuple, found.permutation.tolist()), strict=True))
        return Losses(found.loss.sum(), count, sums, outputs=order)

    def review(self, outputs: list[Any]) -> dict[str, float]:
        """The share of dev mixtures whose talkers changed outputs since the last evaluation, if there was one.

        A network that has not made up its mind is trained in two directions (arXiv 2010.15366).
        """
        current = {id: order for one in outputs for id, order in one.items()}
        rate = switch_rate(self.permutations, current)
        self.permutations = current
        return {} if rate is None else {"pit_switch_rate": rate}


def source_count(config: SeparationConfig) -> int:
    """S, the number of sounds that the network puts out."""
    return 1 if config.model.architecture in CONDITIONED else config.mixtures.speakers


def estimate(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """The network's outputs (N, S, T) for a batch of `steps.data.separation.mixture_batches`."""
    return model(batch["mixture"], batch["enrolment"]) if "enrolment" in batch else model(batch["mixture"])


def improvements(estimates: Tensor, sources: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """(N, S, T), (N, S, T), (N, T) -> SI-SDR improvement (N, S) in dB, and where the source is heard at all (N, S)."""
    heard = sources.square().mean(dim=-1) > 1e-10
    return si_sdr(estimates, sources) - si_sdr(mixture.unsqueeze(1).expand_as(sources), sources), heard


def load_separator(path: Path, device: torch.device) -> tuple[nn.Module, SeparationConfig]:
    """The network that a checkpoint of steps.average_checkpoints holds, ready to separate, and its configuration.

    Raises ValueError for a checkpoint of another task.
    """
    state = load_checkpoint(path)
    values = state.get("config", {})
    if values.get("task") != "separation":
        raise ValueError(f"{path} is a model of task '{values.get('task')}'; expected separation")
    config = config_file.from_dict(SeparationConfig, values)
    model = build_separator(config.model, source_count(config))
    model.load_state_dict(state["model"])
    return model.to(device).eval(), config
