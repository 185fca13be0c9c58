"""N-best lists of random lattices, against all their paths."""

import numpy as np
import pytest

from steps.decoding.config import DecodeConfig
from steps.decoding.lattice import Lattice, nbest

ALL = DecodeConfig(nbest=10_000, lattice_beam=1e6)


def random_lattice(seed: int, num_states: int = 9, num_arcs: int = 26) -> Lattice:
    """Acyclic; states numbered in no order, the start not 0."""
    generator = np.random.default_rng(seed)
    ends = np.sort(np.stack([generator.choice(num_states, 2, replace=False) for _ in range(num_arcs)]), axis=1)
    names = generator.permutation(num_states)
    return Lattice(
        num_states,
        int(names[0]),
        int(names[-1]),
        names[ends[:, 0]],
        names[ends[:, 1]],
        generator.integers(0, 4, num_arcs),
        -generator.exponential(2.0, num_arcs),
        -generator.exponential(2.0, num_arcs),
    )


def all_sequences(lattice: Lattice) -> dict[tuple[int, ...], tuple[float, float]]:
    """The best alignment's (total, graph) of every word sequence, by walking every path."""
    best: dict[tuple[int, ...], tuple[float, float]] = {}

    def walk(state: int, words: tuple[int, ...], total: float, graph: float) -> None:
        if state == lattice.final:
            best[words] = max(best.get(words, (-np.inf, 0.0)), (total, graph))
        for arc in np.flatnonzero(lattice.source == state):
            word = (int(lattice.word[arc]),) if lattice.word[arc] else ()
            score = float(lattice.graph[arc])
            walk(int(lattice.target[arc]), words + word, total + float(lattice.acoustic[arc]) + score, graph + score)

    walk(lattice.start, (), 0.0, 0.0)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_all_distinct_sequences_in_order_with_their_best_alignment(seed: int) -> None:
    lattice = random_lattice(seed)
    wanted = all_sequences(lattice)
    found = nbest(lattice, ALL)
    assert len(found) == len(wanted)
    assert [hyp.score for hyp in found] == sorted((hyp.score for hyp in found), reverse=True)
    for hyp in found:
        total, graph = wanted[tuple(hyp.words)]
        assert hyp.score == pytest.approx(total)
        assert hyp.graph == pytest.approx(graph)


@pytest.mark.parametrize("seed", range(6))
def test_beam_and_number_limit_the_list(seed: int) -> None:
    lattice = random_lattice(seed)
    complete = nbest(lattice, ALL)
    assert nbest(lattice, DecodeConfig(nbest=2, lattice_beam=1e6)) == complete[:2]
    within = [hyp for hyp in complete if hyp.score >= complete[0].score - 3.0]
    assert [h.words for h in nbest(lattice, DecodeConfig(nbest=10_000, lattice_beam=3.0))] == [h.words for h in within]


def test_acoustic_scores_are_divided_by_the_scale() -> None:
    lattice = random_lattice(0)
    plain, scaled = nbest(lattice, ALL)[0], nbest(lattice, DecodeConfig(nbest=1, acoustic_scale=0.5))[0]
    assert scaled.words == plain.words
    assert scaled.acoustic == pytest.approx(plain.acoustic / 0.5)
    assert scaled.graph == pytest.approx(plain.graph)


def test_a_lattice_whose_end_is_out_of_reach_has_no_hypotheses() -> None:
    lattice = Lattice(3, 0, 2, np.array([0]), np.array([1]), np.array([5]), np.array([-1.0]), np.array([0.0]))
    assert nbest(lattice, ALL) == []


def test_a_cycle_is_refused() -> None:
    columns = np.array([0, 1]), np.array([1, 0]), np.array([1, 2]), np.zeros(2), np.zeros(2)
    with pytest.raises(ValueError, match="cycle"):
        nbest(Lattice(2, 0, 1, *columns), ALL)
