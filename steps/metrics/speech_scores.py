"""From measures of mixtures to the "systems" of results.json: means, intervals and buckets of each set."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steps.metrics import pieces
from steps.metrics.bootstrap import LEVEL
from steps.metrics.config import SpeechScoreConfig
from steps.metrics.results import Metric
from steps.metrics.speech_bootstrap import mean_intervals, resampled_by

UNITS = {"si_sdr": "dB", "si_sdri": "dB", "sdr": "dB", "sdri": "dB", "leak": "dB", "cer": "%", "cp_cer": "%"}
IMPROVEMENTS = {"si_sdr": "si_sdri", "sdr": "sdri"}
MIXTURE, CLEAN = "_mixture", "_clean"  # what a metric's name ends with where it is not the estimate's

Row = Mapping[str, Any]  # a line of measures.jsonl


@dataclass(frozen=True)
class Entry:
    """What one talker of a mixture adds to means, as (numerator, denominator) by metric."""

    mixture: str
    group: str  # its talkers
    talkers: int
    level: float | None  # dB above the other talker; None where there is none, or it is the mixture's own entry
    overlap: float
    snr: float | None
    shares: dict[str, tuple[float, float]]


def read_rows(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All lines and the costs that the jobs of steps.measure_speech left in `folder`.

    Raises ValueError for a job that left nothing, or a mixture that two measured.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist: steps.measure_speech writes it")
    folders, rows = job_folders(folder, "measures.jsonl"), []
    for part in folders:
        rows += pieces.read_lines(part / "measures.jsonl")
    twice = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f"{folder}: {twice[0]} was measured twice: measure again with --force")
    if not rows:
        raise ValueError(f"{folder} has no measures: its plan is empty")
    stats = json.loads((folders[0] / "stats.json").read_text(encoding="utf-8"))
    return sorted(rows, key=lambda row: row["id"]), stats


def job_folders(folder: Path, kind: str = "*.wav") -> list[Path]:
    """The folders 1, 2 ... of the jobs of one run in `folder`, or `folder` itself where such files lie in it.

    Raises FileNotFoundError where there is neither, or a job did not finish; ValueError where one left nothing.
    """
    jobs = [path for path in folder.glob("[0-9]*") if path.is_dir()]
    if not jobs:
        if next(folder.glob(kind), None) is None:
            raise FileNotFoundError(f"{folder} has no {kind} and no folders 1, 2 ... of jobs")
        return [folder]
    broken = sorted(str(path) for path in jobs if not (path / "stats.json").is_file())
    if broken:
        raise FileNotFoundError(f"{broken[0]} has no stats.json: that job did not finish; its log says why")
    return pieces.piece_folders(folder)


def merge_stats(folders: Sequence[Path]) -> dict[str, Any]:
    """What the jobs that made estimates cost together: seconds and audio add up, memory is that of the largest.

    Empty without a stats.json, as of estimates that someone else's program wrote.
    """
    files = [folder / "stats.json" for folder in folders]
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    if not parts:
        return {}
    seconds: Counter[str] = Counter()
    peak: dict[str, int] = {}
    for part in parts:
        seconds.update(part.get("seconds", {}))
        for name, value in part.get("peak_memory", {}).items():
            peak[name] = max(peak.get(name, 0), value)
    return {
        **parts[0],
        "audio_seconds": round(sum(part["audio_seconds"] for part in parts), 3),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory": peak,
        "device": ", ".join(sorted({str(part.get("device")) for part in parts})),
    }


def real_time_factor(stats: Mapping[str, Any]) -> float | None:
    """Seconds per second of audio, from file to file; None where they were not measured.

    "all" is the whole of what the other names are parts of.
    """
    seconds = stats.get("seconds")
    if not seconds or not stats.get("audio_seconds"):
        return None
    return round(seconds.get("all", sum(seconds.values())) / stats["audio_seconds"], 5)


def system(name: str, rows: Sequence[Row], stats: Mapping[str, Any], config: SpeechScoreConfig, seed: int) -> dict:
    """One of results.json's "systems": the means of a set, and those of its buckets.

    Raises ValueError where not one output could be measured.
    """
    entries = [entry for row in rows for entry in entries_of(row)]
    groups = {entry.group for entry in entries}
    by = resampled_by([entry.group for entry in entries], config.resample_by)
    what = {"mixture": "mixture", "speakers": "speaker" if len(rows[0]["speakers"]) == 1 else "speaker pair"}[by]
    measured: dict[str, Any] = means(entries, config, seed)
    if "si_sdr" not in measured:
        raise ValueError(f"{name}: no output has an SI-SDR ({dict(undefined(rows))}): look at the estimates")
    factor = real_time_factor(stats)
    if factor is not None:
        measured["rtf"] = {"value": factor, "unit": ""}
    return {
        "name": name,
        "talkers": len(rows[0]["speakers"]),
        "mixtures": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "metrics": measured,
        "buckets": buckets(entries, config, seed),
        "undefined": undefined(rows),
        "transcribed": sum("cp_errors" in row for row in rows),
        "bootstrap": {
            "level": LEVEL,
            "resamples": config.resamples,
            "by": what,
            "groups": len(rows) if by == "mixture" else len(groups),
        },
        "processing": stats,
    }


def entries_of(row: Row) -> list[Entry]:
    """One for each talker, and one for what concerns the whole mixture."""
    speakers = sorted(row["speakers"])
    difference = row["level_difference"]
    levels = {0: difference, 1: -difference} if len(row["sources"]) > 1 else {}
    known = (row["id"], " + ".join(speakers), len(speakers))
    entries = [
        Entry(*known, levels.get(number), row["overlap"], row["snr"], _shares(source))
        for number, source in enumerate(row["sources"])
    ]
    if "cp_errors" in row and len(row["sources"]) > 1:
        tokens = sum(source["errors"]["tokens"] for source in row["sources"])
        shares = {"cp_cer": (float(row["cp_errors"]), float(tokens))}
        entries.append(Entry(*known, None, row["overlap"], row["snr"], shares))
    return entries


def means(entries: Sequence[Entry], config: SpeechScoreConfig, seed: int) -> dict[str, Any]:
    """By metric, its mean with the interval; rates are errors of all mixtures by all their tokens, in percent."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.shares))
    shares = np.array([[entry.shares.get(name, (0.0, 0.0)) for name in names] for entry in entries])  # (R, M, 2)
    sums, counts = shares[:, :, 0], shares[:, :, 1]
    by = resampled_by([entry.group for entry in entries], config.resample_by)
    groups = [entry.group if by == "speakers" else entry.mixture for entry in entries]
    low, high = mean_intervals(groups, sums, counts, config.resamples, seed)
    found = {}
    for place, name in enumerate(names):
        total = counts[:, place].sum()
        if total > 0:
            base = name.removesuffix(MIXTURE).removesuffix(CLEAN)
            unit = UNITS.get(base, "")
            scale = 100.0 if unit == "%" else 1.0
            values = (scale * float(value) for value in (sums[:, place].sum() / total, low[place], high[place]))
            found[name] = asdict(Metric(*(round(value, 4) for value in values), unit))
    return found


def buckets(entries: Sequence[Entry], config: SpeechScoreConfig, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Means by overlap, by level against the other talker, and by SNR; of each where there is more than one bucket."""
    sides: dict[str, Callable[[Entry], tuple[float, str] | None]] = {
        "overlap": lambda e: _nearest(e.overlap, config.overlaps) if e.talkers > 1 else None,
        "level": lambda e: None if e.level is None else _between(e.level, config.level_edges),
        "snr": lambda e: None if e.snr is None else _between(e.snr, config.snr_edges),
    }
    found = {}
    for name, side in sides.items():
        parts: dict[tuple[float, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            place = side(entry)
            if place is not None:
                parts[place].append(entry)
        if len(parts) > 1:
            found[name] = [
                {
                    "name": title,
                    "mixtures": len({entry.mixture for entry in part}),
                    "metrics": means(part, config, seed),
                }
                for (_, title), part in sorted(parts.items())
            ]
    return found


def undefined(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many values are not in the means, by metric and reason."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for source in row["sources"]:
            for key, reason in source["undefined"].items():
                signal, _, metric = key.partition(".")
                found[metric + (MIXTURE if signal == "mixture" else "")][reason] += 1
    return {name: dict(sorted(reasons.items())) for name, reasons in sorted(found.items())}


def _shares(source: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    shares: dict[str, tuple[float, float]] = {}
    for name, value in source["estimate"].items():
        before = source["mixture"][name]
        shares[name] = _share(value)
        shares[name + MIXTURE] = _share(before)
        if name in IMPROVEMENTS:
            shares[IMPROVEMENTS[name]] = _share(None if value is None or before is None else value - before)
    for ending, signal in (("", "estimate"), (MIXTURE, "mixture"), (CLEAN, "clean")):
        if "errors" in source:
            shares[f"cer{ending}"] = (float(source["errors"][signal]), float(source["errors"]["tokens"]))
    return shares


def _share(value: float | None) -> tuple[float, float]:
    return (0.0, 0.0) if value is None else (value, 1.0)


def _nearest(value: float, centres: Sequence[float]) -> tuple[float, str]:
    centre = min(centres, key=lambda each: abs(each - value))
    return centre, f"{100 * centre:.0f} %"


def _between(value: float, edges: Sequence[float]) -> tuple[float, str]:
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return -np.inf, f"below {edges[0]:g} dB"
    low = edges[place - 1]
    return low, f"{low:g} dB and above" if place == len(edges) else f"{low:g} to {edges[place]:g} dB"
