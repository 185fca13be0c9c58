"""Scores the systems of a run: what has to be chosen is chosen on dev, and test is scored once."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from steps.metrics import rescoring, results
from steps.metrics.config import ScoreConfig
from steps.metrics.edit_distance import Scored, score
from steps.metrics.error_files import write_error_files
from steps.metrics.pieces import Decoded, write_text
from utils import atomic


def score_systems(dev: Decoded, test: Decoded, config: ScoreConfig, seed: int, out: Path) -> list[dict[str, Any]]:
    """The "systems" of results.json, by name, graph_nbest last.

    Writes `out`/<split>/<system>/{hyp.txt, errors.txt, per_speaker.tsv, per_utterance.jsonl} and, where there
    are n-best lists, sweep.tsv. Raises ValueError when dev and test were decoded by different systems.
    """
    splits = {"dev": dev, "test": test}
    names = [{*split.hyps, *(["graph_nbest"] if split.nbest is not None else [])} for split in (dev, test)]
    if names[0] != names[1]:
        listed = [", ".join(sorted(part)) for part in names]
        raise ValueError(f"dev has the systems {listed[0]}, test {listed[1]}: decode both with the same methods")

    def scored(name: str, hyps: dict[str, dict[str, str]]) -> dict[str, Any]:
        found: dict[str, list[Scored]] = {}
        for split, decoded in splits.items():
            found[split] = score(decoded.refs, hyps[split], decoded.speakers, config)
            folder = out / split / name
            write_text(folder / "hyp.txt", hyps[split])
            write_error_files(folder, f"{name} on {split}, {results.metric_name(config).upper()}", found[split])
        return results.system_entry(name, found["dev"], found["test"], test.stats, config, seed)

    entries = [scored(name, {split: decoded.hyps[name] for split, decoded in splits.items()}) for name in dev.hyps]
    if dev.nbest is not None:
        rows = rescoring.sweep(dev.refs, dev.nbest, config)
        weights = rescoring.choose(rows)
        entry = scored("graph_nbest", {key: rescoring.apply(part.nbest or {}, weights) for key, part in splits.items()})
        entries.append({**entry, "chosen": asdict(weights), "sweep": rows})
        lines = [
            "graph_scale\tword_bonus\terrors",
            *("\t".join(f"{value:g}" for value in row.values()) for row in rows),
        ]
        atomic.write_text(out / "sweep.tsv", "\n".join(lines) + "\n")
    return entries
