"""The common end of every corpus module: check what was found, report it, write the manifests."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local import problems, trials
from local.audio import Inspection
from local.check import check, usable
from local.corpus import SPLITS, Scan, Utterance
from local.problems import BadDataError, Problem
from utils import atomic, provenance


def prepare(scan: Scan, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1) -> None:
    """Writes recordings_<split>.jsonl.gz, supervisions_<split>.jsonl.gz, lexicon.txt (where the corpus has one),
    enrolments_<split>.txt and trials_<split>.txt.gz (where it defines them, see `local.trials`), bad_data.tsv (where
    there was bad data) and at last corpus.json with the numbers of each split to `out_dir`.

    Does nothing when corpus.json was made from the same files. Raises BadDataError for bad data, after the
    table of all of it, unless `on_bad_data` is "skip"; and ValueError when a split has no utterance left.
    """
    out_dir = Path(out_dir)
    made_from = {"corpus": scan.name, "folder": str(scan.folder.absolute()), "files": _digest(scan), **scan.options}
    parts = [*_manifests(out_dir), *(file for test in scan.tests for file in test.files(out_dir))]
    with provenance.make(_trusted(out_dir / "corpus.json", parts), made_from) as temporary:
        if temporary is None:
            return
        lists = [*out_dir.glob("enrolments_*.txt"), *out_dir.glob("trials_*.txt.gz")]
        for old in (*_manifests(out_dir), *lists, out_dir / "lexicon.txt", out_dir / "corpus.json"):
            old.unlink(missing_ok=True)  # should this run stop, nothing older may pass for its result
        found, inspections = check(scan, num_jobs)
        report(found, out_dir / "bad_data.tsv", scan.folder, on_bad_data)
        utterances = _long_enough(scan, usable(scan, found), inspections)
        summary = {
            split: _write_split(scan, [u for u in utterances if u.split == split], inspections, out_dir, split)
            for split in SPLITS
        }
        if scan.lexicon:
            atomic.write_text(out_dir / "lexicon.txt", "\n".join(scan.lexicon) + "\n")
        for test in scan.tests:
            speakers = {u.id: u.speaker for u in utterances if u.split == test.split}
            summary[test.split][test.name or "test"] = trials.write(trials.restrict(test, speakers), out_dir)
        atomic.write_json(temporary, {"corpus": scan.name, "splits": summary})


def report(found: Sequence[Problem], listing: Path, folder: Path, on_bad_data: str) -> None:
    """Writes the list of problems and logs their table. Raises BadDataError unless all may be skipped."""
    if on_bad_data not in ("stop", "skip"):
        raise ValueError(f"--on-bad-data is '{on_bad_data}', expected 'stop' or 'skip'")
    problems.write(found, listing)
    if not found:
        return
    logging.warning("bad data in %s\n%s", folder, problems.table(found, listing))
    bad = sum(not problem.warning for problem in found)
    if bad and on_bad_data == "stop":
        raise BadDataError(
            f"{bad} problem{'s' * (bad > 1)} in {folder}, listed in {listing}; nothing was prepared. "
            f"Mend them, or leave out what is bad with --on-bad-data skip."
        )


def _manifests(out_dir: Path) -> list[Path]:
    return [out_dir / f"{kind}_{split}.jsonl.gz" for split in SPLITS for kind in ("recordings", "supervisions")]


def _trusted(output: Path, parts: Sequence[Path]) -> Path:
    """`output`, removed first if its record or a file that it stands for is gone."""
    if not provenance.record_path(output).exists() or not all(part.exists() for part in parts):
        output.unlink(missing_ok=True)
    return output


def _write_split(
    scan: Scan, utterances: list[Utterance], inspections: dict[Path, Inspection], out_dir: Path, split: str
) -> dict[str, Any]:
    from local import manifests  # Lhotse and torch take seconds, which the processes that read audio must not pay

    if not utterances:
        raise ValueError(f"{scan.folder}: no usable utterance in '{split}'; every recipe needs {', '.join(SPLITS)}")
    segments = manifests.supervisions(utterances, inspections, scan.language)
    manifests.write_jsonl(manifests.recordings(utterances, inspections), out_dir / f"recordings_{split}.jsonl.gz")
    manifests.write_jsonl(segments, out_dir / f"supervisions_{split}.jsonl.gz")
    numbers = manifests.summary(utterances, segments)
    logging.info("%s %s: %d utterances, %d speakers, %.2f hours", scan.name, split, *numbers.values())
    return numbers


def _long_enough(scan: Scan, utterances: list[Utterance], inspections: dict[Path, Inspection]) -> list[Utterance]:
    """Without the training utterances that are shorter than the scan asks for."""

    def seconds(utterance: Utterance) -> float:
        found = inspections[utterance.audio]
        end = found.samples / found.sampling_rate
        return min(utterance.end or end, end) - utterance.start

    kept = [u for u in utterances if u.split != "train" or seconds(u) >= scan.min_seconds]
    if len(kept) < len(utterances):
        number = len(utterances) - len(kept)
        logging.info("%s: %d training utterances under %g s left out", scan.name, number, scan.min_seconds)
    return kept


def _digest(scan: Scan) -> str:
    """Changes when an id, a text, a path, or the size or time of an audio file does."""
    state = hashlib.sha256()
    for utterance in scan.utterances:
        stat = utterance.audio.stat() if utterance.audio.exists() else None
        fields: list[Any] = [utterance.id, utterance.split, utterance.speaker, utterance.text]
        fields += [str(utterance.audio), utterance.recording, utterance.start, utterance.end]
        fields += [stat.st_size, stat.st_mtime_ns] if stat else [None]
        fields += [utterance.custom] if utterance.custom else []
        state.update(json.dumps(fields).encode())
    state.update("\n".join(scan.lexicon).encode())
    state.update(repr(scan.problems).encode())
    for part in (part for test in scan.tests for part in test.content()):
        state.update(part)
    return state.hexdigest()[:16]
