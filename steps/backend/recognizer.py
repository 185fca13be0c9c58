"""A trained model, its back end and its decision together: from recordings to calibrated scores."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steps.backend.chain import Backend
from steps.backend.decision import FILE as DECISION
from steps.backend.decision import Decision
from steps.backend.gallery import Gallery
from steps.backend.recording import Recording, listen
from steps.data.features import make_extractor
from steps.inference.device import pick_device
from steps.models.fingerprint import weights_hash
from steps.models.speaker import embed
from steps.tasks.speaker import load_speaker_model

BATCH = 64  # windows at a time


@dataclass(frozen=True)
class Identity:
    """Who a recording may be: the best speaker of a gallery and the next one, with natural-log likelihood ratios."""

    best: str
    score: float
    threshold: float
    second: str | None  # None in a gallery of one
    second_score: float | None

    @property
    def accepted(self) -> bool:
        """Whether it is the best speaker, rather than somebody unknown."""
        return self.score >= self.threshold


class Recognizer:
    """See `steps.enroll_speakers` and `steps.identify_speaker`. `model_hash` and `backend_hash` say what was loaded."""

    def __init__(self, checkpoint: Path, folder: Path, device: str = "auto"):
        """`folder` is EXP/score/backend. Raises OSError or ValueError for files that are missing or of another kind,
        and for a back end of embeddings of another size."""
        self.model, self.config = load_speaker_model(checkpoint, pick_device(device))
        self.backend, self.decision = Backend.load(folder / "backend.npz"), Decision.load(folder)
        size = self.model.extractor.embedding_dim
        if len(self.backend.mean) != size:
            raise ValueError(
                f"{folder} is of embeddings of {len(self.backend.mean)} numbers, {checkpoint} makes {size}: "
                f"give the checkpoint and the back end of one experiment"
            )
        if self.backend.name != self.decision.chain:
            raise ValueError(
                f"{folder}: decision.json is of {self.decision.chain}, backend.npz of {self.backend.name}; "
                f"score again (stage 7)"
            )
        self.fbank = make_extractor(self.config.features)
        self.model_hash = weights_hash(self.model.extractor.state_dict())
        self.backend_hash = _files_hash([folder / "backend.npz", folder / DECISION])

    def listen(self, path: Path, name: str = "") -> Recording:
        """See `steps.backend.recording.listen`."""
        return listen(path, self.fbank, name)

    def embedding(self, recording: Recording) -> np.ndarray:
        """(E,) of a recording whose long pauses are shortened; else what steps.extract_embeddings makes of it."""
        return self._embedded(recording.near_speech().unsqueeze(0), recording.name)[0]

    def window_embeddings(self, windows: Tensor, name: str) -> np.ndarray:
        """(W, E) of stretches (W, T, F) of the recording `name`, each as if it were alone."""
        return np.concatenate([self._embedded(part, name) for part in windows.split(BATCH)])

    def compare(self, models: Sequence[np.ndarray], tests: np.ndarray) -> np.ndarray:
        """(M, K) natural-log likelihood ratios of models with embeddings (n_i, E) each and tests (K, E)."""
        return self.decision.calibration.apply(self.backend.score(models, tests))

    def identify(self, gallery: Gallery, vector: np.ndarray, threshold: float) -> Identity:
        """Who of a gallery of one speaker or more an embedding (E,) is of."""
        names = list(gallery.speakers)
        scores = self.compare([gallery.speakers[name].vectors for name in names], vector[None])[:, 0]
        order = np.argsort(-scores, kind="stable")
        best, second = order[0], order[1] if len(order) > 1 else None
        runner_up = (None, None) if second is None else (names[second], float(scores[second]))
        return Identity(names[best], float(scores[best]), threshold, *runner_up)

    def _embedded(self, features: Tensor, name: str) -> np.ndarray:
        count, frames, _ = features.shape
        vectors = embed(self.model, features, torch.full((count,), frames)).numpy()
        if not np.isfinite(vectors).all():
            raise ValueError(f"{name}: its embedding is not finite; look at the audio, and at the model")
        return vectors


def _files_hash(paths: Sequence[Path]) -> str:
    """16 hex digits of what is in the files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
