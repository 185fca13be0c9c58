"""What speech sounds like, as maintained libraries have it: BSS Eval's SDR, PESQ, STOI, DNSMOS.

Each answers with a `Score`: for silence and for what is too short None and the reason, where the libraries raise
errors of their own, or return NaN or 1e-5. They are imported when first asked for.
"""

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steps.metrics.separation import LIMIT, SILENT_ESTIMATE, Score, is_silent, silence

TOO_SHORT = "too short"
FILTER = 512  # taps of the distortion that BSS Eval's SDR allows
PESQ_MODES = {16000: ("wb", "nb"), 8000: ("nb",)}  # by sampling rate in Hz
STOI_RATE, STOI_LEAST = 10000, 30 * 128 + 128  # Hz; samples there of the 30 frames of a segment
DNSMOS_RATE, DNSMOS_SAMPLES, DNSMOS_HOP = 16000, 144160, 16000  # windows of 9.01 s, a second apart
DNSMOS_FILE = "sig_bak_ovr.onnx"
# From the network's outputs to the scale of ratings: coefficients of square, value and constant.
DNSMOS_SCALES = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovr": (-0.06766283, 1.11546468, 0.04602535),
}


def sdr(estimate: np.ndarray, reference: np.ndarray) -> Score:
    """Signal-to-distortion ratio in dB of BSS Eval (Vincent et al. 2006), which forgives a filter of FILTER taps."""
    silent = silence(estimate, reference)
    if silent or len(reference) <= FILTER:
        return Score(None, silent or TOO_SHORT)
    import torch
    from torchmetrics.functional.audio import signal_distortion_ratio

    pair = (torch.from_numpy(np.asarray(wave, np.float64)) for wave in (estimate, reference))
    try:
        value = float(signal_distortion_ratio(*pair, filter_length=FILTER))
    except torch.linalg.LinAlgError:
        value = float("nan")
    # Tones and constants are filtered into anything, and leave equations without a solution.
    return Score(None, "singular") if np.isnan(value) else Score(float(np.clip(value, -LIMIT, LIMIT)))


def pesq(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int, mode: str) -> Score:
    """MOS-LQO of ITU-T P.862.2 (mode wb, at 16 kHz) or P.862.1 (nb, at 8 or 16 kHz, with different results).

    Raises ValueError for another rate or mode.
    """
    if mode not in PESQ_MODES.get(sampling_rate, ()):
        raise ValueError(f"PESQ {mode} at {sampling_rate} Hz: there are wb at 16000 and nb at 8000 and 16000 Hz")
    silent = silence(estimate, reference)
    if silent:
        return Score(None, silent)
    import pesq as itu

    try:
        value = float(itu.pesq(sampling_rate, reference, estimate, mode))
    except itu.BufferTooShortError:
        return Score(None, TOO_SHORT)
    except itu.NoUtterancesError:
        return Score(None, "no utterance found")
    except itu.PesqError as error:
        return Score(None, str(error))
    return Score(value) if np.isfinite(value) else Score(None, "not finite")


def stoi(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int, extended: bool = False) -> Score:
    """Short-time objective intelligibility (Taal et al. 2011), or ESTOI (Jensen and Taal 2016): 1 for the reference."""
    silent = silence(estimate, reference)
    if silent or len(reference) * STOI_RATE < STOI_LEAST * sampling_rate:
        return Score(None, silent or TOO_SHORT)
    import pystoi

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(pystoi.stoi(reference, estimate, sampling_rate, extended=extended))
    if any("Not enough STFT frames" in str(warning.message) for warning in caught):
        return Score(None, TOO_SHORT)
    return Score(value) if np.isfinite(value) else Score(None, "not finite")


class Dnsmos:
    """DNSMOS P.835 (Reddy et al. 2022): what listeners would rate, without a reference, from 1 to 5.

    The network takes windows of 9.01 s of samples at 16 kHz; a shorter recording is repeated, by which short ones
    gain. The published script leaves out windows 7 to 23 of longer ones, by a rounding error; here all count.
    """

    def __init__(self, folder: Path):
        """Raises FileNotFoundError where `folder` has no DNSMOS_FILE."""
        import onnxruntime

        file = folder / DNSMOS_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist: --dnsmos-dir wants the folder DNSMOS/DNSMOS of github.com/microsoft/"
                "DNS-Challenge (CC-BY 4.0)"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, wave: np.ndarray, sampling_rate: int) -> dict[str, Score]:
        """Of (T,) in [-1, 1]: by name, the means over windows."""
        if sampling_rate != DNSMOS_RATE:
            return dict.fromkeys(DNSMOS_SCALES, Score(None, f"only at {DNSMOS_RATE} Hz"))
        if is_silent(wave):
            return dict.fromkeys(DNSMOS_SCALES, Score(None, SILENT_ESTIMATE))
        raw = np.stack([self.session.run(None, {self.input: part[None]})[0][0] for part in dnsmos_windows(wave)])
        rated = (np.polyval(scale, raw[:, column]) for column, scale in enumerate(DNSMOS_SCALES.values()))
        return {name: Score(float(values.mean())) for name, values in zip(DNSMOS_SCALES, rated, strict=True)}


def dnsmos_windows(wave: np.ndarray) -> np.ndarray:
    """(T,) -> (W, DNSMOS_SAMPLES) float32; what is shorter is doubled until it fills a window.

    The last second of audio, and what exceeds a whole one, begin no window, as in the published script.
    """
    wave = np.asarray(wave, np.float32)
    while len(wave) < DNSMOS_SAMPLES:
        wave = np.concatenate([wave, wave])
    count = max(1, len(wave) // DNSMOS_HOP - DNSMOS_SAMPLES // DNSMOS_HOP)
    return np.lib.stride_tricks.sliding_window_view(wave, DNSMOS_SAMPLES)[::DNSMOS_HOP][:count]


def usable(metrics: Sequence[str], sampling_rate: int) -> list[str]:
    """Those of `metrics` that there are at this rate and with what is installed; a line of the log says what is not."""
    modes = PESQ_MODES.get(sampling_rate, ())
    wanted = [name for name in metrics if name.startswith("pesq_")]
    if not wanted:
        return list(metrics)
    if importlib.util.find_spec("pesq") is None:
        logging.warning("no PESQ: it is not installed (python3 -m pip install pesq==0.0.4; needs a C compiler)")
        modes = ()
    elif len(modes) < len(PESQ_MODES[16000]):
        logging.info("PESQ at %d Hz: %s", sampling_rate, " and ".join(modes) or "there is none")
    return [name for name in metrics if name not in wanted or name.removeprefix("pesq_") in modes]
