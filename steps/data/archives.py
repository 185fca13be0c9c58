"""Features of cuts into an archive: one part per job, with copies at other speeds for training.

The order of the cuts is that of the supervisions, the copies of an utterance following each other, so
that the cuts of a split are the same however many jobs made them.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse import CutSet, LilcomChunkyWriter, RecordingSet, SupervisionSet
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from lhotse.cut import MonoCut
from lhotse.features.base import FeatureExtractor
from lhotse.features.io import FeaturesWriter
from lhotse.utils import fastcopy

from steps.data.parts import ARCHIVE, CUTS, Part, write_summary


def read_cuts(folder: Path, split: str) -> CutSet:
    """The cuts of a split, in memory. Raises FileNotFoundError naming the stage that makes them."""
    file = folder / f"cuts_{split}.jsonl.gz"
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: stage 2 (features) makes it; data.dir is '{folder}'")
    return CutSet.from_jsonl(file).to_eager()


def whole_recordings(manifest: Path) -> list[MonoCut]:
    """A cut of each recording of a manifest of sounds; [] where there is no such file."""
    if not manifest.is_file():
        return []
    return [recording.to_cut() for recording in RecordingSet.from_file(manifest)]


def utterance_cuts(recordings: RecordingSet, supervisions: SupervisionSet | None = None) -> list[MonoCut]:
    """One cut per supervision, named after it; without supervisions one per recording.

    Raises ValueError for an utterance whose recording is missing or too short, and for a repeated id.
    """
    if supervisions is None:
        return [recording.to_cut() for recording in recordings]
    by_id = {recording.id: recording for recording in recordings}
    cuts: dict[str, MonoCut] = {}
    for supervision in supervisions:
        recording = by_id.get(supervision.recording_id)
        if recording is None:
            raise ValueError(f"utterance {supervision.id}: the manifest has no recording {supervision.recording_id}")
        if supervision.end > recording.duration + 1 / recording.sampling_rate:
            raise ValueError(
                f"utterance {supervision.id} ends at {supervision.end} s, "
                f"after its recording {recording.id} ({recording.duration} s)"
            )
        if supervision.id in cuts:
            raise ValueError(f"utterance {supervision.id} is in the supervisions twice")
        cuts[supervision.id] = MonoCut(
            id=supervision.id,
            start=supervision.start,
            duration=supervision.duration,
            channel=recording.channel_ids[0],
            recording=recording,
            supervisions=[fastcopy(supervision, start=0.0)],
        )
    return list(cuts.values())


def write_cuts(recordings: Path, supervisions: Path, out: Path) -> list[MonoCut]:
    """Writes a cut for each utterance, without features, as gzipped JSON lines (the same bytes each time)."""
    cuts = utterance_cuts(RecordingSet.from_file(recordings), SupervisionSet.from_file(supervisions))
    with out.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for cut in cuts:
            file.write(json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n")
    return cuts


def share_of(cuts: Sequence[MonoCut], job: int, num_jobs: int) -> list[MonoCut]:
    """The cuts of job 1 ... `num_jobs`: neighbours, about as many seconds for each job."""
    if not 1 <= job <= num_jobs:
        raise ValueError(f"--job must be in 1 ... --num-jobs ({num_jobs}), got {job}")
    total, before, mine = sum(cut.duration for cut in cuts), 0.0, []
    for cut in cuts:
        middle = before + cut.duration / 2
        if min(int(middle / total * num_jobs), num_jobs - 1) == job - 1:
            mine.append(cut)
        before += cut.duration
    return mine


def speed_copies(cut: MonoCut, factors: Sequence[float]) -> Iterator[MonoCut]:
    """The cut at each speed: factor 1.1 is 10 % faster and higher, and as much shorter.

    Copies have Lhotse's suffix (`_sp1.1`) in the ids of cut, supervision and recording.
    """
    for factor in factors:
        yield cut if factor == 1.0 else cut.perturb_speed(factor)


def write_part(cuts: Sequence[MonoCut], part: Part, extractor: FeatureExtractor, folder: Path, final: Path) -> None:
    """Extracts features of every cut at every speed of `part` into `folder`, which will be renamed to `final`.

    Completes and writes `part`. Raises ValueError naming the utterance that cannot be read.
    """
    folder.mkdir()
    with LilcomChunkyWriter(folder / ARCHIVE) as archive, CutSet.open_writer(folder / CUTS) as manifest:
        for cut in cuts:
            for copy in speed_copies(cut, part.speed_perturb):
                stored = _extract(copy, extractor, archive)
                features = fastcopy(stored.features, storage_path=str(final / ARCHIVE))
                manifest.write(fastcopy(stored, features=features))
                part.cuts += 1
                part.seconds += copy.duration
    part.utterances = len(cuts)
    part.archive_bytes = (folder / ARCHIVE).stat().st_size
    write_summary(folder, part)


def _extract(cut: MonoCut, extractor: FeatureExtractor, archive: FeaturesWriter) -> MonoCut:
    try:
        return cut.compute_and_store_features(extractor, archive)
    except (AudioLoadingError, DurationMismatchError, ValueError, AssertionError) as error:
        source = cut.recording.sources[0].source
        raise ValueError(f"utterance {cut.id} ({source}): {error}") from error
