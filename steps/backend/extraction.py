"""Runs an extractor over cuts, in batches of like length, and counts what it costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from steps.backend.embeddings import Embeddings
from steps.backend.split import JOINED
from steps.data.features import make_extractor
from steps.data.sampling import LengthSampler
from steps.data.speaker import WholeCollator
from steps.data.whole import excerpts, joined
from steps.inference.cost import Stopwatch, peak_memory
from steps.inference.device import device_name, pick_device
from steps.inference.shares import of_job
from steps.metrics.trials import read_enrolments
from steps.models.speaker import embed
from steps.tasks.speaker import load_speaker_model
from utils import config as config_file


class Extraction:
    """One model on one device."""

    def __init__(self, checkpoint: Path, device: str, overrides: Sequence[str] = ()):
        self.device = pick_device(device)
        self.model, trained = load_speaker_model(checkpoint, self.device)
        self.config = config_file.override(trained, overrides)
        self.collate = WholeCollator(make_extractor(self.config.features))
        self.watch, self.seconds, self.utterances = Stopwatch(), 0.0, 0

    def sets(self, cuts: Path, trials: Path | None, job: int, num_jobs: int) -> dict[str, list[Cut]]:
        """What to extract by the name of its file: see steps.extract_embeddings. The job's share of each."""
        sets = {"utterances": list(CutSet.from_file(cuts))}
        if trials:
            sets["models"] = joined(read_enrolments(trials / JOINED), sets["utterances"])
            for seconds in self.config.score.durations:
                for name in ("utterances", "models"):
                    sets[f"{name}_{seconds:g}"] = excerpts(sets[name], seconds, self.config.seed)
        by_length = {name: sorted(items, key=lambda cut: (cut.duration, cut.id)) for name, items in sets.items()}
        return {name: of_job(items, job, num_jobs) for name, items in by_length.items()}

    def run(self, cuts: list[Cut]) -> Embeddings:
        """Their embeddings. Raises ValueError naming the utterance whose embedding is not finite."""
        ids: list[str] = []
        vectors, speakers = [], []
        for group in LengthSampler(cuts, self.config.data.batch_seconds):
            with self.watch.time("features"):
                batch = self.collate(group)
            with self.watch.time("network"):
                vectors.append(embed(self.model, batch["features"], batch["lengths"]).numpy())
            ids += batch["ids"]
            speakers += batch["speakers"]
            self.seconds += batch["seconds"]
        found = np.concatenate(vectors) if vectors else np.zeros((0, self.model.extractor.embedding_dim), np.float32)
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(wrong):
            raise ValueError(f"the embedding of {ids[wrong[0]]} is not finite; look at its audio, and at the model")
        self.utterances += len(ids)
        durations = {cut.id: cut.duration for cut in cuts}
        return Embeddings(ids, found, speakers, np.array([durations[id] for id in ids]))

    def stats(self) -> dict[str, Any]:
        """JSON-able: utterances, seconds of audio and of work, real-time factors, device, memory, parameters."""
        audio = max(self.seconds, 1e-9)
        spent = {name: round(value, 3) for name, value in self.watch.seconds.items()}
        return {
            "utterances": self.utterances,
            "audio_seconds": round(self.seconds, 3),
            "seconds": spent,
            "rtf": {name: round(spent.get(name, 0.0) / audio, 6) for name in ("features", "network")},
            "threads": torch.get_num_threads(),
            "device": device_name(self.device),
            # What is estimated and not learnt by gradients, an i-vector's, lies in buffers.
            "parameters": sum(value.numel() for value in [*self.model.parameters()] or self.model.buffers()),
            "peak_memory": peak_memory(),
        }
