"""What a recogniser hears in separated or enhanced speech: greedy search of CTC, for character error rates."""

from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import resample

from steps.data.features import make_extractor
from steps.decoding.ctc import greedy_search
from steps.graph.units import Units
from steps.metrics.config import ScoreConfig
from steps.tasks.asr import load_model

FEWEST_FRAMES = 7  # that the network makes an output of


class Transcriber:
    """The model of a checkpoint of speech recognition, with the units it was trained with."""

    def __init__(self, checkpoint: Path, lang: Path, device: torch.device | str = "cpu"):
        """Raises ValueError where the lang directory is of another model, or has phones, which only a graph reads."""
        self.model, self.config = load_model(checkpoint, device)
        self.units = Units.load(lang)
        self.extractor = make_extractor(self.config.features)
        self.device = device
        if self.units.kind == "phone":
            raise ValueError(f"{lang} has phones, of which greedy search makes no text: use a model of characters")
        outputs = self.model.output.out_features
        if outputs != self.units.size:
            raise ValueError(
                f"{checkpoint} has {outputs} tokens, {lang} has {self.units.size}: give the lang directory that the "
                "model was trained with"
            )

    @property
    def scoring(self) -> ScoreConfig:
        """How the model's own recipe compares texts."""
        return self.config.score

    def __call__(self, waves: np.ndarray, sampling_rate: int) -> list[str]:
        """The texts of N signals (N, T) in [-1, 1] at any rate in Hz."""
        rate = self.config.features.sampling_rate
        signals = torch.from_numpy(np.ascontiguousarray(waves, dtype=np.float32))
        if sampling_rate != rate:
            signals = resample(signals, sampling_rate, rate)
        features = torch.stack([torch.as_tensor(self.extractor.extract(signal, rate)) for signal in signals])
        if features.shape[1] < FEWEST_FRAMES:
            return [""] * len(signals)
        lengths = torch.full((len(signals),), features.shape[1])
        with torch.inference_mode():
            log_probs, lengths = self.model(features.to(self.device), lengths.to(self.device))
        return [self.units.decode(tokens) for tokens in greedy_search(log_probs, lengths)]
