"""Is an enrolment of one voice? Its utterances are compared with each other, and stretches within each utterance.

The items (utterances, or windows of WINDOW seconds) are put into two groups, so that the mean log-likelihood ratio
between the groups is low (average linkage), and the larger group is taken as a model, which the items of the smaller
one are tests of. Their mean ratio, on calibrated scores, must reach a threshold: that below which the decision table
puts a share of right comparisons (`Decision.same_voice`), at most the EER's. One comparison decides, that of the worst
split, so that more items do not mean many more chances to be refused, as they would with the least of all pairs.

Its limits: the worst split is chosen, so that more right enrolments are refused than the share says. Utterances of two
voices that the model confuses pass as often as strangers pass for each other. Windows are shorter than the utterances
of dev, of which the table was made, and the scores of right ones lie lower: their share is set lower, and a second
voice is found less often. A second voice of less than about 3 s, or spoken at the same time as the first, is not found;
a file of less than 4 s of speech is not looked into. What else changes within a file (a channel, singing) may look
like a voice.

Measured with a network of 5 % EER on read speech of 12 speakers: of right enrolments of three utterances 5 % are
refused, and 15 % with one utterance of another speaker pass; of files of 13 to 50 s with one voice 0 to 5 % are
refused, and of those that hold a quarter or half of another a half or a third pass.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

Compare = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]  # models of (n_i, E), tests (K, E) -> (M, K)
UTTERANCES_FRR, WINDOWS_FRR = 0.02, 0.005
WINDOW, HOP, MARGIN = 2.0, 1.0, 0.1  # seconds, of the frames that lie within MARGIN of speech
FRAMES = round(WINDOW * 100)  # of a window
LEAST_WINDOWS = 2  # of a second voice, so that a cough is none


def worst_split(vectors: np.ndarray, compare: Compare, least: int = 1) -> tuple[float, np.ndarray]:
    """The log-likelihood ratio between the two groups, and which of the n items (n, E), n >= 2, are the smaller one.

    A group of fewer than `least` items is set aside, and the others are split again, as long as there are enough.
    """
    kept = np.arange(len(vectors))
    while True:
        smaller = _smaller_group(vectors[kept], compare)
        if smaller.sum() >= least or len(kept) - smaller.sum() < 2 * least:
            break
        kept = kept[~smaller]
    score = compare([vectors[kept[~smaller]]], vectors[kept[smaller]]).mean()
    odd = np.zeros(len(vectors), dtype=bool)
    odd[kept[smaller]] = True
    return float(score), odd


def _smaller_group(vectors: np.ndarray, compare: Compare) -> np.ndarray:
    """(n,) of bool. The last items are the smaller group where both are of one size."""
    ratios = compare(list(vectors[:, None]), vectors)
    ratios = (ratios + ratios.T) / 2
    distances = ratios.max() - ratios
    np.fill_diagonal(distances, 0)
    groups = fcluster(linkage(squareform(distances, checks=False), "average"), 2, "maxclust")
    if len(np.unique(groups)) < 2:  # all alike: any split is as good
        groups = np.arange(len(vectors)) == len(vectors) - 1
    first = groups == groups[0]
    return ~first if first.sum() * 2 >= len(first) else first


def check_utterances(vectors: np.ndarray, names: Sequence[str], compare: Compare, threshold: float) -> None:
    """Raises ValueError that names the utterances (of n, embeddings (n, E)) that do not match the others."""
    if len(vectors) < 2:
        return
    score, odd = worst_split(vectors, compare)
    if score < threshold:
        apart = ", ".join(name for name, is_odd in zip(names, odd, strict=True) if is_odd)
        others = ", ".join(name for name, is_odd in zip(names, odd, strict=True) if not is_odd)
        raise ValueError(
            f"two voices: {apart} does not match {others} (log-likelihood ratio {score:.2f}, at least {threshold:.2f} "
            f"is expected of one voice). Take out what is of another speaker, or enrol with --accept-mixed"
        )


def window_starts(frames: int) -> list[int]:
    """The frames where the windows of an utterance begin; none where two would not fit side by side."""
    return list(range(0, frames - FRAMES + 1, round(FRAMES * HOP / WINDOW))) if frames >= 2 * FRAMES else []


def check_windows(vectors: np.ndarray, name: str, compare: Compare, threshold: float) -> None:
    """Raises ValueError that says where in the utterance `name` another voice is; vectors (W, E) of its windows."""
    if len(vectors) < 2:
        return
    score, odd = worst_split(vectors, compare, LEAST_WINDOWS if len(vectors) > LEAST_WINDOWS * 2 else 1)
    if score < threshold:
        first = int(np.flatnonzero(odd)[0]) * HOP
        raise ValueError(
            f"two voices in {name}: {odd.sum()} of {len(odd)} windows of {WINDOW:g} s, the first {first:g} s into its "
            f"speech, do not match the others (log-likelihood ratio {score:.2f}, at least {threshold:.2f} is expected "
            f"of one voice). Cut out what is of another speaker, or enrol with --accept-mixed"
        )
