"""WAV files of which equal samples are equal bytes."""

from pathlib import Path

import soundfile

RIFF_BYTES = 1 << 32  # a plain WAV file holds less; a longer one is RF64, its successor
HEADER_BYTES = 1 << 16
SET_ADD_PEAK_CHUNK = 0x1050  # libsndfile's command; its constants are in sndfile.h


def new_wav(path: Path, rate: int, samples: int, subtype: str) -> soundfile.SoundFile:
    """A file to write so many samples of one channel to; `subtype` is FLOAT, PCM_16 or PCM_24.

    libsndfile puts a PEAK chunk into files of floats, which holds the time of day; without it a second run writes the
    same file.
    """
    size = samples * (4 if subtype == "FLOAT" else int(subtype.removeprefix("PCM_")) // 8)
    container = "WAV" if size + HEADER_BYTES < RIFF_BYTES else "RF64"
    file = soundfile.SoundFile(path, "w", rate, 1, subtype=subtype, format=container)
    soundfile._snd.sf_command(file._file, SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)  # soundfile has no name for it
    return file
