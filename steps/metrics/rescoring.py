"""The scale of the graph and the bonus of a word in an n-best list: chosen on dev, applied to test."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steps.metrics.config import ScoreConfig
from steps.metrics.edit_distance import distance, tokenize

NbestLists = Mapping[str, list[dict[str, Any]]]  # by utterance: {"text", "acoustic", "graph", "words"}, best first


@dataclass
class Weights:
    """score = acoustic + graph_scale * graph + word_bonus * words, natural logs."""

    graph_scale: float
    word_bonus: float


def apply(nbest: NbestLists, weights: Weights) -> dict[str, str]:
    """The text of the best hypothesis of every utterance."""
    return {key: hyps[_best(hyps, [weights])[0]]["text"] for key, hyps in nbest.items()}


def sweep(refs: Mapping[str, str], nbest: NbestLists, config: ScoreConfig) -> list[dict[str, float]]:
    """Errors with every pair of a graph scale and a word bonus: rows {"graph_scale", "word_bonus", "errors"}."""
    grid = [Weights(scale, bonus) for scale in config.graph_scales for bonus in config.word_bonuses]
    errors = np.zeros(len(grid), dtype=int)
    for key, hyps in nbest.items():
        ref = tokenize(refs[key], config)
        places = _best(hyps, grid)
        of_place = {place: distance(ref, tokenize(hyps[place]["text"], config)) for place in set(places)}
        errors += [of_place[place] for place in places]
    return [{**asdict(weights), "errors": int(count)} for weights, count in zip(grid, errors, strict=True)]


def _best(hyps: list[dict[str, Any]], grid: list[Weights]) -> list[int]:
    """For each weights the place of the best hypothesis in the list; the first of equals."""
    features = np.array([[hyp["acoustic"], hyp["graph"], hyp["words"]] for hyp in hyps])
    factors = np.array([[1.0, weights.graph_scale, weights.word_bonus] for weights in grid])
    return np.argmax(features @ factors.T, axis=0).tolist()


def choose(rows: list[dict[str, float]]) -> Weights:
    """The weights with the fewest errors; of equals, those nearest to the graph as it was built (1 and 0)."""
    best = min(rows, key=lambda row: (row["errors"], abs(row["graph_scale"] - 1), abs(row["word_bonus"])))
    return Weights(best["graph_scale"], best["word_bonus"])
