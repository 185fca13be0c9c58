"""What a run has left on disk, as far as it has come."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Run:
    """A run's files as plain data; what is not there yet is None or empty."""

    folder: Path
    results: dict[str, Any] | None = None  # results.json
    points: list[dict[str, Any]] = field(default_factory=list)  # metrics.jsonl
    config: str = ""  # config.yaml
    stages: list[dict[str, Any]] = field(default_factory=list)  # .stages/NN.json, in order
    averages: list[dict[str, Any]] = field(default_factory=list)  # average.json

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.folder.name

    @property
    def task(self) -> str:
        """asr, speaker, separation, enhancement, or nothing when neither results nor config say."""
        if self.results and "task" in self.results:
            return str(self.results["task"])
        return next((line[5:].strip() for line in self.config.splitlines() if line.startswith("task:")), "")

    @property
    def systems(self) -> list[dict[str, Any]]:
        """The systems of results.json."""
        return self.results["systems"] if self.results else []


def read_run(folder: Path) -> Run:
    """Reads `exp/<name>`. Raises FileNotFoundError if it is not there, ValueError for a file that is not JSON."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory; --exp takes exp/<name>, which stage 4 (train) makes")
    config = folder / "config.yaml"
    records = [read_json(file) for file in sorted((folder / ".stages").glob("[0-9]*.json"))]
    results = read_json(folder / "results.json")
    return Run(
        folder=folder.resolve(),
        results=results,
        points=read_lines(folder / "metrics.jsonl"),
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        stages=records or (results or {}).get("stages", []),
        averages=read_json(folder / "average.json") or [],
    )


def read_json(file: Path) -> Any:
    """The content of a JSON file, None if there is none."""
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}; remove it and run its stage again") from error


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The entries of a JSON-lines file; a last line that is still being written is left out."""
    if not file.exists():
        return []
    entries = []
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{file}, line {number} is not JSON: {error}") from error
    return entries
