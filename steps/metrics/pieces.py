"""What decoding left in a directory, put together from the pieces of its jobs and checked."""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils import atomic


@dataclass
class Decoded:
    """A decoded split. Texts, speakers and n-best lists are by utterance id."""

    refs: dict[str, str]
    speakers: dict[str, str]
    hyps: dict[str, dict[str, str]]  # by system
    nbest: dict[str, list[dict[str, Any]]] | None
    stats: dict[str, Any]


def piece_folders(folder: Path) -> list[Path]:
    """The directories of the jobs that wrote into `folder`, or `folder` itself when it was one job's.

    Raises ValueError when a job has left nothing, or pieces are of different runs.
    """
    jobs = {int(path.name): path for path in folder.glob("[0-9]*") if path.name.isdigit()}
    if not jobs:
        if not (folder / "stats.json").is_file():
            raise FileNotFoundError(
                f"{folder} has no stats.json and no pieces 1, 2 ...: run the stage before this one, which writes them"
            )
        return [folder]
    first = jobs[min(jobs)]
    wanted = _stats(first)["num_jobs"]
    missing = [job for job in range(1, wanted + 1) if job not in jobs]
    if missing:
        raise ValueError(
            f"{folder}: of {wanted} jobs {missing} left nothing; their logs say why. Run their stage again"
        )
    surplus = sorted(job for job in jobs if job > wanted)
    if surplus:
        logging.warning("%s: pieces %s are of an earlier run with more jobs; left out", folder, surplus)
    folders = [jobs[job] for job in range(1, wanted + 1)]
    for piece in folders:
        if _stats(piece)["num_jobs"] != wanted:
            raise ValueError(
                f"{piece} is of a run with another number of jobs than {first}: run their stage again with --force"
            )
    return folders


def merge(folder: Path) -> Decoded:
    """Reads the pieces, checks them, and writes them together into `folder`.

    Raises ValueError naming utterances that occur twice, or that have no hypothesis or no reference.
    """
    pieces = piece_folders(folder)
    refs, speakers = _read_texts(pieces, "ref.txt"), _read_texts(pieces, "utt2spk")
    names = sorted({path.name for piece in pieces for path in piece.glob("hyp_*.txt")})
    hyps = {name[len("hyp_") : -len(".txt")]: _read_texts(pieces, name) for name in names}
    nbest = None
    if any((piece / "nbest.jsonl").is_file() for piece in pieces):
        nbest = dict(sorted((row["id"], row["hyps"]) for piece in pieces for row in read_lines(piece / "nbest.jsonl")))
    for what, values in (("utt2spk", speakers), *hyps.items(), ("nbest.jsonl", refs if nbest is None else nbest)):
        _check_same(folder, what, refs, values)
    decoded = Decoded(refs, speakers, hyps, nbest, _merge_stats([_stats(piece) for piece in pieces]))
    if pieces != [folder]:
        _write(decoded, folder)
    return decoded


def read_text(path: Path) -> dict[str, str]:
    """Kaldi's `text` form, a line "utterance-id text": text by id. Raises ValueError for an id that occurs twice."""
    texts: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        key, _, text = line.partition(" ")
        if key in texts:
            raise ValueError(f"{path}: utterance {key} occurs twice")
        if key:
            texts[key] = text
    return texts


def write_text(path: Path, texts: dict[str, str]) -> None:
    """The inverse of `read_text`, sorted by id."""
    atomic.write_text(path, "".join(f"{key} {texts[key]}".rstrip() + "\n" for key in sorted(texts)))


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The objects of a file with one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _read_texts(pieces: list[Path], name: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for piece in pieces:
        part = read_text(piece / name)
        twice = texts.keys() & part.keys()
        if twice:
            raise ValueError(f"{piece / name}: {_some(twice)} also in another piece: decode again with --force")
        texts.update(part)
    return texts


def _check_same(folder: Path, what: str, refs: dict[str, str], values: dict[str, Any]) -> None:
    for problem, ids in (
        ("are missing", refs.keys() - values.keys()),
        ("have no reference", values.keys() - refs.keys()),
    ):
        if ids:
            raise ValueError(f"{folder}, {what}: {_some(ids)} {problem}: decode again with --force")


def _some(ids: Iterable[str]) -> str:
    names = sorted(ids)
    return f"{len(names)} utterances ({', '.join(names[:5])}{' ...' if len(names) > 5 else ''})"


def _stats(piece: Path) -> dict[str, Any]:
    file = piece / "stats.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: that job did not finish. Run its stage again")
    return json.loads(file.read_text(encoding="utf-8"))


def _merge_stats(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Times, audio and counts add up; memory is that of the largest job."""
    merged = dict(parts[0])
    for name in ("seconds", "partial"):
        total: Counter[str] = Counter()
        for part in parts:
            total.update(part[name])
        merged[name] = {key: round(value, 3) for key, value in total.items()}
    for name in ("utterances", "audio_seconds"):
        merged[name] = round(sum(part[name] for part in parts), 3)
    kinds = {kind for part in parts for kind in part["peak_memory"]}
    merged["peak_memory"] = {kind: max(part["peak_memory"].get(kind, 0) for part in parts) for kind in sorted(kinds)}
    merged["device"] = ", ".join(sorted({str(part.get("device")) for part in parts}))
    merged.pop("job", None)
    return merged


def _write(decoded: Decoded, folder: Path) -> None:
    for system, texts in decoded.hyps.items():
        write_text(folder / f"hyp_{system}.txt", texts)
    write_text(folder / "ref.txt", decoded.refs)
    write_text(folder / "utt2spk", decoded.speakers)
    if decoded.nbest is not None:
        lines = (
            json.dumps({"id": key, "hyps": hyps}, ensure_ascii=False) + "\n" for key, hyps in decoded.nbest.items()
        )
        atomic.write_text(folder / "nbest.jsonl", "".join(lines))
    atomic.write_json(folder / "stats.json", decoded.stats)
