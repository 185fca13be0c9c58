"""Files about the errors of one system, for people and for steps.report."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steps.metrics.edit_distance import Counts, Pair, Scored, add_up, by_speaker, count
from steps.metrics.pieces import read_lines
from steps.metrics.tables import display_width
from utils import atomic

MOST_LISTED = 20  # confusions of each kind


def write_error_files(folder: Path, title: str, scored: list[Scored]) -> None:
    """Writes errors.txt, per_speaker.tsv and per_utterance.jsonl into `folder`.

    per_utterance.jsonl: {"id", "speaker", "ref", "hyp", "alignment" (pairs of tokens, null opposite an
    insertion or deletion), "counts", "errors"}, by id.
    """
    atomic.write_text(folder / "errors.txt", errors_text(title, scored))
    atomic.write_text(folder / "per_speaker.tsv", speakers_text(scored))
    lines = (json.dumps(utterance.to_dict(), ensure_ascii=False) + "\n" for utterance in scored)
    atomic.write_text(folder / "per_utterance.jsonl", "".join(lines))


def read_scored(path: Path) -> list[Scored]:
    """What a per_utterance.jsonl holds. Raises ValueError when `path` is not one."""
    try:
        return [_from_row(row) for row in read_lines(path)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a per_utterance.jsonl of steps.score_cer") from error


def _from_row(row: dict[str, Any]) -> Scored:
    alignment = [(ref, hyp) for ref, hyp in row["alignment"]]
    return Scored(row["id"], row["speaker"], row["ref"], row["hyp"], alignment, count(alignment))


def speakers_text(scored: Iterable[Scored]) -> str:
    """A table, tab-separated: one row per speaker, the highest error rate first, and the total."""
    rows = [(name, len(group), add_up(u.counts for u in group)) for name, group in by_speaker(scored).items()]
    rows.sort(key=lambda row: (-(row[2].rate or 0.0), row[0]))
    rows.append(("TOTAL", sum(row[1] for row in rows), add_up(row[2] for row in rows)))
    lines = ["speaker\tutterances\ttokens\tins\tdel\tsub\terrors %"]
    for name, size, counts in rows:
        errors = (counts.insertions, counts.deletions, counts.substitutions)
        lines.append("\t".join(map(str, (name, size, counts.tokens, *errors, percent(counts)))))
    return "\n".join(lines) + "\n"


def errors_text(title: str, scored: list[Scored]) -> str:
    """What goes wrong most often, then every utterance with an error, aligned, the worst first."""
    wrong = sorted((u for u in scored if u.counts.total), key=lambda u: (-u.counts.total, u.id))
    head = [title, f"{len(wrong)} of {len(scored)} utterances have errors", ""]
    return "\n".join([*head, *_confusions(wrong), *(line for u in wrong for line in _aligned(u))]) + "\n"


def percent(counts: Counts) -> str:
    """The rate with two decimals, or "-" without reference tokens."""
    return "-" if counts.rate is None else f"{counts.rate:.2f}"


def _confusions(wrong: list[Scored]) -> list[str]:
    pairs = Counter(pair for u in wrong for pair in u.alignment if pair[0] != pair[1])
    kinds = {"substituted": [], "deleted": [], "inserted": []}
    for (ref, hyp), times in sorted(pairs.items(), key=lambda item: (-item[1], str(item[0]))):
        kind = "inserted" if ref is None else "deleted" if hyp is None else "substituted"
        kinds[kind].append(f"{ref or ''}{' > ' if ref and hyp else ''}{hyp or ''} ({times})")
    lines = [f"{kind}: {'  '.join(found[:MOST_LISTED])}" for kind, found in kinds.items() if found]
    return [*lines, ""]


def _aligned(utterance: Scored) -> list[str]:
    counts = utterance.counts
    head = f"{utterance.id}  speaker {utterance.speaker}  {percent(counts)} %"
    rows: tuple[list[str], ...] = ([], [], [])
    for pair in utterance.alignment:
        cells = (pair[0] or "*", pair[1] or "*", _mark(pair))
        width = max(map(display_width, cells))
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell + " " * (width - display_width(cell)))
    names = ("  ref  ", "  hyp  ", "       ")
    return [head, *(f"{name}{' '.join(row)}".rstrip() for name, row in zip(names, rows, strict=True)), ""]


def _mark(pair: Pair) -> str:
    ref, hyp = pair
    return "I" if ref is None else "D" if hyp is None else "S" if ref != hyp else " "
