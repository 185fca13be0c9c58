"""Speech separation.

The files of its pipeline, in the order that data flows through them:

    local/<corpus>.py             recordings and supervisions of each split
    steps/data/archives.py        cuts of the utterances              (steps.make_cuts)
    steps/data/levels.py          how loud they are                   (steps.measure_levels)
    steps/data/mixture_plan.py    who talks over whom, how loud       (steps.simulate_mixtures)
    steps/data/mixing.py          rows of the plan become sound       (steps.render_mixtures)
    steps/data/audit.py           nothing is in two splits            (steps.audit_mixtures)
    steps/data/separation.py      batches, with enrolment.py for the extraction of one talker
    steps/tasks/mixture_task.py   what separation and enhancement have in common
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

from steps.losses.separation import reorder, separation_loss, switch_rate
from steps.models.separators import CONDITIONED
from steps.tasks.base import Losses
from steps.tasks.config import SeparationConfig
from steps.tasks.mixture_task import MixtureTask, improvement_sums, load_network


class SeparationTask(MixtureTask):
    """See `steps.tasks.base.Task`. An architecture of CONDITIONED extracts one talker, told by an embedding."""

    def __init__(self, config: SeparationConfig):
        super().__init__(config)
        self.permutations: dict[str, tuple[int, ...]] = {}  # of dev mixtures, when they were last evaluated
        conditioned = config.model.architecture in CONDITIONED
        if conditioned != bool(config.data.enrolments):
            raise ValueError(
                f"model.architecture={config.model.architecture} "
                + ("needs data.enrolments: run.sh makes them with --speaker-model" if conditioned else "takes none")
            )

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """The loss per mixture; in evaluation also the improvement of SI-SDR in dB, and which output is whose."""
        mixture, sources = batch["mixture"], batch["sources"]
        estimates = estimate(model, batch)
        found = separation_loss(self.config.loss, estimates, sources, mixture)
        count = float(len(batch["ids"]))
        if model.training:
            return Losses(found.loss.sum(), count)
        sums = improvement_sums(reorder(estimates, found.permutation), sources, mixture)
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


def estimate(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """The network's outputs (N, S, T) for a batch of `steps.data.separation.mixture_batches`."""
    return model(batch["mixture"], batch["enrolment"]) if "enrolment" in batch else model(batch["mixture"])


def load_separator(path: Path, device: torch.device) -> tuple[nn.Module, SeparationConfig]:
    """See `steps.tasks.mixture_task.load_network`."""
    return load_network(path, device, "separation")
