"""Enrolled speakers on disk: one .npz of their utterances' embeddings, bound to the model that made them."""

import contextlib
import fcntl
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from steps.inference.arrays import read_arrays
from utils import atomic

FORMAT = 1  # of the file
PATIENCE = 30.0  # seconds to wait for another process that writes the same gallery
RESERVED = ("unknown", "no decision")  # words of steps.identify_speaker


@dataclass(eq=False)
class Speaker:
    """Embeddings (n, E) float32 of n utterances, seconds of speech (n,) and the name of the file of each."""

    vectors: np.ndarray
    seconds: np.ndarray
    files: list[str]

    def __post_init__(self) -> None:
        if not 1 <= len(self.files) == len(self.vectors) == len(self.seconds):
            raise ValueError(
                f"{len(self.files)} files, {len(self.vectors)} embeddings and {len(self.seconds)} durations"
            )


@dataclass(eq=False)
class Gallery:
    """Speakers by name, in the order of their enrolment; `model` and `backend` are hashes."""

    model: str
    backend: str
    speakers: dict[str, Speaker] = field(default_factory=dict)

    def add(self, name: str, speaker: Speaker, replace: bool = False) -> None:
        """Enrols. Raises ValueError as `check_free`."""
        self.check_free(name, replace)
        sizes = {other.vectors.shape[1] for other in self.speakers.values()}
        assert not sizes - {speaker.vectors.shape[1]}, "embeddings of two sizes in one gallery"
        self.speakers[name] = speaker

    def check_free(self, name: str, replace: bool = False) -> None:
        """Raises ValueError for a name that is taken, unless `replace`, and for one that cannot be used."""
        check_name(name)
        if name in self.speakers and not replace:
            raise ValueError(f"{name} is enrolled already; --replace makes the enrolment anew from the files given")

    def remove(self, name: str) -> None:
        """Takes a speaker out. Raises ValueError, with names that there are, for one that is not enrolled."""
        if name not in self.speakers:
            some = ", ".join(list(self.speakers)[:10]) + (", ..." if len(self.speakers) > 10 else "")
            raise ValueError(f"{name} is not enrolled; the gallery has {some or 'nobody'}")
        del self.speakers[name]

    def check_model(self, model: str, path: Path) -> None:
        """Raises ValueError where the gallery at `path` is of another model than the one with that hash."""
        if self.model != model:
            raise ValueError(
                f"{path} was made with model {self.model}, but the checkpoint is model {model}: embeddings of two "
                f"models cannot be compared. Use that checkpoint, or enrol the speakers again in a new gallery"
            )

    def save(self, path: Path) -> None:
        """Writes one .npz that holds nothing but arrays, by rename."""
        speakers = list(self.speakers.values())
        arrays = {
            "format": np.array(FORMAT),
            "model": np.array(self.model),
            "backend": np.array(self.backend),
            "names": np.array(list(self.speakers), dtype=np.str_),
            "counts": np.array([len(speaker.files) for speaker in speakers], dtype=np.int64),
            "vectors": np.concatenate([s.vectors for s in speakers] or [np.zeros((0, 1))]).astype(np.float32),
            "seconds": np.concatenate([s.seconds for s in speakers] or [np.zeros(0)]).astype(np.float64),
            "files": np.array([file for speaker in speakers for file in speaker.files], dtype=np.str_),
        }
        with atomic.output(path) as temporary, temporary.open("wb") as stream:  # numpy would append .npz to a name
            np.savez(stream, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Gallery":
        """The inverse of `save`. Raises FileNotFoundError, or ValueError for another kind of file."""
        if not path.is_file():
            raise FileNotFoundError(f"there is no gallery {path}; steps.enroll_speakers makes it")
        try:
            arrays = read_arrays(path)
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"format {int(arrays['format'])}, expected {FORMAT}")
            names, ends = arrays["names"].tolist(), np.cumsum(arrays["counts"])[:-1]
            vectors, seconds = (np.split(arrays[key], ends) for key in ("vectors", "seconds"))
            files = [part.tolist() for part in np.split(arrays["files"], ends)]
            found = cls(str(arrays["model"]), str(arrays["backend"]))
            for name, *parts in zip(names, vectors, seconds, files, strict=bool(names)):
                found.speakers[name] = Speaker(*parts)
            return found
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is no gallery that this version reads ({error}); enrol again") from error


@contextlib.contextmanager
def editing(path: Path, model: str = "", backend: str = "", patience: float = PATIENCE) -> Iterator[Gallery]:
    """The gallery at `path`, written back after the block unless that raises; processes take turns, by a lock file.

    With `model`, a gallery that is not there is made, and one of another model raises ValueError. The back end is
    noted anew: it is no part of the embeddings. Raises ValueError where another process holds the lock for longer than
    `patience` seconds.
    """
    if not model and not path.is_file():
        Gallery.load(path)  # says that there is none, and leaves no lock behind
    with _turn(path, patience):
        gallery = Gallery.load(path) if path.exists() or not model else Gallery(model, backend)
        if model:
            gallery.check_model(model, path)
            gallery.backend = backend
        yield gallery
        gallery.save(path)


@contextlib.contextmanager
def _turn(path: Path, patience: float) -> Iterator[None]:
    """Holds the lock of `path`. The file stays: who removed it would let two in that have it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + patience
    with lock.open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise ValueError(
                        f"another process has held {lock} for {patience:g} s; run this again when it has ended"
                    ) from error
                time.sleep(0.05)
        yield


def check_wanted(path: Path, names: Sequence[str], model: str, replace: bool) -> None:
    """Raises ValueError as enrolling the names will, so that nobody waits for embeddings that are of no use."""
    gallery = Gallery.load(path) if path.exists() else Gallery(model, "")
    gallery.check_model(model, path)
    for name in names:
        gallery.check_free(name, replace)


def check_name(name: str) -> None:
    """Raises ValueError for a speaker's name that steps.identify_speaker could not print so that it is understood."""
    strange = [char for char in name if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    if not name or name != name.strip() or strange or name.lower() in RESERVED:
        raise ValueError(
            f"a speaker cannot be called {name!r}: expected a name without control characters or spaces around it, "
            f"other than {' and '.join(RESERVED)}"
        )


def describe(gallery: Gallery) -> Sequence[str]:
    """A line for each speaker: name, utterances, seconds of speech, files; parted by tabs."""
    return [
        f"{name}\t{len(speaker.files)}\t{speaker.seconds.sum():.1f}\t{', '.join(speaker.files)}"
        for name, speaker in gallery.speakers.items()
    ]
