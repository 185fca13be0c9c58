"""Sounds for augmentation: folders of audio become data/<corpus>/recordings_<kind>.jsonl.gz, kind noise or rir.

An id is the kind and the path below the folder, so that training can tell sounds apart by how their ids begin:
of MUSAN, `noise-speech-` are single talkers (of which babble is made), `noise-music-` music and `noise-noise-` the
rest; of the mini corpora, `noise-babble` is babble of several talkers, and anything else is noise.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from local.audio import Inspection, Request, inspect_all
from local.corpus import SAMPLING_RATE
from local.preparation import report
from local.problems import Problem
from utils import provenance

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def prepare(
    folder: Path,
    out_dir: Path | str,
    on_bad_data: str = "stop",
    num_jobs: int = 1,
    kind: str = "noise",
    files: Sequence[Path] | None = None,
) -> None:
    """Writes `out_dir`/recordings_<kind>.jsonl.gz: a recording for each audio file below `folder`, sorted by path.

    `files` are those to take when it is not all of them. Other rates than 16 kHz are resampled when they are read.
    What cannot be used (unreadable, truncated, NaN, nothing but zeros; of noise, stereo) is listed in
    `out_dir`/bad_<kind>.tsv; raises BadDataError for it unless `on_bad_data` is "skip", and ValueError when nothing
    is left.
    """
    folder, output = Path(folder), Path(out_dir) / f"recordings_{kind}.jsonl.gz"
    files = find_audio(folder) if files is None else files
    stats = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    made_from = {"folder": str(folder), "files": hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}
    with provenance.make(output, made_from) as temporary:
        if temporary is None:
            return
        requests = [Request(file, speech=False, mono=kind == "noise") for file in files]
        inspections = dict(zip(files, inspect_all(requests, num_jobs), strict=True))
        problems = list(_problems(inspections.values()))
        report(problems, Path(out_dir) / f"bad_{kind}.tsv", folder, on_bad_data)
        bad = {problem.utterance for problem in problems}
        named = [(_name(kind, folder, file), found) for file, found in inspections.items() if str(file) not in bad]
        if not named:
            raise ValueError(f"{folder}: no usable {kind}; expected files {', '.join(SUFFIXES)} at any depth")
        from local import manifests  # see local.preparation

        sounds = manifests.resampled_recordings(named, SAMPLING_RATE)
        manifests.write_jsonl(sounds, temporary)
        logging.info("%s: %d, %.1f minutes", output, len(sounds), sum(sound.duration for sound in sounds) / 60)


def find_audio(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Audio files below `folder`, sorted. Raises FileNotFoundError when it is no directory."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory; expected one with audio files")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def _problems(inspections: Iterable[Inspection]) -> Iterable[Problem]:
    for found in inspections:
        for reason, detail in [*found.faults, *(fault[1:] for fault in found.span_faults)]:
            yield Problem(reason, str(found.path), detail, utterance=str(found.path))


def _name(kind: str, folder: Path, file: Path) -> str:
    """An id without white space that says where the sound lies: `noise-music-rfm-music-rfm-0001`."""
    return f"{kind}-" + "-".join("_".join(part.split()) for part in file.relative_to(folder).with_suffix("").parts)
