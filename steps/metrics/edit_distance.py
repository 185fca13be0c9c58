"""Errors of recognised text: insertions, deletions, substitutions, and where they are."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import kaldialign

from steps.metrics.config import ScoreConfig

Pair = tuple[str | None, str | None]  # reference and hypothesis token; None opposite an insertion or deletion
GAP = ""  # no token is empty
CHARACTER = re.compile(r"<unk>|\S", re.IGNORECASE)


@dataclass
class Counts:
    """Errors against `tokens` reference tokens."""

    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0
    tokens: int = 0

    @property
    def total(self) -> int:
        """All errors."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float | None:
        """Errors per reference token in percent; None where there is no reference token."""
        return 100.0 * self.total / self.tokens if self.tokens else None

    def to_dict(self) -> dict[str, int]:
        """The four counts and their total, by name."""
        return {**asdict(self), "total": self.total}


@dataclass
class Scored:
    """An utterance with its hypothesis aligned to its reference."""

    id: str
    speaker: str
    ref: str
    hyp: str
    alignment: list[Pair] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def to_dict(self) -> dict[str, Any]:
        """A line of per_utterance.jsonl."""
        return {**asdict(self), "counts": self.counts.to_dict(), "errors": self.counts.total}


def tokenize(text: str, config: ScoreConfig) -> list[str]:
    """The tokens that are compared: characters without spaces, or words. `<unk>` is one token, and never right."""
    if config.nfkc:
        text = unicodedata.normalize("NFKC", text)
    if config.upper:
        text = text.upper()
    return text.split() if config.unit == "word" else CHARACTER.findall(text)


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Pair]:
    """Pairs of tokens with the fewest insertions, deletions and substitutions."""
    if list(ref) == list(hyp):
        return list(zip(ref, hyp, strict=True))
    return [(r or None, h or None) for r, h in kaldialign.align(ref, hyp, GAP)]


def count(alignment: Iterable[Pair]) -> Counts:
    """The errors of an alignment."""
    counts = Counts()
    for ref, hyp in alignment:
        counts.tokens += ref is not None
        counts.insertions += ref is None
        counts.deletions += hyp is None
        counts.substitutions += ref is not None and hyp is not None and ref != hyp
    return counts


def distance(ref: Sequence[str], hyp: Sequence[str]) -> int:
    """The number of errors alone, which is quicker than an alignment."""
    return 0 if ref == hyp else kaldialign.edit_distance(ref, hyp)["total"]


def add_up(counts: Iterable[Counts]) -> Counts:
    """The sum."""
    total = Counts()
    for part in counts:
        total.insertions += part.insertions
        total.deletions += part.deletions
        total.substitutions += part.substitutions
        total.tokens += part.tokens
    return total


def score(
    refs: Mapping[str, str], hyps: Mapping[str, str], speakers: Mapping[str, str], config: ScoreConfig
) -> list[Scored]:
    """Every utterance of `refs`, by id; hypotheses are looked up by the same ids."""
    scored = []
    for key in sorted(refs):
        alignment = align(tokenize(refs[key], config), tokenize(hyps[key], config))
        scored.append(Scored(key, speakers[key], refs[key], hyps[key], alignment, count(alignment)))
    return scored


def by_speaker(scored: Iterable[Scored]) -> dict[str, list[Scored]]:
    """The utterances of each speaker, speakers in order of name."""
    groups: dict[str, list[Scored]] = {}
    for utterance in scored:
        groups.setdefault(utterance.speaker, []).append(utterance)
    return dict(sorted(groups.items()))
