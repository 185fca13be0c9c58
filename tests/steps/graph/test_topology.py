"""The CTC topology by brute force: every string of frames has exactly the paths of the tokens it stands for."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from steps.graph import topology
from steps.graph.openfst import Arrays

BLANK = topology.BLANK_LABEL


def token_graph(seed: int, hub_labels: int, epsilons: bool) -> Arrays:
    """A random graph: state 0 is entered from all over and left by many labels; epsilons go to lower states."""
    chance = np.random.default_rng(seed)
    states, arcs = 5, []
    for label in range(2, 2 + hub_labels):
        arcs.append((0, label, chance.integers(1, states)))
    for source in range(1, states):
        arcs += [(source, label, chance.integers(states)) for label in chance.integers(2, 2 + hub_labels, size=3)]
        arcs.append((source, 2, 1))  # so that label 2 can follow itself
        if epsilons:
            arcs += [(source, 0, target) for target in {0, chance.integers(source)}]
    arcs.sort()
    source, ilabel, target = np.array(arcs, dtype=np.int64).T
    olabel = np.arange(len(arcs)) % 7
    weight = chance.random(len(arcs)).astype(np.float32)
    final = np.where(np.arange(states) < 3, chance.random(states), np.inf).astype(np.float32)
    return Arrays(3, final, source, ilabel, olabel, weight, target)


def all_paths(fst: Arrays, longest: int) -> dict[tuple, list]:
    """For each string of up to `longest` input labels: (cost, output labels) of each of its paths, sorted."""
    first = fst.first
    found = defaultdict(list)

    def walk(state, inputs, outputs, cost):
        if np.isfinite(fst.final[state]):
            found[inputs].append((round(cost + float(fst.final[state]), 4), outputs))
        for arc in range(first[state], first[state + 1]):
            ilabel, olabel = int(fst.ilabel[arc]), int(fst.olabel[arc])
            if ilabel and len(inputs) == longest:
                continue
            more_in = (*inputs, ilabel) if ilabel else inputs
            more_out = (*outputs, olabel) if olabel else outputs
            walk(int(fst.target[arc]), more_in, more_out, cost + float(fst.weight[arc]))

    walk(fst.start, (), (), 0.0)
    return {inputs: sorted(paths) for inputs, paths in found.items()}


def collapsed(frames: tuple) -> tuple:
    """CTC's reading of frame labels: repetitions merged, then blanks removed."""
    return tuple(label for label, _ in itertools.groupby(frames) if label != BLANK)


@pytest.mark.parametrize("epsilons", [True, False])
@pytest.mark.parametrize(("hub_labels", "branches"), [(4, 16), (12, 2), (10, 2), (13, 3)])
def test_paths_are_those_of_the_collapsed_frames(hub_labels, branches, epsilons):
    graph = token_graph(hub_labels, hub_labels, epsilons)
    expanded = topology.expand(graph, branches)
    assert (np.diff(expanded.source) >= 0).all()
    longest = 3
    expected = all_paths(graph, longest)
    found = all_paths(expanded, longest)
    for frames in itertools.product(range(1, 2 + hub_labels), repeat=longest):
        assert found.get(frames, []) == expected.get(collapsed(frames), []), frames
    assert found[(2, BLANK, 2)], "no repeated token was tried"


def test_trees_make_the_graph_smaller():
    """40 labels at one state, entered after each of them: 1,600 arcs without trees."""
    labels = np.arange(2, 42)
    source = np.concatenate([np.zeros(40, np.int64), np.arange(1, 41)])
    ilabel = np.concatenate([labels, np.zeros(40, np.int64)])
    target = np.concatenate([np.arange(1, 41), np.zeros(40, np.int64)])
    final = np.zeros(41, np.float32)
    graph = Arrays(0, final, source, ilabel, ilabel, np.zeros(80, np.float32), target)
    plain, shared = topology.expand(graph, 1000), topology.expand(graph, 4)
    assert len(plain.source) > 1600 > 800 > len(shared.source)
    assert all_paths(plain, 2) == all_paths(shared, 2)


@pytest.mark.k2
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_equal_k2s_topology(seed):
    """Best and total scores of random posteriors, against k2.ctc_topo composed with the same graph by k2."""
    k2 = pytest.importorskip("k2")
    import torch

    def as_k2(fst: Arrays) -> "k2.Fsa":
        ends = np.flatnonzero(np.isfinite(fst.final))
        order = [fst.start, *(s for s in range(len(fst.final)) if s != fst.start)]  # k2 starts in state 0
        rank = {state: i for i, state in enumerate(order)}
        columns = (fst.source, fst.target, fst.ilabel - 1, -fst.weight)
        lines = [(rank[s], rank[t], label, w) for s, t, label, w in zip(*columns, strict=True)]
        lines += [(rank[s], len(order), -1, -float(fst.final[s])) for s in ends]
        lines.sort()
        text = "\n".join(f"{s} {t} {label} {w}" for s, t, label, w in lines)
        return k2.arc_sort(k2.connect(k2.Fsa.from_str(f"{text}\n{len(order)}")))

    hub_labels = 6
    graph = token_graph(seed, hub_labels, epsilons=False)
    ours = as_k2(topology.expand(graph, 1000))
    topo = k2.arc_sort(k2.ctc_topo(hub_labels, modified=False))
    theirs = k2.connect(k2.compose(topo, as_k2(graph)))
    log_probs = torch.randn(1, 9, hub_labels + 1, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    dense = k2.DenseFsaVec(log_probs, torch.tensor([[0, 0, 9]], dtype=torch.int32))
    for log_semiring in (False, True):
        scores = [
            k2.intersect_dense(k2.create_fsa_vec([fsa]), dense, output_beam=1000.0)
            .get_tot_scores(use_double_scores=True, log_semiring=log_semiring)
            .item()
            for fsa in (ours, theirs)
        ]
        assert np.isfinite(scores[0]) and np.isclose(*scores, atol=1e-4)
