"""The sweep over scales and bonuses on lists where the right answer is known."""

from steps.metrics.config import ScoreConfig
from steps.metrics.rescoring import Weights, apply, choose, sweep

REFS = {"a": "一二", "b": "三"}
NBEST = {
    # The second is right, and better once the graph counts half.
    "a": [
        {"text": "一一一", "acoustic": -5.0, "graph": -1.0, "words": 3},
        {"text": "一二", "acoustic": -2.0, "graph": -5.0, "words": 2},
    ],
    # The first is right unless words earn more than 2.
    "b": [
        {"text": "三", "acoustic": -1.0, "graph": -1.0, "words": 1},
        {"text": "三三", "acoustic": -3.0, "graph": -1.0, "words": 2},
    ],
}
CONFIG = ScoreConfig(graph_scales=[0.5, 1.0], word_bonuses=[0.0, 3.0])


def test_every_pair_of_weights_is_tried() -> None:
    rows = sweep(REFS, NBEST, CONFIG)
    assert rows == [
        {"graph_scale": 0.5, "word_bonus": 0.0, "errors": 0},
        {"graph_scale": 0.5, "word_bonus": 3.0, "errors": 3},
        {"graph_scale": 1.0, "word_bonus": 0.0, "errors": 2},
        {"graph_scale": 1.0, "word_bonus": 3.0, "errors": 3},
    ]
    assert choose(rows) == Weights(0.5, 0.0)


def test_texts_are_those_of_the_weights() -> None:
    assert apply(NBEST, Weights(0.5, 0.0)) == {"a": "一二", "b": "三"}
    assert apply(NBEST, Weights(1.0, 3.0)) == {"a": "一一一", "b": "三三"}


def test_of_equals_the_nearest_to_the_graph_as_built_wins() -> None:
    grid = [(0.5, 0.0), (1.0, 1.0), (1.0, -0.5), (1.3, 0.0)]
    rows = [{"graph_scale": scale, "word_bonus": bonus, "errors": 4} for scale, bonus in grid]
    assert choose(rows) == Weights(1.0, -0.5)
    assert choose([*rows, {"graph_scale": 9.0, "word_bonus": 9.0, "errors": 3}]) == Weights(9.0, 9.0)
