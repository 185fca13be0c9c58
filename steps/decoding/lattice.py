"""Word lattices as arrays, and the distinct word sequences that they hold.

Both engines' lattices come here, so that an n-best list does not depend on the engine.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from steps.decoding.config import DecodeConfig

INFINITY = float("inf")


@dataclass
class Hypothesis:
    """A word sequence and the natural-log scores of its best alignment (higher is better)."""

    words: list[int]
    acoustic: float  # sum of the log-posteriors along the alignment, unscaled
    graph: float
    partial: bool = False  # the search did not reach a final state of the graph

    @property
    def score(self) -> float:
        """Acoustic and graph score together, at a graph scale of 1."""
        return self.acoustic + self.graph


@dataclass
class Lattice:
    """An acyclic graph of alignments with A arcs, from one start state to one final state."""

    num_states: int
    start: int
    final: int
    source: np.ndarray  # (A,) states
    target: np.ndarray  # (A,) states
    word: np.ndarray  # (A,) word ids, 0 for none
    acoustic: np.ndarray  # (A,) scaled as in the search
    graph: np.ndarray  # (A,)


def nbest(lattice: Lattice, options: DecodeConfig) -> list[Hypothesis]:
    """At most `options.nbest` distinct word sequences, best first, all within `options.lattice_beam`.

    Exact: word sequences are extended best-first (A*), ranked by their score so far plus the lattice's own
    best way to the end, and all alignments of a sequence are followed together. Each hypothesis has the
    scores of its best alignment, the acoustic one divided by `options.acoustic_scale`.
    """
    search = _WordSearch(lattice, options.lattice_beam)
    found = []
    while search.queue and len(found) < options.nbest:
        cost, words, alignments = heapq.heappop(search.queue)
        if alignments is None:
            total, graph = cost
            found.append(Hypothesis(list(words), (graph - total) / options.acoustic_scale, -graph))
        else:
            search.extend(words, alignments)
    return found


class _WordSearch:
    """The queue of `nbest`. Costs are negated scores; a cost is a pair (total, graph part of it).

    A queue entry is (cost, words, alignments): `alignments` has for each state that the words can lead to
    the cost of getting there, or is None for a sequence that has reached the end.
    """

    def __init__(self, lattice: Lattice, beam: float):
        self.final = lattice.final
        self.arcs: list[list[tuple[int, int, float, float]]] = [[] for _ in range(lattice.num_states)]
        columns = (
            lattice.source, lattice.target, lattice.word, -lattice.acoustic - lattice.graph, -lattice.graph
        )  # fmt: skip
        for source, *arc in zip(*(column.tolist() for column in columns), strict=True):
            self.arcs[source].append(tuple(arc))
        self.order = self._topological_order()
        self.rank = {state: rank for rank, state in enumerate(self.order)}
        self.to_end = self._costs_to_end()
        best = self.to_end[lattice.start]
        self.limit = best + beam + 1e-4
        self.queue: list[tuple[tuple[float, float], tuple[int, ...], dict | None]] = []
        if best < INFINITY:
            self.queue.append(((best, 0.0), (), {lattice.start: (0.0, 0.0)}))

    def extend(self, words: tuple[int, ...], alignments: dict[int, tuple[float, float]]) -> None:
        """Follows arcs without words, in topological order, and queues one entry for each next word."""
        following: dict[int, dict[int, tuple[float, float]]] = {}
        pending = [self.rank[state] for state in alignments]
        heapq.heapify(pending)
        reached = dict(alignments)
        while pending:
            state = self.order[heapq.heappop(pending)]
            total, graph = reached[state]
            if state == self.final:
                heapq.heappush(self.queue, ((total, graph), words, None))
            for target, word, arc_total, arc_graph in self.arcs[state]:
                cost = (total + arc_total, graph + arc_graph)
                if cost[0] + self.to_end[target] > self.limit:
                    continue
                there = following.setdefault(word, {}) if word else reached
                if target not in there:
                    there[target] = cost
                    if not word:
                        heapq.heappush(pending, self.rank[target])
                elif cost < there[target]:
                    there[target] = cost
        for word, ends in following.items():
            best = min(cost[0] + self.to_end[state] for state, cost in ends.items())
            heapq.heappush(self.queue, ((best, 0.0), (*words, word), ends))

    def _topological_order(self) -> list[int]:
        incoming = [0] * len(self.arcs)
        for arcs in self.arcs:
            for arc in arcs:
                incoming[arc[0]] += 1
        order = [state for state, count in enumerate(incoming) if count == 0]
        for state in order:
            for arc in self.arcs[state]:
                incoming[arc[0]] -= 1
                if incoming[arc[0]] == 0:
                    order.append(arc[0])
        if len(order) < len(self.arcs):
            raise ValueError("the lattice has a cycle: the graph has a loop without input tokens")
        return order

    def _costs_to_end(self) -> list[float]:
        costs = [INFINITY] * len(self.arcs)
        costs[self.final] = 0.0
        for state in reversed(self.order):
            for target, _, cost, _ in self.arcs[state]:
                costs[state] = min(costs[state], cost + costs[target])
        return costs
