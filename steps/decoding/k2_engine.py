"""Graph search with k2, on the CPU or a GPU.

k2 searches graphs without epsilons (steps/decoding/epsilon.py removes them), so its graphs have several times as
many arcs as those that kaldi-decoder searches.
"""

from dataclasses import dataclass, replace
from itertools import compress, pairwise
from pathlib import Path

import k2
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from steps.decoding.config import DecodeConfig
from steps.decoding.epsilon import FINAL, without_epsilons
from steps.decoding.lattice import Hypothesis, Lattice, nbest
from steps.graph import openfst


class K2Graph:
    """See `steps.decoding.engine.Graph`."""

    name = "k2"

    def __init__(self, path: Path, num_tokens: int, device: torch.device | str = "cpu"):
        self.path = path
        self.num_tokens = num_tokens
        self.device = torch.device(device if k2.with_cuda else "cpu")
        self.fsa = read_graph(path).to(self.device)
        self._all_final: k2.Fsa | None = None

    def search(self, rows: list[np.ndarray], options: DecodeConfig, nbest: bool) -> list[list[Hypothesis]]:
        """See `steps.decoding.engine.Graph`."""
        extract = _nbest_lists if nbest else _best_paths
        found = extract(_intersect(self.fsa, rows, options), options)
        stuck = [index for index, hypotheses in enumerate(found) if not hypotheses]
        if stuck:
            if self._all_final is None:
                self._all_final = read_graph(self.path, all_final=True).to(self.device)
            again = extract(_intersect(self._all_final, [rows[index] for index in stuck], options), options)
            for index, hypotheses in zip(stuck, again, strict=True):
                found[index] = [replace(hypothesis, partial=True) for hypothesis in hypotheses]
        return found


def read_graph(path: Path, all_final: bool = False) -> k2.Fsa:
    """An OpenFst graph, whose input label is token + 1, as k2 wants it: label = token, no epsilon arcs.

    `graph_scores` keeps the graph's scores apart from the posteriors that a search adds. With `all_final`
    every state is final at no cost, for utterances that end in the middle of a word.
    """
    fst = openfst.read(path)
    if all_final:
        fst.final[:] = 0.0
    arcs, _ = without_epsilons(fst)
    labels = np.where(arcs.label == FINAL, -1, arcs.label - 1)
    scores = -arcs.cost.astype(np.float32)
    columns = (arcs.source, arcs.target, labels, scores.view(np.int32))
    table = torch.from_numpy(np.stack([column.astype(np.int32) for column in columns], axis=1))
    has_word = arcs.words != 0
    splits = torch.from_numpy(np.append(0, np.cumsum(has_word.sum(axis=1))).astype(np.int32))
    words = torch.from_numpy(arcs.words[has_word].astype(np.int32))
    shape = k2.ragged.create_ragged_shape2(splits, None, len(words))
    fsa = k2.arc_sort(k2.create_fsa_vec([k2.Fsa(table, aux_labels=k2.RaggedTensor(shape, words))]))
    fsa.graph_scores = fsa.scores.clone()
    return fsa


def _intersect(fsa: k2.Fsa, rows: list[np.ndarray], options: DecodeConfig) -> k2.Fsa:
    """The lattices of the utterances; one is without arcs where no final state was reached."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))  # k2 wants the longest first
    padded = pad_sequence([torch.from_numpy(rows[index]) for index in order], batch_first=True)
    segments = torch.tensor([[place, 0, len(rows[index])] for place, index in enumerate(order)], dtype=torch.int32)
    lattices = k2.intersect_dense_pruned(
        fsa,
        k2.DenseFsaVec(padded.to(fsa.device), segments),
        search_beam=options.search_beam,
        output_beam=options.lattice_beam,
        min_active_states=options.min_active,
        max_active_states=options.max_active,
    )
    places = np.argsort(order).astype(np.int32)
    return k2.index_fsa(lattices, torch.from_numpy(places).to(fsa.device))


def _best_paths(lattices: k2.Fsa, options: DecodeConfig) -> list[list[Hypothesis]]:
    found = []
    for path in _split(k2.shortest_path(lattices, use_double_scores=True)):
        words = [word for arc in path.words for word in arc]
        acoustic = float(path.acoustic.sum()) / options.acoustic_scale
        found.append([Hypothesis(words, acoustic, float(path.graph.sum()))] if len(path.source) else [])
    return found


def _nbest_lists(lattices: k2.Fsa, options: DecodeConfig) -> list[list[Hypothesis]]:
    """k2 prunes while it searches, knowing the frames so far: its lattices hold many arcs out of the beam."""
    forward = lattices.get_forward_scores(use_double_scores=True, log_semiring=False)
    backward = lattices.get_backward_scores(use_double_scores=True, log_semiring=False)
    best = lattices.get_tot_scores(use_double_scores=True, log_semiring=False)
    states = lattices.arcs.shape().row_splits(1).long()
    utterance = torch.repeat_interleave(torch.arange(len(best), device=best.device), _arcs_of_each(lattices).diff())
    source, target = (states[utterance] + lattices.arcs.values()[:, column].long() for column in (0, 1))
    through = forward[source] + lattices.scores + backward[target]
    keep = (through >= best[utterance] - options.lattice_beam).cpu().numpy()
    lists, start = [], 0
    for arcs, num_states in zip(_split(lattices), states.diff().tolist(), strict=True):
        kept = keep[start : start + len(arcs.source)]
        lists.append(nbest(_lattice(arcs, kept, num_states), options) if kept.any() else [])
        start += len(kept)
    return lists


@dataclass
class _Arcs:
    """The arcs of one utterance's lattice or path."""

    source: np.ndarray
    target: np.ndarray
    acoustic: np.ndarray
    graph: np.ndarray
    words: list[list[int]]


def _split(vector: k2.Fsa) -> list[_Arcs]:
    """The arcs of each FSA; k2 1.23.4 raises when an empty one is taken out by its index."""
    ends = vector.arcs.values()[:, :2].cpu().numpy()
    graph = vector.graph_scores.double().cpu().numpy()
    acoustic = vector.scores.double().cpu().numpy() - graph
    rows = vector.aux_labels.remove_values_leq(0)
    splits, values = rows.shape.row_splits(1).tolist(), rows.values.tolist()
    words = [values[first:last] for first, last in pairwise(splits)]
    return [
        _Arcs(ends[first:last, 0], ends[first:last, 1], acoustic[first:last], graph[first:last], words[first:last])
        for first, last in pairwise(_arcs_of_each(vector).tolist())
    ]


def _arcs_of_each(vector: k2.Fsa) -> torch.Tensor:
    """(N + 1,): the arcs of FSA n begin at element n."""
    shape = vector.arcs.shape()
    return shape.row_splits(2)[shape.row_splits(1).long()]


def _lattice(arcs: _Arcs, keep: np.ndarray, num_states: int) -> Lattice:
    """The arcs to keep as a lattice; those with several words become chains through new states."""
    rows, count = [], num_states
    columns = (arcs.source[keep], arcs.target[keep], compress(arcs.words, keep), arcs.acoustic[keep], arcs.graph[keep])
    for source, target, words, acoustic, graph in zip(*columns, strict=True):
        for word in words[:-1]:
            rows.append((source, count, word, acoustic, graph))
            source, acoustic, graph, count = count, 0.0, 0.0, count + 1
        rows.append((source, target, words[-1] if words else 0, acoustic, graph))
    return Lattice(count, 0, num_states - 1, *(np.array(column) for column in zip(*rows, strict=True)))
