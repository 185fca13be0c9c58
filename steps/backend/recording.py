"""One recording as a person hands it over: checked, at the model's sampling rate, and where there is speech in it."""

import logging
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import resample

from steps.data.features import DeployedFbank
from steps.models.cepstra import speech_mask

FRAME = 0.01  # seconds
QUIETEST = -60.0  # dB below full scale: a frame under it is silence, whatever the recording
BELOW_LOUDEST = 40.0  # dB below the loud frames of the recording: under it lies its own silence
BELOW_MEAN, CONTEXT = 2.0, 2  # of the decision that i-vectors use (Kaldi's): natural log, frames
LEAST_SPEECH = 0.3  # seconds that a decision needs
MOST_SPEECH = 120.0  # seconds that are listened to; more does not help, and long recordings would not fit in memory
PAUSE = 0.5  # seconds of silence that are kept on either side of speech


class NoSpeechError(ValueError):
    """A recording that can be read and holds too little speech to decide anything."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Log-mel features (T, F) of what was listened to, and which of its frames (T,) are speech."""

    name: str
    features: Tensor
    speech: Tensor

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return int(self.speech.sum()) * FRAME

    def near_speech(self, margin: float = PAUSE) -> Tensor:
        """(T', F): the frames that are speech, or within `margin` seconds of it."""
        reach = round(margin / FRAME)
        flags = self.speech.float().view(1, 1, -1)
        return self.features[functional.max_pool1d(flags, 2 * reach + 1, 1, reach).view(-1) > 0]


def listen(path: Path, fbank: DeployedFbank, name: str = "") -> Recording:
    """The first MOST_SPEECH seconds of speech in a file; `name` is what errors call it.

    Raises OSError for a file that is not there, ValueError for one that is no audio, empty, of several channels or
    not finite, and NoSpeechError for less than LEAST_SPEECH seconds of speech.
    """
    name = name or str(path)
    rate = fbank.config.sampling_rate
    wave = torch.from_numpy(read_wave(path, rate, name))
    features = fbank.extract(wave, rate)
    speech = speech_frames(wave, features, rate)
    seconds = int(speech.sum()) * FRAME
    if seconds < LEAST_SPEECH:
        reason = f"{seconds:.2f} s of speech, at least {LEAST_SPEECH:g} s are needed" if seconds else "silence"
        raise NoSpeechError(f"{name}: no speech ({reason} in {len(wave) / rate:.2f} s)")
    last = int(torch.searchsorted(speech.cumsum(0), round(MOST_SPEECH / FRAME))) + 1  # of the frames used
    if last < len(speech):
        logging.warning("%s: only its first %g s of speech are used", name, MOST_SPEECH)
    return Recording(name, features[:last], speech[:last])


def read_wave(path: Path, sampling_rate: int, name: str) -> np.ndarray:
    """(samples,) float32 at `sampling_rate` of any file that soundfile reads. Raises as `listen` does."""
    if not path.is_file():
        raise FileNotFoundError(f"{name}: there is no such file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: no audio that can be read ({reason}); expected WAV, FLAC, Ogg or MP3") from error
    if samples.shape[1] != 1:
        raise ValueError(
            f"{name}: {samples.shape[1]} channels, expected one: each may hold another voice. "
            f"Choose one, for instance with `sox in.wav out.wav remix 1`"
        )
    if not len(samples):
        raise ValueError(f"{name}: no samples, only a header")
    if not np.isfinite(samples).all():
        place = int(np.argmin(np.isfinite(samples[:, 0]))) / rate
        raise ValueError(f"{name}: a sample at {place:.2f} s is not a finite number; write the file again")
    if rate == sampling_rate:
        return samples[:, 0]
    shared = gcd(rate, sampling_rate)
    return resample(torch.from_numpy(samples[:, 0]), rate // shared, sampling_rate // shared).numpy()


def speech_frames(wave: Tensor, features: Tensor, sampling_rate: int) -> Tensor:
    """wave (samples,), features (T, F) -> (T,) of bool, by energy alone: steady noise at a speaking level counts too.

    A frame is silence below QUIETEST, and BELOW_LOUDEST under the loudest hundredth of the frames; those left are
    judged as i-vectors judge them. (That decision compares with the mean level, which long silences pull down.)
    """
    shift = round(FRAME * sampling_rate)
    padded = functional.pad(wave, (0, max(0, len(features) * shift - len(wave))))[: len(features) * shift]
    levels = 10 * padded.view(-1, shift).square().mean(1).clamp(min=1e-12).log10()  # dB
    if not len(levels):
        return torch.zeros(0, dtype=torch.bool)
    speech = levels > max(QUIETEST, float(levels.quantile(0.99)) - BELOW_LOUDEST)
    if speech.any():
        speech[speech.clone()] = speech_mask(features[speech].unsqueeze(0), None, BELOW_MEAN, CONTEXT)[0]
    return speech
