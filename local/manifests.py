"""Checked utterances become Lhotse manifests on disk, the same bytes each time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse import Recording, SupervisionSegment
from lhotse.audio import AudioSource

from local import gzipped
from local.audio import Inspection
from local.corpus import Utterance


def write_jsonl(items: Iterable[Any], path: Path) -> None:
    """Writes Lhotse items (anything with `to_dict`) as gzipped JSON lines, without the time (see `local.gzipped`)."""
    gzipped.write_lines(path, (json.dumps(item.to_dict(), ensure_ascii=False) for item in items))


def recording(name: str, found: Inspection) -> Recording:
    """A recording with the absolute path of its file, so that it can be read from any directory."""
    source = AudioSource("file", list(range(found.channels)), str(found.path.absolute()))
    return Recording(name, [source], found.sampling_rate, found.samples, found.samples / found.sampling_rate)


def recordings(utterances: Iterable[Utterance], inspections: Mapping[Path, Inspection]) -> list[Recording]:
    """The recordings that the utterances lie in, each once, sorted by id."""
    files = {utterance.recording: utterance.audio for utterance in utterances}
    return [recording(name, inspections[file]) for name, file in sorted(files.items())]


def supervisions(
    utterances: Iterable[Utterance], inspections: Mapping[Path, Inspection], language: str | None
) -> list[SupervisionSegment]:
    """One supervision for each utterance; its end is never later than that of its recording."""
    segments = []
    for utterance in utterances:
        found = inspections[utterance.audio]
        length = found.samples / found.sampling_rate
        end = length if utterance.end is None else min(utterance.end, length)
        segment = SupervisionSegment(
            id=utterance.id,
            recording_id=utterance.recording,
            start=utterance.start,
            duration=round(end - utterance.start, 8),
            text=utterance.text,
            language=language,
            speaker=utterance.speaker,
            custom=utterance.custom,
        )
        segments.append(segment)
    return segments


def resampled_recordings(inspections: Iterable[tuple[str, Inspection]], sampling_rate: int) -> list[Recording]:
    """One recording for each (id, file), resampled when it is read where its rate is another."""
    return [recording(name, found).resample(sampling_rate) for name, found in inspections]


def summary(utterances: Sequence[Utterance], segments: Sequence[SupervisionSegment]) -> dict[str, Any]:
    """Numbers of one split: utterances, speakers, hours."""
    return {
        "utterances": len(utterances),
        "speakers": len({utterance.speaker for utterance in utterances}),
        "hours": round(sum(segment.duration for segment in segments) / 3600, 4),
    }
