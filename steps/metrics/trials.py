"""Trials: which models are compared with which test utterances, and who is who.

A list of trials is a matrix of labels, since most are full crosses: models by test utterances, 1 where the speaker is
the model's, 0 where not, -1 where there is no trial. Scores are matrices of the same order; `positions` and `align`
bring them into it by name, so that a missing utterance stops the run and never shifts a score.
"""

import gzip
import logging
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from steps.inference.arrays import read_arrays
from utils import atomic

NAMES = {"target": 1, "nontarget": 0}
CELLS = 1 << 31  # of the largest matrix of labels, a byte each
Enrolments = Mapping[str, Sequence[str]]  # the utterances of each model


@dataclass(eq=False)
class Trials:
    """Raises ValueError where the labels' shape is not that of the names, or a name occurs twice."""

    models: list[str]
    tests: list[str]
    labels: np.ndarray  # (M, K) int8: 1 target, 0 non-target, -1 no trial

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.models), len(self.tests)):
            raise ValueError(
                f"labels {self.labels.shape} for {len(self.models)} models and {len(self.tests)} test utterances"
            )
        _places(self.models, "model")
        _places(self.tests, "test utterance")

    @classmethod
    def read(
        cls, path: Path | str, models: Iterable[str] | None = None, tests: Iterable[str] | None = None
    ) -> "Trials":
        """Kaldi's lines "model utterance target|nontarget", gzipped or not; names in the order they first occur.

        Raises ValueError naming file and line for a line of another form, a trial that occurs twice, and a name that
        is not in `models` or `tests` where these are given.
        """
        places: tuple[dict[str, int], dict[str, int]] = ({}, {})
        known = tuple(None if names is None else frozenset(names) for names in (models, tests))
        rows, columns, labels = array("i"), array("i"), array("b")
        for number, line in enumerate(_lines(path), start=1):
            try:
                model, test, label = line.split()
                labels.append(NAMES[label])
            except (ValueError, KeyError):
                text = line.strip()[:80] or "an empty line"
                raise ValueError(f"{path}:{number}: expected 'model utterance target|nontarget', got {text}") from None
            rows.append(_place(places[0], model, known[0], "model", path, number))
            columns.append(_place(places[1], test, known[1], "utterance", path, number))
        if not labels:
            raise ValueError(f"{path} holds no trial: expected lines 'model utterance target|nontarget'")
        names = list(places[0]), list(places[1])
        return cls(*names, _matrix(path, names, *map(np.asarray, (rows, columns, labels))))

    def write(self, path: Path | str) -> None:
        """Kaldi's lines, model by model; gzipped, to the same bytes each time, where the name ends in .gz."""
        names = {label: name for name, label in NAMES.items()}
        with atomic.output(path) as temporary, temporary.open("wb") as raw:
            file = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if str(path).endswith(".gz") else raw
            for model, row in zip(self.models, self.labels.tolist(), strict=True):
                pairs = zip(self.tests, row, strict=True)
                file.write("".join(f"{model} {test} {names[label]}\n" for test, label in pairs if label >= 0).encode())
            if file is not raw:
                file.close()

    @classmethod
    def cross(cls, enrolments: Enrolments, speakers: Mapping[str, str]) -> "Trials":
        """Each model against each utterance of `speakers` (speaker by utterance) that no model was enrolled from.

        Raises ValueError naming an enrolment utterance without speaker, or a model without or with two speakers, and
        where nothing is left to test.
        """
        owners = model_speakers(enrolments, speakers)
        used = set(chain.from_iterable(enrolments.values()))
        tests = [utterance for utterance in speakers if utterance not in used]
        if not owners or not tests:
            raise ValueError(f"no trials from {len(owners)} models and {len(tests)} utterances that none was made from")
        numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speakers.values()))}
        rows = np.array([numbers[speaker] for speaker in owners.values()])
        columns = np.array([numbers[speakers[test]] for test in tests])
        return cls(list(owners), tests, (rows[:, None] == columns).astype(np.int8))

    def align(self, scores: np.ndarray, models: Sequence[str], tests: Sequence[str]) -> np.ndarray:
        """Scores (len(models), len(tests)) in the order of these trials, (M, K); not copied where that is theirs.

        Raises ValueError naming models or test utterances without a score, and names that occur twice.
        """
        if scores.shape != (len(models), len(tests)):
            raise ValueError(f"scores {scores.shape} for {len(models)} models and {len(tests)} test utterances")
        rows, columns = positions(models, self.models, "model"), positions(tests, self.tests, "test utterance")
        if len(models) != len(rows) or (np.diff(rows) != 1).any():
            scores = scores[rows]
        if len(tests) != len(columns) or (np.diff(columns) != 1).any():
            scores = scores[:, columns]
        return scores

    def save(self, path: Path | str) -> None:
        """Writes names and labels as .npz."""
        with atomic.output(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, models=np.array(self.models), tests=np.array(self.tests), labels=self.labels)

    @classmethod
    def load(cls, path: Path | str) -> "Trials":
        """What `save` wrote. Raises ValueError for another file."""
        try:
            arrays = read_arrays(path)
            models, tests, labels = (arrays[name] for name in ("models", "tests", "labels"))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold trials as Trials.save writes them: {error}") from error
        return cls(models.tolist(), tests.tolist(), labels)


def positions(ids: Sequence[str], wanted: Sequence[str], what: str = "utterance") -> np.ndarray:
    """(len(wanted),) int64: where each of `wanted` is in `ids`; `vectors[positions(ids, wanted)]` are in their order.

    Raises ValueError naming those that are missing, or that `ids` holds twice.
    """
    places = _places(ids, what)
    missing = [name for name in wanted if name not in places]
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ValueError(f"of {len(wanted)} wanted, {len(missing)} are not there: {what} {shown}")
    return np.fromiter((places[name] for name in wanted), np.int64, len(wanted))


def model_speakers(enrolments: Enrolments, speakers: Mapping[str, str]) -> dict[str, str]:
    """The speaker of each model, from the speaker of each utterance.

    Raises ValueError naming a model without utterances or with two speakers, or an utterance without speaker.
    """
    owners = {}
    for model, utterances in enrolments.items():
        unknown = [utterance for utterance in utterances if utterance not in speakers]
        if unknown:
            raise ValueError(f"model {model}: enrolment utterance {unknown[0]} has no speaker, or does not exist")
        names = sorted({speakers[utterance] for utterance in utterances})
        if len(names) != 1:
            raise ValueError(f"model {model}: expected utterances of one speaker, got {', '.join(names) or 'none'}")
        owners[model] = names[0]
    return owners


def make_enrolments(speakers: Mapping[str, str], per_speaker: int, seed: int) -> dict[str, list[str]]:
    """A model of each speaker, named as the speaker, from `per_speaker` utterances drawn by (seed, speaker).

    `speakers` is the speaker of each utterance, in any order. A speaker without an utterance more than that gets no
    model: all its utterances are left to be tests of an unknown speaker, which a warning says. Raises ValueError where
    that leaves no model, or `per_speaker` is not positive.
    """
    if per_speaker < 1:
        raise ValueError(f"a model needs at least one enrolment utterance, got {per_speaker}")
    utterances: dict[str, list[str]] = {}
    for utterance, speaker in sorted(speakers.items()):
        utterances.setdefault(speaker, []).append(utterance)
    drawn = {
        speaker: sorted(random.Random(f"{seed} {speaker}").sample(own, per_speaker))
        for speaker, own in sorted(utterances.items())
        if len(own) > per_speaker
    }
    few = sorted(utterances.keys() - drawn.keys())
    if not drawn:
        raise ValueError(f"none of {len(few)} speakers has the {per_speaker + 1} utterances of an enrolment and a test")
    if few:
        logging.warning("%d speakers with at most %d utterances get no model: %s", len(few), per_speaker, few[:5])
    return drawn


def read_enrolments(path: Path | str) -> dict[str, list[str]]:
    """Lines "model utterance [utterance ...]": the utterances of each model. Raises ValueError naming a wrong line."""
    enrolments: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), start=1):
        model, *utterances = line.split() or [""]
        if not utterances:
            raise ValueError(f"{path}:{number}: expected 'model utterance [utterance ...]', got {line.strip() or '-'}")
        if model in enrolments:
            raise ValueError(f"{path}:{number}: model {model} occurs twice")
        if len(set(utterances)) < len(utterances):
            raise ValueError(f"{path}:{number}: model {model} has an utterance twice")
        enrolments[model] = utterances
    if not enrolments:
        raise ValueError(f"{path} holds no model: expected lines 'model utterance [utterance ...]'")
    return enrolments


def write_enrolments(path: Path | str, enrolments: Enrolments) -> None:
    """The inverse of `read_enrolments`."""
    atomic.write_text(path, "".join(" ".join([model, *names]) + "\n" for model, names in enrolments.items()))


def _lines(path: Path | str) -> Iterator[str]:
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            yield from file
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path}: not readable as UTF-8 text: {error}") from error


def _place(
    places: dict[str, int], name: str, known: frozenset[str] | None, what: str, path: Path | str, number: int
) -> int:
    if name not in places:
        if known is not None and name not in known:
            raise ValueError(f"{path}:{number}: {what} {name} is not among the {len(known)} that exist")
        places[name] = len(places)
    return places[name]


def _matrix(
    path: Path | str, names: tuple[list[str], list[str]], rows: np.ndarray, columns: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """(M, K) labels from a place and a label for each line, (L,) each."""
    shape = len(names[0]), len(names[1])
    if shape[0] * shape[1] > CELLS:
        raise ValueError(f"{path}: {shape[0]} models by {shape[1]} utterances do not fit in a matrix: split the list")
    matrix = np.full(shape, -1, np.int8)
    matrix[rows, columns] = labels
    if np.count_nonzero(matrix >= 0) < len(labels):
        cells = rows.astype(np.int64) * shape[1] + columns
        first = np.full(len(labels), True)
        first[np.unique(cells, return_index=True)[1]] = False
        line = int(np.argmax(first))
        model, test = names[0][rows[line]], names[1][columns[line]]
        raise ValueError(f"{path}:{line + 1}: trial {model} {test} occurs twice")
    return matrix


def _places(names: Sequence[str], what: str) -> dict[str, int]:
    places = {name: place for place, name in enumerate(names)}
    if len(places) < len(names):
        twice = next(name for place, name in enumerate(names) if places[name] != place)
        raise ValueError(f"{what} {twice} occurs twice: a name must mean one thing")
    return places
