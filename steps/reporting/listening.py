"""The sounds of utterances, from the cuts of a split."""

import logging
from collections.abc import Collection
from pathlib import Path

from lhotse import CutSet
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError

from steps.data.config import FeatureConfig
from steps.data.features import make_extractor
from steps.reporting.sound import Sound

MOST_SECONDS = 30.0  # of an utterance; a page holds several


def read_sounds(cuts: Path, ids: Collection[str]) -> dict[str, Sound]:
    """The first MOST_SECONDS of each utterance of `ids`; one whose audio cannot be read is left out and named."""
    if not cuts.is_file():
        raise FileNotFoundError(f"{cuts} does not exist; stage 2 (features) makes it")
    sounds: dict[str, Sound] = {}
    for cut in CutSet.from_file(cuts):
        if cut.id not in ids:
            continue
        part = cut.truncate(duration=min(cut.duration, MOST_SECONDS), preserve_id=True)
        try:
            samples = part.load_audio()[0]
        except (AudioLoadingError, DurationMismatchError, OSError) as error:
            logging.warning("%s: no sound in the report: %s", cut.id, str(error).splitlines()[0])
            continue
        extractor = make_extractor(FeatureConfig(sampling_rate=cut.sampling_rate))
        sounds[cut.id] = Sound(samples, cut.sampling_rate, extractor.extract(samples, cut.sampling_rate))
    return sounds
