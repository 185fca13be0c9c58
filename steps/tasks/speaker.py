"""Speaker recognition with embeddings.

The files of its pipeline, in the order that data flows through them:

    local/<corpus>.py            recordings, supervisions, enrolments and trials of each split
    steps/data/archives.py       cuts of the utterances              (steps.make_cuts)
    steps/metrics/trials.py      trials as matrices                  (steps.prepare_trials)
    steps/data/speaker.py        batches, with wave_augment.py and sampling.py
    steps/models/extractors.py   the networks, one in each file
    steps/losses/speaker.py      the classes and margins that train them
    steps/training/trainer.py    the loop                            (steps.train, steps.average_checkpoints)
    steps/training/ivector_em.py i-vectors instead                   (steps.train_ivector)
    (another toolkit's weights)  taken over by name                  (steps.import_extractor)
    steps/backend/embeddings.py  embeddings on disk                  (steps.extract_embeddings)
    steps/backend/chain.py       LDA, PLDA, score normalisation      (steps.score_trials)
    steps/metrics/               error rates and their intervals
    steps/backend/gallery.py     enrolled speakers                   (steps.enroll_speakers)
    steps/backend/recognizer.py  who it is, if anybody of them       (steps.identify_speaker)
    steps/export/                ONNX                                (steps.export_onnx)
    steps/reporting/             one page about a run                (steps.report)
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse.cut import Cut
from torch import nn

from steps.data.loader import Batches
from steps.data.speaker import speaker_batches, speaker_labels, training_cuts
from steps.losses.speaker import build_speaker_loss, margin_at
from steps.metrics.verification import eer, error_curve
from steps.models.extractors import build_extractor
from steps.models.speaker import SpeakerModel, extractor_weights
from steps.tasks.base import Losses
from steps.tasks.config import SpeakerConfig
from steps.training.checkpoint import load_checkpoint
from utils import config as config_file


class SpeakerTask:
    """See `steps.tasks.base.Task`. An epoch takes one chunk of each utterance."""

    best_metric = ("eer", "min")

    def __init__(self, config: SpeakerConfig):
        self.config = config
        self.training: Batches | None = None  # of this process, for the margin's schedule

    @cached_property
    def training_cuts(self) -> list[Cut]:
        """Read once, for the classes and for the batches."""
        return training_cuts(self.config)

    def build_model(self) -> SpeakerModel:
        """The extractor, and a class for each training speaker at each speed."""
        config = self.config
        speakers = len(speaker_labels(self.training_cuts))
        extractor = build_extractor(config.model, config.features.num_mel_bins)
        classes = speakers * len(config.augment.speeds)
        return SpeakerModel(extractor, build_speaker_loss(config.loss, classes, config.model.embedding_dim))

    def batches(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        """See `steps.data.speaker.speaker_batches`."""
        training = self.training_cuts if split == "train" else None
        batches = speaker_batches(self.config, split, rank, world_size, training)
        if split == "train":
            self.training = batches
        return batches

    def inputs(self) -> list[str]:
        """The cuts that train and choose the model, and the sounds that are mixed in."""
        folder = Path(self.config.data.dir)
        files = [folder / "cuts_train.jsonl.gz", folder / "cuts_dev.jsonl.gz"]
        sounds = [folder / "recordings_noise.jsonl.gz", folder / "recordings_rir.jsonl.gz"]
        if self.config.augment.prob > 0:
            files += [file for file in sounds if file.is_file()]
        return [str(file) for file in files]

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """The loss per chunk in training; in evaluation embeddings, of which `review` makes an error rate."""
        count = len(batch["ids"])
        if not model.training:
            embeddings = model(batch["features"], batch["lengths"]).float().cpu()
            return Losses(embeddings.new_zeros(()), 0.0, outputs=(embeddings, batch["speakers"]))
        assert self.training is not None
        margin = margin_at(self.config.loss, self.training.epoch + self.training.fraction)
        total, predicted = model(batch["features"], None, batch["labels"], margin)
        sums = {"margin": (margin * count, float(count))}
        if predicted is not None:
            sums["accuracy"] = (float((predicted == batch["labels"]).sum()), float(count))
        return Losses(total, float(count), sums)

    def review(self, outputs: list[Any]) -> dict[str, float]:
        """Equal error rate in percent of the cosine between every two utterances of dev."""
        vectors = torch.cat([embeddings for embeddings, _ in outputs]).numpy()
        speakers = np.array([speaker for _, names in outputs for speaker in names])
        if not np.isfinite(vectors).all():
            return {"eer": float("nan")}
        return {"eer": 100 * pairwise_eer(vectors, speakers)}


def pairwise_eer(vectors: np.ndarray, speakers: np.ndarray) -> float:
    """Equal error rate, 0 to 1, of the cosine between every two of (n, E) vectors, less their mean, of speakers (n,).

    Raises ValueError when there are no two utterances of a speaker, or no two speakers.
    """
    vectors = vectors - vectors.mean(axis=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    first, second = np.triu_indices(len(unit), k=1)
    scores, same = (unit @ unit.T)[first, second], speakers[first] == speakers[second]
    if same.all() or not same.any():
        raise ValueError("dev needs two speakers and two utterances of one of them, to compare epochs by their EER")
    return eer(error_curve(scores, same.astype(np.int8))).value


def load_speaker_model(path: Path, device: torch.device) -> tuple[nn.Module, SpeakerConfig]:
    """The extractor that a checkpoint of steps.average_checkpoints or steps.train_ivector holds, ready to embed.

    Raises ValueError for a checkpoint of another task.
    """
    state = load_checkpoint(path)
    values = state.get("config", {})
    if values.get("task") not in ("speaker", "ivector"):
        raise ValueError(f"{path} is a model of task '{values.get('task')}'; expected one of speaker recognition")
    config = config_file.from_dict(SpeakerConfig, values)
    model = SpeakerModel(new_extractor(config))
    model.extractor.load_state_dict(extractor_weights(state["model"]))
    return model.to(device).eval(), config


def import_weights(path: Path, config: SpeakerConfig) -> dict[str, torch.Tensor]:
    """The weights of a SpeakerModel without classes, from another toolkit's file: see steps.import_extractor.

    Raises ValueError that names what is missing, unknown or of another shape.
    """
    state = load_checkpoint(path)
    while isinstance(inner := next((state[key] for key in ("model", "state_dict") if key in state), None), dict):
        state = inner
    model = SpeakerModel(new_extractor(config))
    own = model.extractor.state_dict()
    given = extractor_weights(state)
    wrong = [f"it lacks {name}" for name in own.keys() - given.keys()]
    wrong += [f"it has {name}" for name in given.keys() - own.keys()]
    wrong += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & given.keys()
        if given[name].shape != own[name].shape
    ]
    if wrong:
        raise ValueError(
            f"{path} is no {config.model.architecture} of model.embedding_dim={config.model.embedding_dim}, "
            f"model.channels={config.model.channels}: {'; '.join(sorted(wrong)[:5])}"
            f"{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}"
        )
    model.extractor.load_state_dict(given)
    return model.state_dict()


def new_extractor(config: SpeakerConfig) -> nn.Module:
    """An extractor without weights of its own: a network, or for `task: ivector` the factor analysis."""
    if config.task == "ivector":
        from steps.models.ivector import IvectorExtractor

        return IvectorExtractor(config.ivector, config.features.num_mel_bins)
    return build_extractor(config.model, config.features.num_mel_bins)
