"""What the page of a speech recogniser has besides: errors by type, by speaker, and the worst utterances heard."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steps.metrics.edit_distance import Pair, Scored, add_up, by_speaker, count
from steps.reporting import alignment
from steps.reporting.markup import Markup, join, tag
from steps.reporting.page import Section, missing
from steps.reporting.run import Run, read_lines
from steps.reporting.sections import best_system
from steps.reporting.sound import Sound, player
from steps.reporting.tables import LABELS, Bar, bar_table, grid_table

MOST_UTTERANCES = 10
MOST_SOUND = 4 << 20  # bytes of the page that players and spectrograms may take
MOST_ROWS = 12
MOST_SPEAKERS = 40


def sections(run: Run, sounds_of: Callable[[list[str]], Mapping[str, Sound]]) -> list[Section]:
    """What follows the results. `sounds_of` gives the sounds of utterances by id, as far as there are any."""
    if not run.systems:
        return []
    system = best_system(run.systems)
    unit = LABELS.get(next(iter(system["metrics"])), "error rate")
    file = run.folder / "score" / str((run.results or {})["split"]) / system["name"] / "per_utterance.jsonl"
    utterances = read_scored(file)
    if not utterances:
        return [Section("Worst utterances", missing(f"score/.../{system['name']}/{file.name}", 7, "score"))]
    sounds = sounds_of([utterance.id for utterance in worst(utterances)])
    swept = [sweep(system, unit) for system in run.systems if system.get("sweep")]
    return [
        worst_utterances(utterances, sounds, system["name"]),
        error_types(utterances),
        speakers(utterances, unit),
        *swept,
    ]


def read_scored(file: Path) -> list[Scored]:
    """Reads per_utterance.jsonl of a system; empty if there is none."""
    scored = []
    for entry in read_lines(file):
        pairs = [(reference, hypothesis) for reference, hypothesis in entry["alignment"]]
        scored.append(Scored(entry["id"], entry["speaker"], entry["ref"], entry["hyp"], pairs, count(pairs)))
    return scored


def worst(utterances: Iterable[Scored]) -> list[Scored]:
    """Those with errors: most errors first, then the highest rate, then by id."""
    wrong = [u for u in utterances if u.counts.total]
    wrong.sort(key=lambda u: (-u.counts.total, u.counts.tokens, u.id))
    return wrong[:MOST_UTTERANCES]


def error_types(utterances: Sequence[Scored]) -> Section:
    """Substitutions, deletions and insertions: how many, and which most often."""
    found = alignment.confusions(u.alignment for u in utterances)
    total = add_up(u.counts for u in utterances)
    titles = {
        "sub": ("Substitutions", "Said → recognised"),
        "del": ("Deletions", "Left out"),
        "ins": ("Insertions", "Put in"),
    }
    columns = []
    for kind, (title, header) in titles.items():
        times = sum(n for _, n in found[kind])
        bars = [Bar(_pair_label(pair), n, str(n)) for pair, n in found[kind][:MOST_ROWS]]
        heading = tag("h3", f"{title}: {times} ({100 * times / max(total.tokens, 1):.2f} %)")
        columns.append(tag("div", heading, bar_table([header, "Times"], bars, kind) if bars else None))
    note = tag("p", f"{total.total} errors in {total.tokens} reference tokens.", class_="note")
    return Section("Errors by type", join(note, tag("div", columns, class_="columns")), short="Errors")


def speakers(utterances: Sequence[Scored], unit: str) -> Section:
    """The error rate of each speaker, worst first. `unit` names the rate: CER or WER."""
    rows = []
    for name, spoken in by_speaker(utterances).items():
        counts = add_up(u.counts for u in spoken)
        rate = counts.rate or 0.0
        rows.append(Bar(name, rate, f"{rate:.2f} %", (counts.total, counts.tokens, len(spoken))))
    rows.sort(key=lambda bar: (-bar.value, bar.label))
    headers = ["Speaker", unit, "Errors", "Tokens", "Utterances"]
    more = len(rows) > MOST_SPEAKERS
    note = tag("p", f"The {MOST_SPEAKERS} worst of {len(rows)} speakers.", class_="note") if more else None
    return Section("Speakers", join(note, bar_table(headers, rows[:MOST_SPEAKERS])))


def sweep(system: Mapping[str, Any], unit: str) -> Section:
    """The error rate on dev with each scale of the graph and bonus of a word, and what was chosen."""
    tokens = max(system["dev"]["errors"]["tokens"], 1)
    rates = {(row["graph_scale"], row["word_bonus"]): 100 * row["errors"] / tokens for row in system["sweep"]}
    scales, bonuses = (sorted({key[axis] for key in rates}) for axis in (0, 1))
    chosen = (system["chosen"]["graph_scale"], system["chosen"]["word_bonus"])
    note = tag("p", f"{unit} of {system['name']} on dev in %; framed is what test was scored with.", class_="note")
    table = grid_table(("graph scale", scales), ("word bonus", bonuses), rates, chosen)
    return Section("Sweep on dev", join(note, table), short="Sweep")


def worst_utterances(utterances: Sequence[Scored], sounds: Mapping[str, Sound], system: str) -> Section:
    """Alignment, spectrogram and player of each utterance of `worst`."""
    note = tag("p", f"Most errors of {system}. Reference above, hypothesis below.", class_="note")
    shown, size = [], 0
    for utterance in worst(utterances):
        sound = sounds.get(utterance.id)
        heard = None
        if sound is not None and size < MOST_SOUND:
            heard = player(sound, utterance.id)
            size += len(heard)
        shown.append(_utterance(utterance, heard))
    if not shown:
        return Section("Worst utterances", tag("p", f"{system} made no error.", class_="note"), short="Utterances")
    return Section("Worst utterances", join(note, alignment.key(), shown), short="Utterances")


def _utterance(utterance: Scored, heard: Markup | None) -> Markup:
    counts = utterance.counts
    kinds = ((counts.substitutions, "sub"), (counts.deletions, "del"), (counts.insertions, "ins"))
    errors = ", ".join(f"{times} {alignment.NAMES[kind]}" for times, kind in kinds if times)
    rate = "" if counts.rate is None else f" · {counts.rate:.1f}\u00a0%"
    silent = tag("p", "No sound: the page was made without this utterance's cut or its audio.", class_="missing")
    return tag(
        "article",
        tag("h3", utterance.id),
        tag("p", f"speaker {utterance.speaker} · {errors} · {counts.tokens} tokens{rate}", class_="note"),
        alignment.aligned(utterance.alignment),
        heard or silent,
        class_="utterance",
    )


def _pair_label(pair: Pair) -> str:
    reference, hypothesis = pair
    return " → ".join(token for token in (reference, hypothesis) if token is not None)
