"""Removing epsilons, against the least cost of every sequence in random transducers."""

import numpy as np
import pytest

from steps.decoding.epsilon import FINAL, Arcs, without_epsilons
from steps.graph import openfst
from steps.graph.openfst import Arrays

LONGEST = 4  # labels in a sequence


def random_fst(seed: int, num_states: int = 7, num_arcs: int = 22) -> Arrays:
    """Arcs in all directions, of which those with epsilons go to higher states only."""
    generator = np.random.default_rng(seed)
    source, target = generator.integers(0, num_states, (2, num_arcs))
    label = generator.integers(0, 3, num_arcs)
    label[(label == 0) & (source >= target)] = 1
    order = np.argsort(source, kind="stable")
    final = np.where(generator.random(num_states) < 0.4, generator.random(num_states), np.inf).astype(np.float32)
    words = generator.integers(0, 3, num_arcs)
    weight = generator.exponential(1.0, num_arcs).astype(np.float32)
    start = int(generator.integers(0, num_states))
    return Arrays(start, final, source[order], label[order], words[order], weight[order], target[order])


def least_costs(arcs: list[tuple], start: int, ends: dict[int, float]) -> dict[tuple, float]:
    """The least cost of every (labels, words) with up to LONGEST labels; arcs (source, target, label, cost, words)."""
    best: dict[tuple, float] = {}
    pending: dict[tuple, float] = {(start, (), ()): 0.0}
    seen: dict[tuple, float] = {}
    while pending:
        (state, labels, words), cost = pending.popitem()
        if seen.get((state, labels, words), np.inf) <= cost:
            continue
        seen[state, labels, words] = cost
        if state in ends:
            best[labels, words] = min(best.get((labels, words), np.inf), cost + ends[state])
        for source, target, label, arc_cost, arc_words in arcs:
            longer = labels + ((label,) if label else ())
            if source == state and len(longer) <= LONGEST:
                key = (target, longer, words + arc_words)
                pending[key] = min(pending.get(key, np.inf), cost + arc_cost)
    return best


def costs_before(fst: Arrays) -> dict[tuple, float]:
    columns = (fst.source, fst.target, fst.ilabel, fst.weight)
    arcs = [
        (*arc, (word,) if word else ())
        for *arc, word in zip(*(column.tolist() for column in columns), fst.olabel.tolist(), strict=True)
    ]
    ends = {state: float(cost) for state, cost in enumerate(fst.final) if np.isfinite(cost)}
    return least_costs(arcs, fst.start, ends)


def costs_after(arcs: Arcs, num_states: int) -> dict[tuple, float]:
    rows = [
        (source, target, label, cost, tuple(word for word in words if word))
        for source, target, label, cost, words in zip(
            *(column.tolist() for column in (arcs.source, arcs.target, arcs.label, arcs.cost, arcs.words)), strict=True
        )
    ]
    into_end = [row for row in rows if row[2] == FINAL]
    assert all(target == num_states - 1 for _, target, *_ in into_end)
    # Arcs into the end count as epsilons here, so that sequences compare.
    plain = [row for row in rows if row[2] != FINAL]
    return least_costs([*plain, *((s, t, 0, c, w) for s, t, _, c, w in into_end)], 0, {num_states - 1: 0.0})


@pytest.mark.parametrize("seed", range(40))
def test_every_sequence_keeps_its_least_cost(seed: int) -> None:
    fst = random_fst(seed)
    arcs, num_states = without_epsilons(fst)
    assert not (arcs.label == 0).any()
    assert (np.diff(arcs.source) >= 0).all()
    before, after = costs_before(fst), costs_after(arcs, num_states)
    assert after.keys() == before.keys()
    for key, cost in before.items():
        assert after[key] == pytest.approx(cost, abs=1e-5)


def test_words_that_share_their_tokens_are_all_kept() -> None:
    # After token 1 the epsilons choose word 7 or word 8, both to the same state.
    columns = ([0, 1, 1, 2], [1, 0, 0, 2], [0, 7, 8, 0], [0.0, 1.0, 2.0, 0.0], [1, 2, 2, 3])
    source, ilabel, olabel, weight, target = (np.array(column) for column in columns)
    ilabel[3] = 2
    final = np.array([np.inf, np.inf, np.inf, 0.5], dtype=np.float32)
    arcs, num_states = without_epsilons(Arrays(0, final, source, ilabel, olabel, weight.astype(np.float32), target))
    assert costs_after(arcs, num_states) == {((1, 2), (7,)): 1.5, ((1, 2), (8,)): 2.5}


def test_a_decoding_graph_stays_small(language) -> None:
    fst = openfst.read(language.graph)
    arcs, _ = without_epsilons(fst)
    assert len(arcs) < 5 * len(fst.source)


def test_a_cycle_of_epsilons_is_refused() -> None:
    final = np.array([np.inf, 0.0, np.inf], dtype=np.float32)
    source, target, label = np.array([0, 1, 2]), np.array([1, 2, 1]), np.array([1, 0, 0])
    cyclic = Arrays(0, final, source, label, np.zeros(3, dtype=int), np.zeros(3, dtype=np.float32), target)
    with pytest.raises(ValueError, match="cycle of epsilons"):
        without_epsilons(cyclic)
