"""Speech enhancement.

The files of its pipeline, in the order that data flows through them:

    local/<corpus>.py             recordings and supervisions of each split, and noises
    steps/data/archives.py        cuts of the utterances              (steps.make_cuts)
    steps/data/levels.py          how loud they are                   (steps.measure_levels)
    steps/data/mixture_plan.py    who talks in which noise, how loud  (steps.simulate_mixtures)
    steps/data/mixing.py          rows of the plan become sound       (steps.render_mixtures)
    steps/data/audit.py           nothing is in two splits            (steps.audit_mixtures)
    steps/data/separation.py      batches
    steps/data/noise_augment.py   more noises out of few, in training
    steps/tasks/mixture_task.py   what separation and enhancement have in common
    steps/models/separators.py    the networks, one in each file; causal ones have a streamer
    (another toolkit's weights)   taken over by name                  (steps.import_separator)
    steps/losses/enhancement.py   on samples and on spectra
    steps/training/trainer.py     the loop                            (steps.train, steps.average_checkpoints)
    steps/inference/enhancement.py files of any length, and live      (steps.enhance_speech)
    steps/metrics/                SI-SDR, PESQ, STOI, CER             (steps.measure_speech, steps.score_speech)
    (dev, several times)          how much input to mix back          (steps.choose_dry)
    steps/export/                 ONNX, sherpa-onnx's streams         (steps.export_onnx, steps.run_onnx)
    steps/reporting/              one page about a run                (steps.report)
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from steps.losses.enhancement import enhancement_loss
from steps.models.separators import CONDITIONED
from steps.tasks.base import Losses
from steps.tasks.config import EnhancementConfig
from steps.tasks.mixture_task import MixtureTask, improvement_sums, load_network


class EnhancementTask(MixtureTask):
    """See `steps.tasks.base.Task`. The one source of a mixture is its speech, or the early part of it in a room."""

    def __init__(self, config: EnhancementConfig):
        super().__init__(config)
        if list(config.data.kinds) != ["noisy"]:
            raise ValueError(f"data.kinds of enhancement is [noisy], one talker in noise; got {config.data.kinds}")
        if config.model.architecture in CONDITIONED or config.data.enrolments:
            raise ValueError("enhancement takes no enrolments: for one talker among several see task: separation")

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """The loss per mixture; in evaluation also its parts, and the improvement of SI-SDR in dB."""
        mixture, sources = batch["mixture"], batch["sources"]
        estimates = model(mixture)  # (N, 1, T)
        found = enhancement_loss(self.config.loss, estimates[:, 0], sources[:, 0], mixture)
        count = float(len(batch["ids"]))
        if model.training:
            return Losses(found.loss.sum(), count)
        sums = improvement_sums(estimates, sources, mixture)
        sums |= {f"loss_{name}": (float(part.sum()), count) for name, part in found.parts.items()}
        return Losses(found.loss.sum(), count, sums)


def load_enhancer(path: Path, device: torch.device) -> tuple[nn.Module, EnhancementConfig]:
    """See `steps.tasks.mixture_task.load_network`."""
    return load_network(path, device, "enhancement")
