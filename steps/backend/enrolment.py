"""Who is to be enrolled with which recordings, and what an enrolment must pass."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from steps.backend import coherence
from steps.backend.gallery import Gallery, Speaker
from steps.backend.recognizer import Recognizer
from steps.backend.recording import Recording


@dataclass(frozen=True)
class Utterance:
    """A file, and what it is called in the gallery and in messages."""

    name: str
    path: Path


def utterances_of_files(paths: Sequence[Path]) -> list[Utterance]:
    """Files by their own names. Raises ValueError for one given twice: it would count as two utterances."""
    counts = Counter(os.path.realpath(path) for path in paths)
    twice = [path for path in paths if counts[os.path.realpath(path)] > 1]
    if twice:
        raise ValueError(f"{twice[-1]} is given twice; give each recording of the speaker once")
    return [Utterance(str(path), path) for path in paths]


def read_kaldi(utt2spk: Path, wav_scp: Path) -> dict[str, list[Utterance]]:
    """The utterances of each speaker, in the order of utt2spk.

    A relative path is looked for from the current directory, then beside wav.scp and one folder above. Raises
    ValueError for an utterance without a file, and for a command (`... |`), which is not run.
    """
    speakers, files = _read_pairs(utt2spk), _read_pairs(wav_scp)
    found: dict[str, list[Utterance]] = {}
    for utterance, speaker in speakers.items():
        file = files.get(utterance)
        if file is None:
            raise ValueError(f"utterance {utterance} of {utt2spk} has no file in {wav_scp}")
        if file.endswith("|"):
            raise ValueError(f"{wav_scp}: {utterance} is a command, which is not run: write its output to a file")
        places = [Path(file), wav_scp.parent / file, wav_scp.parent.parent / file]
        path = next((place for place in places if place.is_file()), places[0])
        found.setdefault(speaker, []).append(Utterance(utterance, path))
    if not found:
        raise ValueError(f"{utt2spk} is empty; expected lines 'utterance speaker'")
    return found


def enrol(recognizer: Recognizer, utterances: Sequence[Utterance], accept_mixed: bool = False) -> Speaker:
    """One speaker's embeddings.

    Raises ValueError or OSError for a recording that cannot be used, and, unless `accept_mixed`, ValueError for two
    voices (see `steps.backend.coherence`), within a recording or among them.
    """
    recordings = [recognizer.listen(utterance.path, utterance.name) for utterance in utterances]
    if not accept_mixed:
        for recording in recordings:
            _check_within(recognizer, recording)
    vectors = np.stack([recognizer.embedding(recording) for recording in recordings])
    names = [recording.name for recording in recordings]
    if not accept_mixed:
        threshold = recognizer.decision.same_voice(coherence.UTTERANCES_FRR)
        coherence.check_utterances(vectors, names, recognizer.compare, threshold)
    return Speaker(vectors, np.array([recording.seconds for recording in recordings]), names)


def enrol_all(
    recognizer: Recognizer, wanted: Mapping[str, Sequence[Utterance]], accept_mixed: bool = False
) -> tuple[dict[str, Speaker], list[str]]:
    """The speakers that could be enrolled, and a message for each of the others."""
    enrolled: dict[str, Speaker] = {}
    refused = []
    for name, utterances in wanted.items():
        try:
            enrolled[name] = enrol(recognizer, utterances, accept_mixed)
        except (ValueError, OSError) as error:
            refused.append(f"{name} is not enrolled: {error}")
    return enrolled, refused


def add_all(recognizer: Recognizer, gallery: Gallery, enrolled: Mapping[str, Speaker], replace: bool = False) -> None:
    """Puts speakers into the gallery, and warns of those who may be in it under another name.

    Raises ValueError for a name that is taken, unless `replace`.
    """
    for name, speaker in enrolled.items():
        for other, score in lookalikes(recognizer, gallery, name, speaker):
            logging.warning(
                "%s sounds like %s, who is enrolled already (log-likelihood ratio %.2f): one person under two names?",
                name, other, score,
            )  # fmt: skip
        gallery.add(name, speaker, replace)
        logging.info("%s: %d utterances, %.1f s of speech", name, len(speaker.files), speaker.seconds.sum())


def lookalikes(recognizer: Recognizer, gallery: Gallery, name: str, speaker: Speaker) -> list[tuple[str, float]]:
    """Other speakers of the gallery, best first, whom the new one's utterances match in the mean.

    The threshold is the strictest of the decision table, whether many trials support it or not: it warns only.
    """
    others = [other for other in gallery.speakers if other != name]
    strictest = recognizer.decision.strictest()
    if not others or strictest is None:
        return []
    scores = recognizer.compare([gallery.speakers[other].vectors for other in others], speaker.vectors).mean(axis=1)
    close = [(other, float(score)) for other, score in zip(others, scores, strict=True) if score >= strictest]
    return sorted(close, key=lambda pair: -pair[1])


def _read_pairs(path: Path) -> dict[str, str]:
    """Lines "utterance value", where a value may hold spaces. Raises ValueError naming a line of another form."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        key, *value = line.split(maxsplit=1)
        if not value or key in found:
            raise ValueError(f"{path}:{number}: {key} {'occurs twice' if value else 'has nothing beside it'}")
        found[key] = value[0].strip()
    return found


def _check_within(recognizer: Recognizer, recording: Recording) -> None:
    features = recording.near_speech(coherence.MARGIN)
    starts = coherence.window_starts(len(features))
    if not starts:
        return
    windows = torch.stack([features[start : start + coherence.FRAMES] for start in starts])
    vectors = recognizer.window_embeddings(windows, recording.name)
    threshold = recognizer.decision.same_voice(coherence.WINDOWS_FRR)
    coherence.check_windows(vectors, recording.name, recognizer.compare, threshold)
