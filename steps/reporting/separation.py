"""What the page of separation or enhancement has besides: scores in buckets, and the worst and median mixtures heard.

Sound comes from the files of the run: the rendered mixtures in data.dir, and what stage 6 made of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from omegaconf import OmegaConf

from steps.data.mixture import reference_file, rendered_file
from steps.metrics.speech_tables import SIDES, matrix
from steps.reporting.asr import MOST_SOUND
from steps.reporting.markup import Markup, join, tag
from steps.reporting.page import Section, missing
from steps.reporting.run import Run, read_lines
from steps.reporting.sound import Sound, player
from steps.reporting.tables import scrolling

MOST_SECONDS = 6.0  # of a mixture that are heard
WORST = 2  # mixtures of each set, beside the median

Row = Mapping[str, Any]  # a line of measures.jsonl: see steps.metrics.speech_measures


@dataclass(frozen=True)
class Example:
    """A mixture to be heard, and why."""

    row: Row
    rank: str  # worst, 2nd worst, median
    rendered: Path  # data/<name>/mixtures_<kind>_<split>
    estimates: Path  # exp/<name>/estimates_<kind>_<split>


def sections(run: Run, sounds_of: Callable[[list[str]], Mapping[str, Sound]]) -> list[Section]:
    """What follows the results. (`sounds_of` has utterances, of which a mixture is made; they are not asked for.)"""
    if not run.systems:
        return []
    by_set = [_examples(run, system["name"]) for system in run.systems]
    heard = sounding([example for turn in zip_longest(*by_set) for example in turn if example])
    return [
        *buckets(run.systems),
        *(heard_section(system, own, heard) for system, own in zip(run.systems, by_set, strict=True)),
    ]


def buckets(systems: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A section of tables for each kind of bucket (overlap, level, SNR) that a set is divided by."""
    found = []
    for side, title in SIDES.items():
        having = [system for system in systems if system.get("buckets", {}).get(side)]
        shown = [(tag("h3", system["name"]), _table(matrix(system, side))) for system in having]
        if shown:
            found.append(Section(f"Scores {title}", join(shown), short=side.capitalize() if side != "snr" else "SNR"))
    return found


def ranked(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The worst mixture, the median one, and others up to WORST, by `improvement`; each once, and with its rank."""
    order = sorted((row for row in rows if improvement(row) is not None), key=lambda row: (improvement(row), row["id"]))
    places = {"worst": 0, "median": len(order) // 2} | {f"{n + 1}. worst": n for n in range(1, WORST)}
    chosen: dict[int, str] = {}
    for rank, place in places.items():
        if place < len(order):
            chosen.setdefault(place, rank)
    return [(rank, order[place]) for place, rank in chosen.items()]


def improvement(row: Row) -> float | None:
    """dB by which SI-SDR rose, mean over the sources that have one; None where none has."""
    pairs = [(source["estimate"]["si_sdr"], source["mixture"]["si_sdr"]) for source in row["sources"]]
    rises = [after - before for after, before in pairs if after is not None and before is not None]
    return float(np.mean(rises)) if rises else None


def sounding(examples: Sequence[Example]) -> dict[str, Markup]:
    """The players of mixtures by id, in the order given until MOST_SOUND is reached, or what is missing."""
    found: dict[str, Markup] = {}
    size = 0
    for example in examples:
        try:
            players = join(_players(example))
        except (FileNotFoundError, soundfile.LibsndfileError) as error:
            players = tag("p", f"No sound: {' '.join(str(error).split())}", class_="missing")
        if size + len(players) > MOST_SOUND:
            players = tag("p", "No sound: the page holds as much as it may.", class_="missing")
        size += len(players)
        found[example.row["id"]] = players
    return found


def heard_section(system: Mapping[str, Any], examples: Sequence[Example], heard: Mapping[str, Markup]) -> Section:
    """The mixtures of a set, each with its figures, spectrograms and players. A set's name is its system's."""
    title = f"Mixtures of {system['name']}"
    if not examples:
        return Section(title, missing(f"measures_{system['name']}.../measures.jsonl", 7, "score"))
    said = f"By the rise of SI-SDR, the mean over the talkers. What is heard is the first {MOST_SECONDS:g} s at most."
    return Section(title, join(tag("p", said, class_="note"), [_article(e, heard[e.row["id"]]) for e in examples]))


def _examples(run: Run, name: str) -> list[Example]:
    """Those of a set; its folders end with its name, which leaves out "_test"."""
    for full in (f"{name}_test", name):
        files = sorted((run.folder / f"measures_{full}").glob("**/measures.jsonl"))
        if files:
            folders = _data_folder(run) / f"mixtures_{full}", run.folder / f"estimates_{full}"
            rows = [row for file in files for row in read_lines(file)]
            return [Example(row, rank, *folders) for rank, row in ranked(rows)]
    return []


def _data_folder(run: Run) -> Path:
    """data.dir of the configuration, which counts from the directory of run.sh, two above the run's."""
    config: Any = OmegaConf.create(run.config) if run.config else {}
    folder = Path((config.get("data") or {}).get("dir") or "data")
    return folder if folder.is_dir() else run.folder.parent.parent / folder


def _players(example: Example) -> Iterator[Markup]:
    """The mixture, then each output with its reference; without talkers to tell apart: noisy, enhanced, clean."""
    row, rendered = example.row, example.rendered
    several = len(row["sources"]) > 1
    yield from _player(rendered_file(rendered, "mix", row["id"]), "mixture" if several else "noisy", row["id"])
    for number, output in enumerate(row["permutation"], start=1):
        estimate = f"{row['id']}_{output + 1}.wav" if several else f"{row['id']}.wav"
        files = sorted(example.estimates.glob(f"**/{estimate}"))
        if not files:
            raise FileNotFoundError(f"{example.estimates} has no {estimate}: stage 6 writes it")
        speaker = f" {number}, {row['speakers'][number - 1]}" if several else ""
        source = row["sources"][number - 1]
        yield from _player(files[0], f"{'output' if several else 'enhanced'}{speaker}{_figures(source)}", row["id"])
        reference = reference_file(rendered, number, row["id"])
        yield from _player(reference, f"{'reference' if several else 'clean'}{speaker}", row["id"])


def _player(file: Path, label: str, mixture: str) -> tuple[Markup, Markup]:
    return tag("p", label, class_="note"), player(read_sound(file), f"{label} of {mixture}")


def read_sound(file: Path) -> Sound:
    """The first MOST_SECONDS of a file. Raises FileNotFoundError, or LibsndfileError for what is no audio."""
    from steps.data.config import FeatureConfig
    from steps.data.features import make_extractor  # brings lhotse and torch

    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there")
    rate = soundfile.info(file).samplerate
    samples, _ = soundfile.read(file, dtype="float32", frames=round(MOST_SECONDS * rate))
    return Sound(samples, rate, make_extractor(FeatureConfig(sampling_rate=rate)).extract(samples, rate))


def _figures(source: Mapping[str, Any]) -> str:
    """SI-SDR before and after, and the errors of the recogniser where there was one."""
    before, after = (source[signal]["si_sdr"] for signal in ("mixture", "estimate"))
    said = "" if before is None or after is None else f": SI-SDR {before:.1f} → {after:.1f} dB"
    if "errors" in source:
        errors = source["errors"]
        said += f"; errors {errors['mixture']} → {errors['estimate']} ({errors['clean']} clean) of {errors['tokens']}"
    return said


def _article(example: Example, heard: Markup) -> Markup:
    row = example.row
    facts = [example.rank, f"SI-SDR improved by {improvement(row):.1f} dB", f"{row['seconds']:.1f} s"]
    if len(row["sources"]) > 1:
        facts += [f"overlap {100 * row['overlap']:.0f} %", f"levels {row['level_difference']:+.1f} dB apart"]
    if row["snr"] is not None:
        facts.append(f"SNR {row['snr']:.1f} dB")
    return tag("article", tag("h3", row["id"]), tag("p", " · ".join(facts), class_="note"), heard, class_="utterance")


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    """The first row has the titles, the first column the names of the others."""
    head, *body = rows
    top = [tag("th", title, scope="col", class_="number" if place else None) for place, title in enumerate(head)]
    lines = [
        tag("tr", tag("th", row[0], scope="row"), [tag("td", cell, class_="number") for cell in row[1:]])
        for row in body
    ]
    return scrolling(tag("table", tag("thead", tag("tr", top)), tag("tbody", lines)))
