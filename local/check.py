"""Everything that is wrong with a corpus, found in one pass: its ids, its speakers and its audio."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from local.audio import Inspection, Request, inspect_all
from local.corpus import SAMPLING_RATE, SPLITS, Scan, Utterance
from local.problems import Problem, Reason
from local.trials import list_problems


def check(scan: Scan, num_jobs: int = 1) -> tuple[list[Problem], dict[Path, Inspection]]:
    """All problems of a corpus, those met while scanning first, and the inspection of each audio file."""
    problems = [*scan.problems, *_duplicates(scan.utterances), *_shared_speakers(scan)]
    for test in scan.tests:
        problems += list_problems(test, {u.id: u.speaker for u in scan.utterances if u.split == test.split})
    by_file: dict[Path, list[Utterance]] = defaultdict(list)
    for utterance in scan.utterances:
        by_file[utterance.audio].append(utterance)
    inspections = {}
    requests = [_request(scan, utterances) for utterances in by_file.values()]
    for number, found in enumerate(inspect_all(requests, num_jobs), start=1):
        inspections[found.path] = found
        problems.extend(_audio_problems(found, by_file[found.path]))
        if number % 10_000 == 0:
            logging.info("%s: %d of %d audio files read", scan.name, number, len(requests))
    return problems, inspections


def usable(scan: Scan, problems: Iterable[Problem]) -> list[Utterance]:
    """The utterances that no problem names, sorted by split and id."""
    bad = {problem.utterance for problem in problems if not problem.warning}
    kept = [u for u in scan.utterances if u.id not in bad and (u.text or not scan.transcribed)]
    return sorted(kept, key=lambda u: (SPLITS.index(u.split), u.id))


def _request(scan: Scan, utterances: list[Utterance]) -> Request:
    spans = tuple((utterance.start, utterance.end) for utterance in utterances)
    return Request(utterances[0].audio, spans, SAMPLING_RATE, speech=not scan.wild, decode=scan.decode)


def _audio_problems(found: Inspection, utterances: list[Utterance]) -> Iterable[Problem]:
    for reason, detail in found.faults:
        for utterance in utterances:
            yield Problem(reason, _place(utterance), detail, utterance.id)
    for index, reason, detail in found.span_faults:
        yield Problem(reason, _place(utterances[index]), detail, utterances[index].id)


def _place(utterance: Utterance) -> str:
    """Where to look: the audio file, and the line that names it when it is named by one."""
    named_by = f" ({utterance.source})" if utterance.source != str(utterance.audio) else ""
    return f"{utterance.audio}{named_by}"


def _duplicates(utterances: list[Utterance]) -> Iterable[Problem]:
    """Ids that are met twice among the recordings, in one split or in two."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        other = first.setdefault(utterance.id, utterance)
        if other is not utterance:
            detail = f"'{utterance.id}' is also {other.source}"
            yield Problem(Reason.DUPLICATE, utterance.source, detail, utterance.id)


def _shared_speakers(scan: Scan) -> Iterable[Problem]:
    """Utterances of speakers that another split has too.

    The later split keeps its speakers (test, then dev), so that what is scored stays what it was. Where the
    corpus is published with shared speakers, one warning for the pair of splits says so.
    """
    speakers: dict[str, dict[str, list[Utterance]]] = {split: defaultdict(list) for split in SPLITS}
    for utterance in scan.utterances:
        speakers[utterance.split][utterance.speaker].append(utterance)
    for earlier, later in combinations(SPLITS, 2):
        shared = sorted(speakers[earlier].keys() & speakers[later].keys() - {""})
        if shared and (earlier, later) in scan.shared_speakers:
            detail = f"{earlier} and {later} share {len(shared)} speakers, as published"
            yield Problem(Reason.SHARED_SPEAKER, str(scan.folder), detail, warning=True)
            continue
        for speaker in shared:
            for utterance in speakers[earlier][speaker]:
                detail = f"'{speaker}' of {earlier} is also in {later}"
                yield Problem(Reason.SHARED_SPEAKER, utterance.source, detail, utterance.id)
