"""Who is enrolled, and who is compared with whom: the verification tests that a corpus defines.

Stage 1 writes them beside the manifests of the split: enrolments_<split>.txt (model utterance [utterance ...]),
enrolments_concat_<split>.txt where the corpus also has each model's utterances in one file, and
trials_<split>.txt.gz (model utterance target|nontarget). `list_problems` finds what in them does not fit the
utterances; `restrict` leaves out what depends on utterances that were skipped.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from local import gzipped
from local.problems import Problem, Reason
from utils import atomic

LABELS = {"target": True, "nontarget": False}  # as Kaldi writes them
Enrolments = dict[str, list[str]]  # utterances of each model


@dataclass(eq=False)
class Trials:
    """A list of T trials in its order: `models[rows[t]]` against `utterances[columns[t]]`."""

    models: list[str]
    utterances: list[str]
    rows: np.ndarray  # (T,) int32
    columns: np.ndarray  # (T,) int32
    targets: np.ndarray  # (T,) bool

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Verification:
    """One test over utterances of `split`. `enrolments` has several ways to enrol the same models, "" the usual one."""

    split: str
    source: Path  # the list that the user would correct
    enrolments: dict[str, Enrolments]
    trials: Trials | None = None
    name: str = ""  # where a split has several tests

    def files(self, folder: Path) -> list[Path]:
        """The files that `write` makes."""
        suffix = f"{self.split}_{self.name}" if self.name else self.split
        enrolments = [folder / f"enrolments_{way + '_' if way else ''}{suffix}.txt" for way in self.enrolments]
        return enrolments + ([folder / f"trials_{suffix}.txt.gz"] if self.trials else [])

    def content(self) -> Iterator[bytes]:
        """What a digest of the test is made of."""
        yield repr((self.split, self.name, self.enrolments)).encode()
        if self.trials:
            yield repr((self.trials.models, self.trials.utterances)).encode()
            yield from (column.tobytes() for column in (self.trials.rows, self.trials.columns, self.trials.targets))


def read_trials(
    path: Path,
    problems: list[Problem],
    order: tuple[int, int, int] = (0, 1, 2),
    labels: Mapping[str, bool] = LABELS,
    model_id: Callable[[str], str] = str,
    utterance_id: Callable[[str], str] = str,
) -> Trials:
    """The trials of a list of three words a line; `order` says where model, utterance and label stand.

    Malformed lines and repeated trials go to `problems`. Raises ValueError for a trial with two labels, or for a
    list without a trial, and FileNotFoundError without a file.
    """
    rows, columns, targets = [], [], []
    models, utterances = _Numbered(model_id), _Numbered(utterance_id)
    model_at, utterance_at, label_at = order
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if len(words) == 3 and words[label_at] in labels:
                rows.append(models[words[model_at]])
                columns.append(utterances[words[utterance_at]])
                targets.append(labels[words[label_at]])
            elif words:
                detail = f"expected model, utterance and one of {', '.join(labels)} as words {[at + 1 for at in order]}"
                problems.append(Problem(Reason.MALFORMED, f"{path}:{number}", detail))
    if not rows:
        raise ValueError(f"{path} has no trial")
    arrays = np.array(rows, np.int32), np.array(columns, np.int32), np.array(targets, bool)
    return _without_repetitions(path, Trials(models.names(), utterances.names(), *arrays), problems)


class _Numbered(dict[str, int]):
    """Words by the number of the id that they stand for, in the order that the ids occur."""

    def __init__(self, to_id: Callable[[str], str]):
        super().__init__()
        self.to_id = to_id
        self.ids: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        self[word] = self.ids.setdefault(self.to_id(word), len(self.ids))
        return self[word]

    def names(self) -> list[str]:
        return list(self.ids)


def _without_repetitions(path: Path, trials: Trials, problems: list[Problem]) -> Trials:
    cells = trials.rows.astype(np.int64) * len(trials.utterances) + trials.columns
    _, first, where = np.unique(cells, return_index=True, return_inverse=True)
    if len(first) == len(cells):
        return trials
    at_odds = np.flatnonzero(trials.targets != trials.targets[first][where])
    if len(at_odds):
        trial = at_odds[0]
        names = trials.models[trials.rows[trial]], trials.utterances[trials.columns[trial]]
        raise ValueError(f"{path}: the trial {names[0]} {names[1]} is a target and a non-target; remove one of them")
    detail = f"{len(cells) - len(first)} trials occur again; each is scored once"
    problems.append(Problem(Reason.DUPLICATE, str(path), detail, warning=True))
    return select(trials, np.sort(first))


def select(trials: Trials, kept: np.ndarray) -> Trials:
    """The trials at the places `kept` (indices or a mask), in their order."""
    return replace(trials, rows=trials.rows[kept], columns=trials.columns[kept], targets=trials.targets[kept])


def list_problems(test: Verification, speakers: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with a test whose split has the utterances `speakers` (speaker by id).

    Unknown ids, models without enrolment or of two speakers are bad data; labels that are at odds with the speakers'
    names are a warning, since a user's names may be no more than labels.
    """
    source, models = str(test.source), next(iter(test.enrolments.values()))
    trials = test.trials
    wanted = {utterance: model for way in test.enrolments.values() for model, ids in way.items() for utterance in ids}
    wanted |= dict.fromkeys(trials.utterances if trials else (), "a trial")
    for utterance in sorted(wanted.keys() - speakers.keys()):
        detail = f"'{utterance}', which {wanted[utterance]} needs, is no utterance of {test.split}"
        yield Problem(Reason.UNKNOWN, source, detail)  # of the list: an utterance of that id in another split is good
    for model, owners in sorted(_owners(test, speakers).items()):
        if len(owners) > 1:
            detail = f"'{model}' is enrolled with utterances of {' and '.join(sorted(owners))}"
            yield Problem(Reason.MALFORMED, source, detail)
    if trials is None:
        return
    for model in sorted(set(trials.models) - models.keys()):
        yield Problem(Reason.UNKNOWN, source, f"model '{model}' of the trials has no enrolment")
    if odd := _contradicted(test, trials, speakers):
        detail = f"{odd} of {len(trials)} trials are labelled otherwise than the speakers' names say"
        yield Problem(Reason.MALFORMED, source, detail, warning=True)


def _owners(test: Verification, speakers: Mapping[str, str]) -> dict[str, set[str]]:
    """The speakers of each model, by any way of enrolling it."""
    owners: dict[str, set[str]] = {}
    for way in test.enrolments.values():
        for model, utterances in way.items():
            owners.setdefault(model, set()).update(speakers[u] for u in utterances if u in speakers)
    return owners


def _contradicted(test: Verification, trials: Trials, speakers: Mapping[str, str]) -> int:
    """Trials whose label is not what comparing the names of the two speakers gives, where both are known."""
    owners = {model: min(names) for model, names in _owners(test, speakers).items() if len(names) == 1}
    numbers = {speaker: number for number, speaker in enumerate(sorted(set(speakers.values())))}
    left = np.array([numbers[owners[m]] if m in owners else -1 for m in trials.models])[trials.rows]
    right = np.array([numbers.get(speakers.get(u, ""), -1) for u in trials.utterances])[trials.columns]
    return int(np.sum(((left == right) != trials.targets) & (left >= 0) & (right >= 0)))


def restrict(test: Verification, speakers: Mapping[str, str]) -> Verification:
    """The test as it is with the utterances that are usable (speaker by id); a warning says what it loses.

    A model loses what it cannot be enrolled from, and goes, with its trials, when nothing is left of it in one of the
    ways, or it has two speakers. Raises ValueError when no model or no trial is left.
    """
    owners = _owners(test, speakers)
    ways = {
        name: {model: [u for u in utterances if u in speakers] for model, utterances in way.items()}
        for name, way in test.enrolments.items()
    }
    models = {m for m, names in owners.items() if len(names) == 1 and all(way.get(m) for way in ways.values())}
    ways = {name: {m: way[m] for m in sorted(models)} for name, way in ways.items()}
    trials = test.trials
    if trials is not None:
        rows = np.array([model in models for model in trials.models])
        columns = np.array([utterance in speakers for utterance in trials.utterances])
        trials = select(trials, rows[trials.rows] & columns[trials.columns])
        if len(trials) < len(test.trials):
            lost = len(test.trials) - len(trials)
            logging.warning("%s: %d of %d trials are left out, as their audio was", test.source, lost, len(test.trials))
    if not models or (trials is not None and not len(trials)):
        raise ValueError(f"{test.source}: nothing is left to test: {len(models)} models, and no trial")
    return replace(test, enrolments=ways, trials=trials)


def write(test: Verification, folder: Path) -> dict[str, Any]:
    """Writes `test.files(folder)`; returns the numbers of models, trials and targets."""
    *lists, last = [*test.files(folder)] if test.trials else [*test.files(folder), None]
    for path, way in zip(lists, test.enrolments.values(), strict=True):
        atomic.write_text(path, "".join(f"{model} {' '.join(ids)}\n" for model, ids in way.items()))
    numbers = {"models": len(next(iter(test.enrolments.values())))}
    if test.trials is not None and last is not None:
        gzipped.write_lines(last, _lines(test.trials), level=3)  # millions of lines; 9 takes five times as long
        numbers |= {"trials": len(test.trials), "targets": int(test.trials.targets.sum())}
    logging.info("%s: %s", lists[0], ", ".join(f"{count} {what}" for what, count in numbers.items()))
    return numbers


def _lines(trials: Trials) -> Iterable[str]:
    names = {target: name for name, target in LABELS.items()}
    columns = (trials.rows.tolist(), trials.columns.tolist(), trials.targets.tolist())
    for row, column, target in zip(*columns, strict=True):
        yield f"{trials.models[row]} {trials.utterances[column]} {names[target]}"
