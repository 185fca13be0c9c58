"""What the plans of mixtures are made of, and whether two splits share any of it."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from steps.data.mixture import Mixture, read_plan
from steps.data.mixture_config import SPLITS
from steps.data.mixture_corpus import plan_file

Used = Mapping[str, Mapping[str, set[str]]]  # split -> sort -> names


def used(folder: Path, kinds: Iterable[str]) -> Used:
    """The speakers, utterances, noise recordings and rooms that each split's plans take."""
    return {split: _of([m for kind in kinds for m in _rows(folder, kind, split)]) for split in SPLITS}


def shared(used: Used) -> list[str]:
    """What is in two splits, in words; [] if nothing is."""
    found = []
    for first, second in combinations(used, 2):
        for sort, names in used[first].items():
            both = sorted(names & used[second][sort])
            if both:
                more = f" and {len(both) - 3} more" if len(both) > 3 else ""
                found.append(f"{sort} of {first} and {second}: {', '.join(both[:3])}{more}")
    return found


def report(folder: Path, kinds: Iterable[str], used: Used) -> dict[str, Any]:
    """Counts by split, and size, hours and hash of every plan."""
    plans = {}
    for kind in kinds:
        for split in SPLITS:
            plan = read_plan(plan_file(folder, kind, split))
            plans[f"{kind}_{split}"] = {
                "mixtures": len(plan.mixtures),
                "hours": round(plan.seconds / 3600, 3),
                "hash": plan.digest(),
            }
    return {
        "splits": {s: {sort: len(names) for sort, names in sorts.items()} for s, sorts in used.items()},
        "plans": plans,
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as lines of text."""
    lines = [
        f"{split}: {', '.join(f'{count:,} {sort}' for sort, count in sorts.items())}"
        for split, sorts in report["splits"].items()
    ]
    lines += [
        f"{name}: {plan['mixtures']:,} mixtures, {plan['hours']:.2f} hours, plan {plan['hash']}"
        for name, plan in report["plans"].items()
    ]
    return "\n".join(["no speaker, utterance, noise recording or room is in two splits", *lines]) + "\n"


def _rows(folder: Path, kind: str, split: str) -> list[Mixture]:
    return read_plan(plan_file(folder, kind, split)).mixtures


def _of(mixtures: Iterable[Mixture]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"speakers": set(), "utterances": set(), "noise recordings": set(), "rooms": set()}
    for mixture in mixtures:
        for source in mixture.sources:
            found["speakers"].add(source.speaker)
            found["utterances"] |= {source.utterance, source.enrolment} - {""}
            found["rooms"] |= {source.room} - {""}
        if mixture.noise is not None:
            found["noise recordings"].add(mixture.noise.recording.rpartition("@")[0])
    return found
