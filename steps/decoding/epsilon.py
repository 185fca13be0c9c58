"""The same transducer without input epsilons, for a search that has none (k2).

An epsilon arc s -> x can go in two ways: what leaves x may leave s too (forward), or what enters s may enter x
too (backward). In a decoding graph neither does for all of them: the lowest n-gram state, which thousands of
histories back off to, has an arc for every token, and the trees below it (steps/graph/topology.py) are entered
by every label. So states that many epsilons lead to and much leaves are kept as places of their own and entered
backward; the others dissolve forward.

k2's own `remove_epsilon` makes 2.6 times as many arcs of a small graph of that kind, and runs out of 14 GB with one
of 0.8 million arcs (6.6 million here). Of two ways between the same states with the same tokens but other words
it keeps one only.
"""

from dataclasses import dataclass, fields

import numpy as np

from steps.graph.openfst import Arrays

FINAL = -1  # label of the arcs into the one final state


@dataclass
class Arcs:
    """A arcs. Labels: 0 is epsilon, FINAL leads to the end; costs add along a path."""

    source: np.ndarray  # (A,)
    target: np.ndarray  # (A,)
    label: np.ndarray  # (A,)
    cost: np.ndarray  # (A,)
    words: np.ndarray  # (A, W): the words of each arc, then zeros

    def __len__(self) -> int:
        return len(self.source)

    def select(self, which: np.ndarray) -> "Arcs":
        """The arcs at an index array or mask."""
        return Arcs(*(getattr(self, field.name)[which] for field in fields(self)))

    def reading(self, other: "Arcs") -> "Arcs":
        """Each arc followed by each arc of `other` that begins where it ends. One of each two is an epsilon."""
        order = np.argsort(other.source, kind="stable")
        starts = other.source[order]
        first = np.searchsorted(starts, self.target, side="left")
        counts = np.searchsorted(starts, self.target, side="right") - first
        left = np.repeat(np.arange(len(self)), counts)
        within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        right = order[np.repeat(first, counts) + within]
        words = np.concatenate([self.words[left], other.words[right]], axis=1)
        return Arcs(
            self.source[left],
            other.target[right],
            self.label[left] + other.label[right],
            self.cost[left] + other.cost[right],
            _packed(words),
        )


def without_epsilons(fst: Arrays) -> tuple[Arcs, int]:
    """Returns arcs without label 0, sorted by source, and the number of states; state 0 is the start, the last the end.

    Every sequence of labels and words has the same least cost as in `fst`. Raises ValueError for a cycle of
    epsilons.
    """
    arcs, num_states = _with_end(fst)
    epsilons, real = arcs.select(arcs.label == 0), arcs.select(arcs.label != 0)
    places = _places(epsilons, real, fst.start, num_states)
    landing, passing = _epsilon_paths(epsilons, places, num_states)
    hops = _closure(landing, num_states)  # from place to place, over any number of places between
    leaving = _joined([real.select(places[real.source]), passing.reading(real)])
    entered, left = (np.bincount(states, minlength=num_states) for states in (real.target, leaving.source))
    # Each hop goes the way that makes fewer arcs. Nothing need enter the start, so from there it is forward.
    forward = (left[hops.target] < entered[hops.source]) | (hops.source == fst.start)
    real = _best(_joined([real, real.reading(hops.select(~forward))]))
    leaving = _joined([real.select(places[real.source]), passing.reading(real)])
    leaving = _best(_joined([leaving, hops.select(forward).reading(leaving)]))
    return _renumbered(leaving, fst.start, num_states - 1)


def _with_end(fst: Arrays) -> tuple[Arcs, int]:
    """The arcs of `fst`, with one from every final state to a new last state."""
    ends = np.flatnonzero(np.isfinite(fst.final))
    end, none = len(fst.final), np.zeros(len(ends), dtype=np.int64)
    arcs = Arcs(
        np.concatenate([fst.source, ends]),
        np.concatenate([fst.target, none + end]),
        np.concatenate([fst.ilabel, none + FINAL]),
        np.concatenate([fst.weight, fst.final[ends]]).astype(np.float64),
        np.concatenate([fst.olabel, none])[:, None],
    )
    return arcs, end + 1


def _places(epsilons: Arcs, real: Arcs, start: int, num_states: int) -> np.ndarray:
    """(S,) mask of the states that stay: those that a label enters, and those worth entering backward."""
    entered = np.bincount(real.target, minlength=num_states)
    places = entered > 0
    places[start] = True
    fan_in = np.bincount(epsilons.target, minlength=num_states)
    inwards = epsilons.select(~places[epsilons.target])  # epsilons into the states to be decided on
    leaving = _spread(np.bincount(real.source, minlength=num_states), inwards.target, inwards.source)
    onwards = epsilons.select(~places[epsilons.source])
    from_places = epsilons.select(places[epsilons.source])
    entering = np.bincount(from_places.target, entered[from_places.source], num_states)
    entering = _spread(entering, onwards.source, onwards.target)
    return places | ((fan_in > 0) & (fan_in * leaving > entering + leaving))


def _spread(values: np.ndarray, givers: np.ndarray, takers: np.ndarray) -> np.ndarray:
    """(S,) each state's value with those of all states that pass theirs on to it, over acyclic arcs."""
    total = fresh = values.astype(np.float64)
    for _ in range(len(values)):
        fresh = np.bincount(takers, fresh[givers], len(values))
        if not fresh.any():
            return total
        total = total + fresh
    raise ValueError("the graph has a cycle of epsilons")


def _epsilon_paths(epsilons: Arcs, places: np.ndarray, num_states: int) -> tuple[Arcs, Arcs]:
    """Epsilon paths that begin at a place and end at the next one, and those that end between places."""
    newest = epsilons.select(places[epsilons.source])
    found = [newest]
    for _ in range(num_states):
        newest = _best(newest.select(~places[newest.target]).reading(epsilons))
        if not len(newest):
            paths = _best(_joined(found))
            return paths.select(places[paths.target]), paths.select(~places[paths.target])
        found.append(newest)
    raise ValueError("the graph has a cycle of epsilons")


def _closure(steps: Arcs, num_states: int) -> Arcs:
    """All sequences of one step or more."""
    found, newest = [steps], steps
    for _ in range(num_states):
        newest = _best(newest.reading(steps))
        if not len(newest):
            return _best(_joined(found))
        found.append(newest)
    raise ValueError("the graph has a cycle of epsilons")


def _joined(parts: list[Arcs]) -> Arcs:
    width = max(part.words.shape[1] for part in parts)
    words = [np.pad(part.words, ((0, 0), (0, width - part.words.shape[1]))) for part in parts]
    columns = ("source", "target", "label", "cost")
    return Arcs(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns), np.concatenate(words))


def _packed(words: np.ndarray) -> np.ndarray:
    """(A, W) with the words of each row moved to the front, and without columns of zeros but the first."""
    if words.shape[1] > 1:
        words = np.take_along_axis(words, np.argsort(words == 0, axis=1, kind="stable"), axis=1)
    width = int((words != 0).sum(axis=1).max(initial=1))
    return words[:, :width]


def _best(arcs: Arcs) -> Arcs:
    """Of arcs that differ in nothing but the cost, the cheapest; sorted by source, label and target."""
    keys = [*arcs.words.T, arcs.target, arcs.label, arcs.source]
    arcs = arcs.select(np.lexsort([arcs.cost, *keys]))
    keys = [*arcs.words.T, arcs.target, arcs.label, arcs.source]
    new = np.ones(len(arcs), dtype=bool)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return arcs.select(new)


def _renumbered(arcs: Arcs, start: int, end: int) -> tuple[Arcs, int]:
    """States without gaps, in their old order but for the start, which becomes 0."""
    used = np.unique(np.concatenate([arcs.source, arcs.target, [start, end]]))
    number = np.zeros(end + 1, dtype=np.int64)
    number[used] = np.arange(len(used)) + (used < start)
    number[start] = 0
    arcs = Arcs(number[arcs.source], number[arcs.target], arcs.label, arcs.cost, arcs.words)
    return arcs.select(np.argsort(arcs.source, kind="stable")), len(used)
