"""Runs exported separators on files with onnxruntime alone: nothing here needs torch.

Files are taken whole, so that nothing has to be put together: memory grows with their length, and those above a limit
are refused. `steps.separate_speech` takes any length.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

from steps.inference.wav import new_wav

KINDS = ("separation", "target_speaker_extraction", "enhancement")
RIDGE, LARGEST_RIDGE = 1e-3, 1e-2  # of the strongest output's energy, as in steps.inference.separation


class OnnxSeparator:
    """A graph of `steps.export_onnx`. Has `kind` (one of KINDS), `rate` (Hz), `sources` (S)."""

    def __init__(self, model: Path, threads: int = 1, enrolment: Path | None = None):
        """`enrolment` is a .npy with the embedding (E,) of the talker to extract.

        Raises FileNotFoundError without the file, ValueError for a graph that is none of ours, and for an enrolment
        that is missing, not wanted, or of another size.
        """
        if not model.is_file():
            raise FileNotFoundError(f"{model} does not exist: steps.export_onnx writes it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(f"{model}", options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class
            raise ValueError(f"{model}: onnxruntime cannot load it: {' '.join(str(error).split())[:300]}") from error
        found = self.session.get_modelmeta().custom_metadata_map
        if found.get("model_type") not in KINDS:
            raise ValueError(
                f"{model}: its model_type is '{found.get('model_type')}', expected one of {', '.join(KINDS)}"
            )
        self.kind, self.rate, self.sources = found["model_type"], int(found["sample_rate"]), int(found["n_src"])
        self.inputs = {} if enrolment is None else {"enrolment": _embedding(enrolment)}
        wanted = {entry.name: entry.shape for entry in self.session.get_inputs() if entry.name != "mixture"}
        if wanted.keys() != self.inputs.keys():
            way = "needs --enrolment, the .npy of an embedding" if wanted else "takes no --enrolment"
            raise ValueError(f"{model}, a model of {self.kind}, {way}")
        for name, vector in self.inputs.items():
            if vector.shape[1] != wanted[name][1]:
                raise ValueError(f"{enrolment} has {vector.shape[1]} values, {model} takes {wanted[name][1]}")

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        """(T,) -> (S, T) float32. Levels of talkers, which a network leaves open, are those that add up to the mixture.

        Raises ValueError for outputs that are not finite.
        """
        mixture = mixture.astype(np.float32)
        outputs = self.session.run(None, {"mixture": mixture[None], **self.inputs})[0][0]
        if not np.isfinite(outputs).all():
            raise ValueError("what the model makes of it is not finite; look at the model")
        return outputs if self.kind == "enhancement" else levels(mixture, outputs) * outputs

    def names(self, stem: str) -> list[str]:
        """The files of the outputs of <stem>: <stem>_1.wav ..., of an enhanced one <stem>.wav."""
        if self.kind == "enhancement":
            return [f"{stem}.wav"]
        return [f"{stem}_{number}.wav" for number in range(1, self.sources + 1)]


def levels(mixture: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Gains (S, 1) float32, argmin_a |x - sum_i a_i s_i|^2, of outputs (S, T) and their mixture (T,); 1 for silence.

    As `steps.inference.separation.levels` has them for a file of one window: where outputs are nearly copies of one
    another, and the sum says little about each, gains are small and in the ratio of the outputs.
    """
    s, x = outputs.astype(np.float64), mixture.astype(np.float64)
    gram, strongest = s @ s.T, float(np.square(s).sum(axis=1).max())
    if not strongest > 0:
        return np.ones((len(outputs), 1), dtype=np.float32)
    norms = np.sqrt(gram.diagonal().clip(1e-12 * strongest))
    alike = gram / np.outer(norms, norms) + 1e-6 * np.eye(len(gram))
    inflation = (np.linalg.inv(alike).diagonal() - 1).clip(0)
    ridge = strongest * (RIDGE * np.square(inflation)).clip(1e-12, LARGEST_RIDGE)
    return np.linalg.solve(gram + np.diag(ridge), s @ x)[:, None].astype(np.float32)


def run_files(separator: OnnxSeparator, files: Iterable[Path], out: Path, most_minutes: float) -> float:
    """Writes 32-bit float WAV files into `out`, as long as what they are made from; returns seconds of audio.

    Raises what `check` raises before anything is run, and ValueError naming the file whose outputs are not finite.
    """
    files = list(files)
    check(separator, files, most_minutes)
    seconds = 0.0
    for file in files:
        mixture = read_mixture(file)
        try:
            outputs = separator(mixture)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        for name, output in zip(separator.names(file.stem), outputs, strict=True):
            with new_wav(out / name, separator.rate, len(output), "FLOAT") as written:
                written.write(output)
        seconds += len(mixture) / separator.rate
    return seconds


def check(separator: OnnxSeparator, files: Iterable[Path], most_minutes: float) -> None:
    """Raises FileNotFoundError or ValueError for a file that is missing, that is no audio, has several channels,
    another sampling rate than the model, no samples or too many, or the name of another."""
    seen: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist, or is no file")
        try:
            info = soundfile.info(file)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{file}: no audio that can be read: {' '.join(str(error).split())}") from error
        if info.channels != 1:
            raise ValueError(f"{file} has {info.channels} channels; models take one: ffmpeg -i {file} -ac 1 mono.wav")
        if info.samplerate != separator.rate:
            raise ValueError(
                f"{file} has {info.samplerate} Hz, the model {separator.rate}: ffmpeg -i {file} -ar {separator.rate} "
                "other.wav, or steps.separate_speech, which resamples"
            )
        if info.frames == 0:
            raise ValueError(f"{file} has no samples")
        if info.duration > 60 * most_minutes:
            raise ValueError(
                f"{file} lasts {info.duration / 60:.1f} minutes and would be taken whole: cut it, allow it with "
                f"--most-minutes (now {most_minutes:g}) where there is memory, or use steps.separate_speech"
            )
        if file.stem in seen:
            raise ValueError(f"{file} and {seen[file.stem]} would be written under one name; rename one")
        seen[file.stem] = file


def read_mixture(file: Path) -> np.ndarray:
    """(T,) float32. Raises ValueError for samples that are not finite."""
    mixture, _ = soundfile.read(file, dtype="float32")
    if not np.isfinite(mixture).all():
        raise ValueError(f"{file} holds samples that are not finite")
    return mixture


def _embedding(file: Path) -> np.ndarray:
    """(1, E) float32 of length 1."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist, expected the .npy of an embedding")
    try:
        vector = np.load(file, allow_pickle=False).astype(np.float32).reshape(1, -1)
        length = float(np.linalg.norm(vector))
    except (ValueError, EOFError, AttributeError) as error:
        raise ValueError(f"{file}: expected the .npy of an embedding: {error}") from error
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"{file}: the embedding is zero or not finite")
    return vector / length
