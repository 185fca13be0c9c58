"""Sections that the page of any task has: summary, results, curves, stages, configuration."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps.reporting.charts import Series, line_chart
from steps.reporting.markup import Child, Markup, join, tag
from steps.reporting.page import Section, cards, missing
from steps.reporting.run import Run
from steps.reporting.tables import LABELS, Bar, bar_table, duration, facts, figure, results_table

FIGURES = {"loss": "Loss", "lr": "Learning rate", "audio_per_second": "Audio seconds per second"}
LINES = {"train": ("training", 1), "valid": ("dev", 2)}  # name and colour
NOT_FIGURES = {"step", "epoch", "kind", "seconds"}
MOST_CHARTS = 6
LOW_IS_GOOD = {"cer", "wer", "mer", "eer", "min_dcf"}
TASK_NAMES = {
    "asr": "Speech recognition",
    "speaker": "Speaker recognition",
    "separation": "Speech separation",
    "enhancement": "Speech enhancement",
}


def lead(run: Run) -> str:
    """The line under the title: what was trained on what, and when."""
    results = run.results or {}
    corpus = results.get("corpus") or Path(_data_dir(run.config)).name
    ended = max((str(stage["end"])[:16].replace("T", " ") for stage in run.stages if "end" in stage), default="")
    parts = [TASK_NAMES.get(run.task, run.task), corpus, ended]
    return " · ".join(str(part) for part in parts if part) or "a run that has only begun"


def summary(run: Run) -> Section:
    """The figures that one looks for first, and the circumstances."""
    results = run.results or {}
    large = []
    for system in [best_system(run.systems)] if run.systems else []:
        for name, metric in list(system["metrics"].items())[:2]:
            large.append((f"{LABELS.get(name, name)}, {system['name']}", _with_unit(metric), _interval(metric)))
    if results.get("parameters"):
        large.append(("Parameters", f"{results['parameters'] / 1e6:.2f} M", ""))
    seconds = [stage["seconds"] for stage in run.stages if "seconds" in stage]
    if seconds:
        large.append(("Wall-clock", duration(sum(seconds)), f"{len(seconds)} stages"))
    used = {"parameters", "task", "systems", "stages", "corpus", "exp", "bootstrap", "durations", "genres"}
    used |= {"thresholds", "open_set"}
    rest = [(_fact_name(key), _plain(key, value)) for key, value in results.items() if key not in used]
    body = join(cards(large) if large else None, facts(rest) if rest else None)
    return Section("Summary", body or missing("results.json", 7, "score"))


def results(run: Run) -> Section:
    """All systems with their metrics and intervals, their errors by kind, and the same metric on dev."""
    if not run.systems:
        return Section("Results", missing("results.json", 7, "score"))
    facts_of_run = run.results or {}
    boot = facts_of_run.get("bootstrap") or {}
    how = f": {boot['resamples']:,} draws of {boot['groups']} {boot['by']}s" if boot else ""
    note = tag(
        "p", f"On {facts_of_run.get('split', 'test')}. Intervals are bootstrap 95 % intervals{how}.", class_="note"
    )
    return Section("Results", join(note, results_table(run.systems, _more_columns(run.systems)), _remarks(run.systems)))


def curves(points: Sequence[Mapping[str, Any]], averages: Sequence[Mapping[str, Any]] = ()) -> Section:
    """A chart for each figure that was logged: `{"step", "epoch", "kind": "train" | "valid", "loss", "lr", ...}`.

    `averages` are the averages of checkpoints that competed on dev: `{"last_epochs", figures, "chosen"}`.
    """
    if not points:
        return Section("Training", missing("metrics.jsonl", 4, "train"))
    drawn = [_curve(points, name) for name in _figure_names(points)[:MOST_CHARTS]]
    last = points[-1]
    epochs = int(last["epoch"]) + 1
    said = f"{last['step']:,} steps, {epochs} epoch{'s' * (epochs > 1)}.{_averaged(averages)}"
    note = tag("p", said, class_="note")
    return Section("Training", join(note, tag("div", drawn, class_="charts")))


def stages(run: Run) -> Section:
    """How long each stage took, and which failed or is missing."""
    if not run.stages:
        return Section("Stages", tag("p", "No stage recorded in .stages: run.sh records them.", class_="missing"))
    bars = [
        Bar(
            f"{stage.get('stage', '')} {stage.get('title', '')}".strip(),
            float(stage.get("seconds", 0.0)),
            duration(float(stage["seconds"])) if "seconds" in stage else "–",
            (stage.get("state", ""), str(stage.get("end", ""))[:19].replace("T", " ")),
        )
        for stage in run.stages
    ]
    return Section("Stages", bar_table(["Stage", "Time", "State", "Ended"], bars))


def configuration(run: Run) -> Section:
    """The resolved configuration, a block per section."""
    if not run.config:
        return Section("Configuration", missing("config.yaml", 4, "train"))
    blocks = re.split(r"\n(?=\S)", run.config.rstrip())
    shown = [tag("span", [_config_line(line) for line in block.split("\n")], class_="block") for block in blocks]
    return Section("Configuration", tag("pre", tag("code", shown), class_="config"))


def best_system(systems: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The system that is best by the first metric: error rates and costs are best low, other metrics high."""
    name = next(iter(systems[0]["metrics"]))
    sign = 1.0 if name in LOW_IS_GOOD else -1.0
    having = [system for system in systems if name in system["metrics"]]
    return min(having, key=lambda system: sign * system["metrics"][name]["value"])


def _data_dir(config: str) -> str:
    match = re.search(r"^data:\n(?:  .*\n)*?  dir: (.*)$", config, re.MULTILINE)
    return match.group(1) if match else ""


def _figure_names(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Loss, what dev has besides, learning rate, then the rest, in the order of appearance."""
    by_kind = {
        kind: [key for point in points if point["kind"] == kind for key in point if key not in NOT_FIGURES]
        for kind in ("valid", "train")
    }
    return list(dict.fromkeys(["loss", *by_kind["valid"], "lr", *by_kind["train"]]))


def _averaged(averages: Sequence[Mapping[str, Any]]) -> str:
    chosen = next((average for average in averages if average["chosen"]), None)
    if chosen is None:
        return ""
    tried = ", ".join(str(average["last_epochs"]) for average in averages)
    figures = [f"{key.replace('_', ' ')} {value:.4g}" for key, value in chosen.items() if isinstance(value, float)]
    return f" Averaged over the last {chosen['last_epochs']} epochs (of {tried}): {', '.join(figures)} on dev."


def _curve(points: Sequence[Mapping[str, Any]], name: str) -> Markup:
    lines = []
    for kind, (label, colour) in LINES.items():
        found = [(float(p["step"]), float(p[name])) for p in points if p["kind"] == kind and name in p]
        if found:
            lines.append(Series(label, found, mark=kind == "valid" and len(found) <= 60, colour=colour))
    return line_chart(FIGURES.get(name, name.replace("_", " ").capitalize()), lines, "optimiser steps", "")


def _config_line(line: str) -> Markup:
    match = re.match(r"(\s*(?:- )?)([\w.-]+)(:.*)", line)
    if not match:
        return join(line, "\n")
    indent, key, rest = match.groups()
    return join(indent, tag("b", key), rest, "\n")


def _with_unit(metric: Mapping[str, Any]) -> str:
    unit = metric.get("unit") or ""
    return f"{figure(metric['value'], unit)} {unit}".strip()


def _interval(metric: Mapping[str, Any]) -> str:
    if metric.get("low") is None:
        return ""
    low, high = (figure(metric[key], metric.get("unit")) for key in ("low", "high"))
    return f"95 % interval {low} – {high}"


def _more_columns(systems: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Child]]]:
    """Errors by kind and the first metric on dev, where all systems have them."""
    columns: list[tuple[str, list[Child]]] = []
    if all("errors" in system for system in systems):
        kinds = [kind for kind in systems[0]["errors"] if kind not in ("tokens", "total")]
        columns += [(kind, [system["errors"][kind] for system in systems]) for kind in kinds]
    name = next(iter(systems[0]["metrics"]))
    dev = [system.get("dev", {}).get("metrics", {}).get(name) for system in systems]
    if all(dev):
        columns.append((f"{LABELS.get(name, name)} on dev", [_with_unit(metric) for metric in dev]))
    return columns


def _remarks(systems: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """What was chosen on dev, and what went amiss."""
    said = []
    for system in systems:
        if system.get("chosen"):
            chosen = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in system["chosen"].items())
            said.append(f"{system['name']}: {chosen}, chosen on dev.")
        if system.get("partial"):
            said.append(f"{system['name']}: in {system['partial']} utterances the search did not reach the end.")
    return [tag("p", text, class_="note") for text in said]


def _fact_name(key: str) -> str:
    """config_hash -> Config hash; that a duration is in seconds is not part of its name."""
    return key.removesuffix("_seconds").replace("_", " ").capitalize()


def _plain(key: str, value: Any) -> Child:
    """A value of results.json as a fact; a mapping of figures is written out, other containers are not facts."""
    if value is None or value == "":
        return None
    if key == "peak_memory":
        return ", ".join(f"{part} {size / 2**30:.2f} GiB" for part, size in value.items())
    if isinstance(value, dict | list):
        return None
    if key.endswith("seconds"):
        return duration(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if value >= 10000 else value
    code = re.search("hash|commit|command|checkpoint|exp$", key)
    return tag("code", value) if code else str(value)
