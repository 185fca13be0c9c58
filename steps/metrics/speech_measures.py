"""Measures separated and enhanced mixtures one by one: signals in, a line of measures.jsonl out.

A line has id, kind, speakers, overlap, level_difference (dB), snr (dB, None without noise), seconds, permutation (the
output of each source) and for each of the sources

    estimate, mixture    the metrics of the output and of the mixture, against the same reference; None: not defined
    undefined            why, by signal and metric: {"estimate.stoi": "too short"}
    errors               with a recogniser: reference tokens, and errors in the mixture, the output and the reference
    text, hypothesis     what was said, and what the recogniser made of the output

and with a recogniser cp_errors: those of the permutation of texts that has the fewest (cpCER).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.optimize import linear_sum_assignment

from steps.data.mixture import Mixture, reference_file, rendered_file
from steps.metrics import perceptual, separation
from steps.metrics.config import ScoreConfig, SpeechScoreConfig
from steps.metrics.edit_distance import distance, tokenize
from steps.metrics.separation import Score

DIGITS = 4  # decimal places of dB and ratings
UNCUT = 0.02  # seconds by which an utterance may have been shortened and still have all its text

Transcribe = Callable[[np.ndarray, int], list[str]]  # (N, T) signals and their rate in Hz -> N texts


@dataclass(frozen=True, eq=False)
class Signals:
    """Of one mixture, all of one length: mixture (T,), references (S, T) and estimates (S, T)."""

    mixture: np.ndarray
    references: np.ndarray
    estimates: np.ndarray


class SignalFiles:
    """Finds the audio of mixtures: references as steps.render_mixtures writes them, estimates in one folder or more."""

    def __init__(self, references: Path, estimates: Sequence[Path]):
        """Raises FileNotFoundError without references, ValueError where an estimate lies in two folders."""
        if not (references / "mix").is_dir():
            raise FileNotFoundError(f"{references} has no folder mix: stage 2 (steps.render_mixtures) writes it")
        self.references, self.folders = references, list(estimates)
        self.estimates: dict[str, Path] = {}
        for folder in self.folders:
            for file in sorted(folder.glob("*.wav")):
                if file.stem in self.estimates:
                    raise ValueError(f"{file.stem} has two estimates: {self.estimates[file.stem]} and {file}")
                self.estimates[file.stem] = file

    def read(self, row: Mixture) -> Signals:
        """Raises FileNotFoundError naming what is missing, ValueError for another length or rate, or a NaN."""
        mixture = read_signal(rendered_file(self.references, "mix", row.id), row.sampling_rate, None)
        numbers = range(1, len(row.sources) + 1)
        references = [reference_file(self.references, number, row.id) for number in numbers]
        names = [row.id] if len(row.sources) == 1 else [f"{row.id}_{number}" for number in numbers]
        read = [read_signal(file, row.sampling_rate, len(mixture)) for file in [*references, *map(self._find, names)]]
        return Signals(mixture, np.stack(read[: len(names)]), np.stack(read[len(names) :]))

    def _find(self, name: str) -> Path:
        file = self.estimates.get(name)
        if file is None:
            folders = ", ".join(map(str, self.folders))
            raise FileNotFoundError(f"{name}.wav is in none of {folders}: stage 6 writes one for each talker")
        return file


class Meter:
    """Measures signals at one sampling rate."""

    def __init__(self, config: SpeechScoreConfig, sampling_rate: int, dnsmos: perceptual.Dnsmos | None = None):
        self.config, self.rate, self.dnsmos = config, sampling_rate, dnsmos
        self.metrics = perceptual.usable(config.metrics, sampling_rate)
        self.frame = max(1, round(config.frame_seconds * sampling_rate))

    def permutation(self, signals: Signals) -> tuple[int, ...]:
        """The number of each source's output: one for all metrics, and for the whole of the mixture."""
        if not self.config.permute:
            return tuple(range(len(signals.references)))
        return separation.best_permutation(signals.estimates, signals.references, self.config.zero_mean)

    def sources(self, signals: Signals, permutation: Sequence[int]) -> list[dict[str, Any]]:
        """What a line says of each source's sound."""
        rated = self.dnsmos(signals.mixture, self.rate) if self.dnsmos else {}
        lines = []
        for source, output in enumerate(permutation):
            estimate = signals.estimates[output]
            found = {
                "estimate": self._measure(estimate, signals.references, source)
                | (self.dnsmos(estimate, self.rate) if self.dnsmos else {}),
                "mixture": self._measure(signals.mixture, signals.references, source) | rated,
            }
            lines.append(_line(found))
        return lines

    def _measure(self, wave: np.ndarray, references: np.ndarray, source: int) -> dict[str, Score]:
        reference = references[source]
        measures: dict[str, Callable[[], Score]] = {
            "si_sdr": lambda: separation.si_sdr(wave, reference, self.config.zero_mean),
            "sdr": lambda: perceptual.sdr(wave, reference),
            "pesq_wb": lambda: perceptual.pesq(wave, reference, self.rate, "wb"),
            "pesq_nb": lambda: perceptual.pesq(wave, reference, self.rate, "nb"),
            "stoi": lambda: perceptual.stoi(wave, reference, self.rate),
            "estoi": lambda: perceptual.stoi(wave, reference, self.rate, extended=True),
            "leak": lambda: separation.leak(wave, references, source, self.frame, self.config.silence),
        }
        return {name: measures[name]() for name in self.metrics if name != "leak" or len(references) > 1}


class ErrorCounter:
    """Counts what a recogniser gets wrong in mixtures, outputs and references.

    An utterance that was cut has no text, as it is not known which words were lost, so that mixtures with one count
    for nothing.
    """

    def __init__(self, transcribe: Transcribe, config: ScoreConfig, texts: Mapping[str, tuple[str, float]]):
        """`texts` by utterance, with seconds."""
        self.transcribe, self.config, self.texts = transcribe, config, texts

    def __call__(self, row: Mixture, signals: Signals, permutation: Sequence[int]) -> dict[str, Any] | None:
        """{"cp_errors", "sources": [{"errors", "text", "hypothesis"}]}; None where text or any part of one is missing.

        Raises ValueError for an utterance that the cuts do not have.
        """
        texts = [self._text(row, source) for source in range(len(row.sources))]
        said = [tokenize(text, self.config) for text in texts if text is not None]
        if len(said) < len(texts):
            return None
        waves = np.concatenate([signals.mixture[None], signals.estimates, signals.references])
        mixture, *heard = self.transcribe(waves, row.sampling_rate)
        count = len(texts)
        words = [tokenize(text, self.config) for text in heard]
        matrix = np.array([[distance(reference, output) for output in words[:count]] for reference in said])
        in_mixture = tokenize(mixture, self.config)
        lines = []
        for source, output in enumerate(permutation):
            errors = {
                "tokens": len(said[source]),
                "mixture": distance(said[source], in_mixture),
                "estimate": int(matrix[source, output]),
                "clean": distance(said[source], words[count + source]),
            }
            lines.append({"errors": errors, "text": texts[source], "hypothesis": heard[output]})
        return {"cp_errors": int(matrix[linear_sum_assignment(matrix)].sum()), "sources": lines}

    def _text(self, row: Mixture, number: int) -> str | None:
        source = row.sources[number]
        if source.utterance not in self.texts:
            raise ValueError(f"{row.id}: the cuts have no utterance {source.utterance}; give those that the plan is of")
        text, seconds = self.texts[source.utterance]
        whole = source.start == 0 and source.samples >= (seconds - UNCUT) * row.sampling_rate
        return text if whole and text else None


def measure(row: Mixture, signals: Signals, meter: Meter, count: ErrorCounter | None = None) -> dict[str, Any]:
    """The line of one mixture."""
    permutation = meter.permutation(signals)
    sources = meter.sources(signals, permutation)
    errors = count(row, signals, permutation) if count else None
    for number, source in enumerate(row.sources):
        more = errors["sources"][number] if errors else {}
        sources[number] = {"utterance": source.utterance, **sources[number], **more}
    return {
        "id": row.id,
        "kind": row.kind,
        "speakers": [source.speaker for source in row.sources],
        "overlap": row.overlap,
        "level_difference": row.level_difference,
        "snr": row.noise.snr if row.noise else None,
        "seconds": round(row.samples / row.sampling_rate, 3),
        "permutation": list(permutation),
        **({"cp_errors": errors["cp_errors"]} if errors else {}),
        "sources": sources,
    }


def read_signal(file: Path, sampling_rate: int, samples: int | None) -> np.ndarray:
    """(T,) float64 of one channel; with `samples` of that length. Raises as `SignalFiles.read` does."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: stage 2 (steps.render_mixtures) writes the references")
    try:
        wave, rate = soundfile.read(file, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{file}: no audio that can be read: {' '.join(str(error).split())}") from error
    if rate != sampling_rate or wave.shape[1] != 1:
        raise ValueError(f"{file} has {wave.shape[1]} channels at {rate} Hz; the plan has one at {sampling_rate} Hz")
    if samples is not None and len(wave) != samples:
        raise ValueError(
            f"{file} has {len(wave)} samples, its mixture {samples}: an output must be as long as its input, or it is "
            "of another plan (make it again with --force)"
        )
    if not np.isfinite(wave).all():
        raise ValueError(f"{file} holds samples that are not finite")
    return wave[:, 0]


def read_texts(cuts: Path) -> dict[str, tuple[str, float]]:
    """Text and seconds of each utterance of a file of cuts, by the cut's id."""
    from lhotse import CutSet

    found = {cut.id: (" ".join(s.text or "" for s in cut.supervisions), cut.duration) for cut in CutSet.from_file(cuts)}
    if not any(text for text, _ in found.values()):
        logging.warning("%s has no text: nothing to compare with what the recogniser hears", cuts)
    return found


def _line(found: Mapping[str, Mapping[str, Score]]) -> dict[str, Any]:
    line: dict[str, Any] = {
        signal: {name: None if s.value is None else round(s.value, DIGITS) for name, s in scores.items()}
        for signal, scores in found.items()
    }
    reasons = {f"{signal}.{name}": score.reason for signal, scores in found.items() for name, score in scores.items()}
    line["undefined"] = {key: reason for key, reason in reasons.items() if reason}
    return line
