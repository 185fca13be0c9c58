"""What embeddings are extracted from: whole utterances, several joined into one, and excerpts of them."""

import random
from collections.abc import Iterable, Mapping, Sequence

from lhotse.cut import Cut, append_cuts


def joined(enrolments: Mapping[str, Sequence[str]], cuts: Iterable[Cut]) -> list[Cut]:
    """One cut for each model, its enrolment utterances end to end, with the model's name as its id.

    Raises ValueError that names a model whose utterance is missing.
    """
    by_id = {cut.id: cut for cut in cuts}
    models = []
    for model, utterances in enrolments.items():
        missing = [utterance for utterance in utterances if utterance not in by_id]
        if missing:
            raise ValueError(f"enrolment {model}: there is no utterance {missing[0]} among the cuts")
        whole = append_cuts([by_id[utterance] for utterance in utterances])
        models.append(whole.with_id(model))
    return models


def excerpts(cuts: Iterable[Cut], seconds: float, seed: int) -> list[Cut]:
    """`seconds` of each cut from a place drawn by (seed, id); a shorter cut stays whole."""
    shortened = []
    for cut in cuts:
        spare = cut.duration - seconds
        if spare > 0:
            start = round(random.Random(f"{seed} {cut.id} {seconds:g}").uniform(0, spare), 2)
            part = cut.truncate(offset=min(start, spare), duration=seconds)
            cut = part.with_id(cut.id)  # of joined cuts, what lies in one of them would have that one's id
        shortened.append(cut)
    return shortened
