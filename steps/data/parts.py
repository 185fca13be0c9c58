"""The shares that feature jobs make of a split: what each must hold, and how they become the split's cuts.

A part is a directory with an archive, its cuts, and a summary that both are held to. No torch here, so
that joining parts starts quickly.
"""

import gzip
import json
from dataclasses import asdict, dataclass
from pathlib import Path

ARCHIVE, CUTS, SUMMARY = "feats.lca", "cuts.jsonl", "part.json"


@dataclass
class Part:
    """What a job is to make, and made."""

    job: int
    num_jobs: int
    speed_perturb: list[float]
    utterances: int = 0  # before speed perturbation
    cuts: int = 0
    seconds: float = 0.0  # of audio, all copies
    archive_bytes: int = 0


def write_summary(folder: Path, part: Part) -> None:
    """Writes the summary, as the last file of a part."""
    (folder / SUMMARY).write_text(json.dumps(asdict(part)) + "\n", encoding="utf-8")


def read_parts(folder: Path) -> list[Part]:
    """The parts that the jobs made as `folder`/1, `folder`/2 and so on.

    Raises FileNotFoundError for a missing part, and ValueError where parts are of different runs or an
    archive has not the length that was written.
    """
    first = _read_part(folder, 1)
    parts = [first, *(_read_part(folder, job) for job in range(2, first.num_jobs + 1))]
    for job, part in enumerate(parts, start=1):
        if (part.job, part.num_jobs, part.speed_perturb) != (job, first.num_jobs, first.speed_perturb):
            raise ValueError(f"{folder / str(job)} and {folder / '1'} are of different runs; remove {folder}")
        archive = folder / str(job) / ARCHIVE
        if archive.stat().st_size != part.archive_bytes:
            raise ValueError(f"{archive} has {archive.stat().st_size} bytes, not {part.archive_bytes}; remove {folder}")
    return parts


def made_by_fewer_jobs(folder: Path, part: Part) -> bool:
    """Whether `folder` holds all parts of an earlier run that had no job of this number, so that there is none to make.

    A run with another number of jobs finds the parts of the earlier one: `read_parts` takes those.
    """
    if not (folder / "1" / SUMMARY).is_file():
        return False
    earlier = _read_part(folder, 1).num_jobs
    return part.job > earlier and all((folder / str(job) / SUMMARY).is_file() for job in range(1, earlier + 1))


def combine_parts(folder: Path, utterances: int, out: Path) -> list[Part]:
    """Writes the cuts of all parts to `out` (gzipped JSON lines, the same bytes each time); returns the parts.

    `utterances` is how many the manifest has. Raises ValueError if some are missing or repeated.
    """
    parts = read_parts(folder)
    found = sum(part.utterances for part in parts)
    if found != utterances:
        raise ValueError(f"{folder} has features of {found} utterances, the manifest has {utterances}; remove {folder}")
    ids: set[str] = set()
    with out.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for part in parts:
            cuts, before = folder / str(part.job) / CUTS, len(ids)
            for line in cuts.read_bytes().splitlines(keepends=True):
                ids.add(json.loads(line)["id"])
                file.write(line)
            if len(ids) - before != part.cuts or part.cuts != part.utterances * len(part.speed_perturb):
                raise ValueError(f"{cuts} has {len(ids) - before} new cuts, not {part.cuts}; remove {folder}")
    return parts


def count_lines(manifest: Path) -> int:
    """Entries of a .jsonl.gz manifest."""
    with gzip.open(manifest, "rb") as file:
        return sum(1 for line in file if line.strip())


def _read_part(folder: Path, job: int) -> Part:
    summary = folder / str(job) / SUMMARY
    if not summary.is_file():
        raise FileNotFoundError(f"{summary.parent} is missing or not complete; steps.compute_fbank makes it")
    return Part(**json.loads(summary.read_text(encoding="utf-8")))
