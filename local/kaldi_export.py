"""Lhotse manifests go back out as Kaldi data directories, which `local.kaldi_dir` and Kaldi itself read."""

import gzip
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lhotse import RecordingSet, SupervisionSegment, SupervisionSet

from utils import atomic


def export(data_dir: Path, out_dir: Path, splits: Sequence[str]) -> None:
    """Writes `out_dir`/<split>/{wav.scp,text,utt2spk,spk2utt}, and segments where utterances are parts of files.

    A split without transcripts gets no text; enrolments and trials are written where data/<corpus> has them. Lines
    are sorted as with LC_ALL=C. A data/<corpus>/lexicon.txt is copied. Raises FileNotFoundError when stage 1 has not
    made the manifests.
    """
    for split in splits:
        files = [data_dir / f"{kind}_{split}.jsonl.gz" for kind in ("recordings", "supervisions")]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"{file} does not exist; stage 1 (manifests) makes it")
        recordings, supervisions = RecordingSet.from_file(files[0]), SupervisionSet.from_file(files[1])
        write_split(list(supervisions), {r.id: r for r in recordings}, out_dir / split)
        for name, opener in (("enrolments", open), ("trials", gzip.open)):
            file = data_dir / f"{name}_{split}.txt{'.gz' if name == 'trials' else ''}"
            if file.is_file():
                with opener(file, "rt", encoding="utf-8") as lines:
                    atomic.write_text(out_dir / split / name, lines.read())
    if (data_dir / "lexicon.txt").is_file():
        atomic.write_text(out_dir / "lexicon.txt", (data_dir / "lexicon.txt").read_text(encoding="utf-8"))


def write_split(supervisions: Sequence[SupervisionSegment], recordings: Mapping, folder: Path) -> None:
    """Writes one Kaldi data directory; see `export`."""
    paths = {}
    for recording in recordings.values():
        paths[recording.id] = recording.sources[0].source
    whole = all(s.id == s.recording_id and _covers(s, recordings[s.recording_id]) for s in supervisions)
    _write(folder / "wav.scp", paths.items())
    if any(s.text for s in supervisions):
        _write(folder / "text", ((s.id, s.text or "") for s in supervisions))
    _write(folder / "utt2spk", ((s.id, s.speaker) for s in supervisions))
    speakers = defaultdict(list)
    for supervision in supervisions:
        speakers[supervision.speaker].append(supervision.id)
    _write(folder / "spk2utt", ((speaker, " ".join(sorted(ids))) for speaker, ids in speakers.items()))
    if whole:
        (folder / "segments").unlink(missing_ok=True)
    else:
        spans = ((s.id, f"{s.recording_id} {s.start:.6f} {s.end:.6f}") for s in supervisions)
        _write(folder / "segments", spans)
    unprefixed = [s.id for s in supervisions if not s.id.startswith(s.speaker)]
    if unprefixed:
        logging.warning(
            "%s: %d utterance ids, '%s' the first, do not begin with their speaker's; Kaldi's scripts that sort "
            "by speaker refuse such directories",
            folder,
            len(unprefixed),
            unprefixed[0],
        )
    logging.info("%s: %d utterances", folder, len(supervisions))


def _covers(supervision: SupervisionSegment, recording) -> bool:
    return supervision.start == 0 and abs(supervision.end - recording.duration) < 1e-3


def _write(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Sorting by code point is sorting by UTF-8 byte, which is what LC_ALL=C does."""
    atomic.write_text(path, "".join(f"{key} {value}\n" for key, value in sorted(rows)))
