"""The network's part of decoding: cuts in, batches of posteriors out."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from steps.decoding.posteriors import Batch, Utterance
from steps.inference.cost import Stopwatch
from steps.inference.shares import groups_by_seconds, of_job


def read_cuts(path: Path, job: int, num_jobs: int) -> list[Any]:
    """The job's share of the cuts, longest first: what does not fit in memory fails at once."""
    from lhotse import CutSet

    cuts = sorted(CutSet.from_file(path), key=lambda cut: (-cut.duration, cut.id))
    if not cuts:
        raise ValueError(f"{path} has no cuts: look at what stages 1 and 2 said of this split")
    share = of_job(cuts, job, num_jobs)
    if not share:
        logging.warning("%s has %d cuts: none for job %d of %d", path, len(cuts), job, num_jobs)
    return share


def network_batches(
    model: Any, cuts: list[Any], batch_seconds: float, device: torch.device, watch: Stopwatch
) -> Iterator[Batch]:
    """Runs `model` over cuts with stored features, in batches of the order given.

    Loading counts in `watch` as "features", the network as "network".
    """
    for group in groups_by_seconds(((cut.duration, cut) for cut in cuts), batch_seconds):
        with watch.time("features"):
            rows = [torch.from_numpy(np.array(cut.load_features(), dtype=np.float32)) for cut in group]
            features = pad_sequence(rows, batch_first=True)  # (N, T, F)
            lengths = torch.tensor([len(row) for row in rows])
        with watch.time("network"), torch.inference_mode():
            log_probs, lengths = model(features.to(device), lengths.to(device))
            log_probs, lengths = log_probs.float().cpu(), lengths.cpu()  # which waits for the GPU
        yield Batch([_utterance(cut) for cut in group], log_probs, lengths)


def _utterance(cut: Any) -> Utterance:
    if len(cut.supervisions) != 1:
        raise ValueError(f"cut {cut.id}: expected one supervision, found {len(cut.supervisions)}")
    supervision = cut.supervisions[0]
    return Utterance(cut.id, supervision.speaker or "unknown", supervision.text or "", cut.duration)
