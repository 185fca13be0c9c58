"""results.json: what was measured, on what, how, and what it cost."""

import gzip
import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steps.metrics.bootstrap import LEVEL, group_sums, interval, resampled_by
from steps.metrics.config import ScoreConfig
from steps.metrics.edit_distance import Scored, add_up
from utils import atomic
from utils import config as config_file

SPLITS = ("train", "dev", "test")
TRAINING_STAGE = 4


@dataclass
class Metric:
    """A measured value with its bootstrap interval."""

    value: float
    low: float
    high: float
    unit: str = "%"


def error_rate(scored: list[Scored], config: ScoreConfig, seed: int) -> Metric:
    """The error rate of all utterances together. Raises ValueError where no reference has a token."""
    counts = add_up(utterance.counts for utterance in scored)
    if counts.rate is None:
        raise ValueError("no reference has any text: an error rate cannot be computed (see ref.txt)")
    bounds = interval(group_sums(scored, config.resample_by), config.resamples, seed)
    return Metric(round(counts.rate, 4), round(bounds.low, 4), round(bounds.high, 4))


def metric_name(config: ScoreConfig) -> str:
    """cer or wer."""
    return "cer" if config.unit == "char" else "wer"


def real_time_factor(system: str, stats: dict[str, Any]) -> float:
    """Seconds of one process (features loaded, network, this search) per second of audio."""
    seconds = stats["seconds"]
    spent = sum(seconds.get(name, 0.0) for name in ("features", "network", system))
    return round(spent / max(stats["audio_seconds"], 1e-9), 5)


def system_entry(
    name: str, dev: list[Scored], test: list[Scored], stats: dict[str, Any], config: ScoreConfig, seed: int
) -> dict[str, Any]:
    """One of results.json's "systems": metrics and errors on test, the same on dev, and what went amiss."""
    measured = {}
    for split, scored in (("test", test), ("dev", dev)):
        counts = add_up(utterance.counts for utterance in scored).to_dict()
        measured[split] = {"metrics": {metric_name(config): asdict(error_rate(scored, config, seed))}, "errors": counts}
    measured["test"]["metrics"]["rtf"] = {"value": real_time_factor(name, stats), "unit": ""}
    return {"name": name, **measured["test"], "dev": measured["dev"], "partial": stats["partial"].get(name, 0)}


def bootstrap_facts(speakers: Mapping[str, str], config: ScoreConfig) -> dict[str, Any]:
    """How the intervals were made; speakers by utterance."""
    by = resampled_by(speakers, config.resample_by)
    groups = len(set(speakers.values())) if by == "speaker" else len(speakers)
    return {"level": LEVEL, "resamples": config.resamples, "by": by, "groups": groups}


def stages(exp: Path) -> list[dict[str, Any]]:
    """Number, title and seconds of every stage that is done, from exp/.stages."""
    records = (json.loads(file.read_text(encoding="utf-8")) for file in sorted((exp / ".stages").glob("*.json")))
    done = [record for record in records if record.get("state") == "done" and "seconds" in record]
    return [{name: record[name] for name in ("stage", "title", "seconds")} for record in done]


def describe(exp: Path, corpus: str, command: str, config: Any, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What results.json of any task says of the run in `exp` around what was `measured`."""
    done = stages(exp)
    return {
        "corpus": corpus,
        "split": "test",
        "exp": exp.resolve().name,
        "command": command,
        "commit": commit(Path(__file__).parents[2]),
        "config_hash": config_file.digest(config),
        "seed": config.seed,
        "manifest_hash": manifest_hash(Path(config.data.dir)),
        **measured,
        "stages": done,
        "training_seconds": training_seconds(exp, done),
    }


def publish(exp: Path) -> None:
    """Copies EXP/score/results.json to EXP/results.json, and prints EXP/score/summary.txt."""
    atomic.write_text(exp / "results.json", (exp / "score" / "results.json").read_text(encoding="utf-8"))
    print((exp / "score" / "summary.txt").read_text(encoding="utf-8"), end="")


def training_seconds(exp: Path, done: list[dict[str, Any]]) -> float | None:
    """Wall-clock seconds of training, over all continuations of the run; None where they are not known.

    They are the trainer's own; what is trained without it takes the seconds of its stage.
    """
    if (exp / "train.json").is_file():
        return json.loads((exp / "train.json").read_text(encoding="utf-8")).get("seconds")
    return next((record["seconds"] for record in done if record["stage"] == TRAINING_STAGE), None)


def manifest_hash(folder: Path) -> str | None:
    """First 12 hexadecimal digits of the SHA-256 of the supervisions of train, dev and test; None without them.

    Supervisions say who says what and for how long, and no paths: the same corpus has the same hash on
    every machine.
    """
    digest, found = hashlib.sha256(), False
    for split in SPLITS:
        file = folder / f"supervisions_{split}.jsonl.gz"
        if file.is_file():
            found = True
            digest.update(f"{split}\n".encode() + gzip.decompress(file.read_bytes()))
    return digest.hexdigest()[:12] if found else None


def commit(root: Path) -> str:
    """The commit of the code, with "+changes" when files differ from it; "unknown" without git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
