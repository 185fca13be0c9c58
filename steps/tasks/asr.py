"""Speech recognition with CTC.

The files of its pipeline, in the order that data flows through them:

    local/<corpus>.py            recordings and supervisions of each split
    steps/data/features.py       filter banks                        (steps.compute_fbank)
    steps/data/archives.py       their archives, in parts.py's shares (steps.combine_cuts)
    steps/graph/units.py         text to tokens and back             (steps.prepare_lang)
    steps/graph/ngram.py         language model                      (steps.train_ngram)
    steps/graph/hlg.py           decoding graph                      (steps.compile_graph)
    steps/data/asr.py            batches, with steps/data/augment.py
    steps/models/conformer.py    the network
    steps/losses/ctc.py          CTC and CR-CTC
    steps/training/trainer.py    the loop                            (steps.train, steps.average_checkpoints)
    steps/decoding/              greedy, prefix beam, graph search   (steps.decode_asr)
    steps/metrics/               error rates and their intervals     (steps.score_cer)
    steps/reporting/             one page about a run                (steps.report)
"""

from pathlib import Path
from typing import Any

import kaldialign
import torch
from torch import Tensor, nn

from steps.data.asr import asr_batches, feature_statistics
from steps.data.loader import Batches
from steps.graph.units import Units
from steps.losses.ctc import consistency_loss, ctc_loss, flat_start_loss
from steps.models.conformer import ConformerCtc
from steps.tasks.base import Losses
from steps.tasks.config import AsrConfig
from steps.training.checkpoint import load_checkpoint
from utils import config as config_file


class AsrTask:
    """See `steps.tasks.base.Task`."""

    best_metric = ("token_error_rate", "min")

    def __init__(self, config: AsrConfig):
        self.config = config

    def build_model(self) -> ConformerCtc:
        """A Conformer with as many outputs as the lang directory has tokens, told the features' statistics."""
        num_tokens = Units.load(Path(self.config.data.lang)).size
        model = ConformerCtc(self.config.model, self.config.features.num_mel_bins, num_tokens)
        model.set_statistics(*feature_statistics(self.config))
        return model

    def batches(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        """See `steps.data.asr.asr_batches`."""
        return asr_batches(self.config, split, rank, world_size)

    def inputs(self) -> list[str]:
        """The cuts that train and choose the model, and its tokens."""
        folder, lang = Path(self.config.data.dir), Path(self.config.data.lang)
        names = ["train", "dev", *(["noise"] if self.config.augment.noise_prob > 0 else [])]
        return [*(str(folder / f"cuts_{name}.jsonl.gz") for name in names), str(lang / "tokens.txt")]

    def review(self, outputs: list[Any]) -> dict[str, float]:
        """Nothing: the figures of dev are sums."""
        return {}

    def loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> Losses:
        """CTC per target token; in training with the consistency of two views if configured, in evaluation
        with the token error rate of greedy search."""
        log_probs, lengths = model(batch["features"], batch["lengths"])
        aligned = (log_probs, lengths, batch["targets"], batch["target_lengths"])
        total = ctc = ctc_loss(*aligned)
        tokens = float(batch["target_lengths"].sum())
        sums = {"ctc": (float(ctc.detach()), tokens)}
        if model.training:
            total = self._flat_start(ctc, aligned, step)
            if self.config.loss.cr_scale > 0:
                warmup = min(1.0, step / max(self.config.training.warmup_steps, 1))
                consistency = consistency_loss(log_probs, lengths)
                sums["consistency"] = (float(consistency.detach()), tokens)
                total = total + self.config.loss.cr_scale * warmup * consistency
        if not model.training:
            sums["token_error_rate"] = (_token_errors(log_probs, lengths, batch), tokens)
        return Losses(total, tokens, sums)

    def _flat_start(self, ctc: Tensor, aligned: tuple[Tensor, Tensor, Tensor, Tensor], step: int) -> Tensor:
        """CTC's loss, or in the first steps that of an equal alignment, the one fading into the other."""
        options = self.config.loss
        if step >= options.flat_start_steps:
            return ctc
        share = min(1.0, 2.0 - 2.0 * step / options.flat_start_steps)
        return share * flat_start_loss(*aligned, options.flat_start_margin) + (1.0 - share) * ctc


def _token_errors(log_probs: Tensor, lengths: Tensor, batch: dict[str, Any]) -> float:
    """Edit distance between greedy search and targets, summed over the batch."""
    errors = 0
    best = log_probs.argmax(dim=-1).cpu()
    for row, length, target, size in zip(
        best, lengths.tolist(), batch["targets"].tolist(), batch["target_lengths"].tolist(), strict=True
    ):
        path = torch.unique_consecutive(row[:length])
        errors += kaldialign.edit_distance(target[:size], path[path != 0].tolist())["total"]
    return float(errors)


def load_model(checkpoint: Path | str, device: torch.device | str = "cpu") -> tuple[ConformerCtc, AsrConfig]:
    """The model of a checkpoint in evaluation mode on `device`, and the configuration it was trained with."""
    state = load_checkpoint(checkpoint)
    config = config_file.from_dict(AsrConfig, state["config"])
    num_tokens = state["model"]["output.weight"].shape[0]
    model = ConformerCtc(config.model, config.features.num_mel_bins, num_tokens)
    model.load_state_dict(state["model"])
    return model.to(device).eval(), config
