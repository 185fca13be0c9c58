"""The CTC topology composed with a graph of tokens.

CTC reads a token's frames as one token, lets blanks stand anywhere, and needs a blank only between two equal
tokens. As a transducer (k2 calls it the standard topology) it has a state per token and an arc from each to each
other one: V^2 arcs, and composed with an n-gram's lowest state as many again. `expand` makes the same transducer
of frames to words directly:

- a state is a pair of a state of the token graph and a label, that of the last frame (blank at the start);
- epsilon arcs of the token graph (back-off, ends of words) are taken right before a token or the end, never
  before a blank or a repetition, so that each alignment of a path has one path here, and sums over paths hold;
- where many labels meet a state with many arcs, "every token but mine" is spelled by a tree: each label enters
  the siblings of the nodes above its own leaf. 4,200 characters give 0.2 million arcs instead of 17.6 million.

Input labels are token ids + 1, with 0 for epsilon, so that the blank has label 1.
"""

from dataclasses import dataclass

import numpy as np

from steps.graph.openfst import Arrays

BLANK_LABEL = 1


def expand(graph: Arrays, branches: int = 16) -> Arrays:
    """Returns the transducer of frames to words: CTC composed with `graph`, transducing tokens to words.

    Some states may not reach a final one. `branches` is the width of the trees mentioned above.
    """
    states = _reach(graph)
    builder = _Builder(len(states.node))
    _add_frames(builder, states)
    _add_arcs(builder, states, graph, branches)
    final = np.full(builder.size, np.inf, dtype=np.float32)
    final[: len(states.node)] = graph.final[states.node]
    start = states.find(np.array([graph.start]), np.array([BLANK_LABEL]), free=True)[0]
    source, ilabel, olabel, weight, target = builder.columns()
    order = np.argsort(source, kind="stable")
    columns = (column[order] for column in (source, ilabel, olabel, weight, target))
    return Arrays(int(start), final, *columns)


@dataclass
class _States:
    """The pairs, in two ranges: `free` ones (any frame may follow), then those after an epsilon (a token must)."""

    node: np.ndarray
    label: np.ndarray
    free: int
    codes: tuple[np.ndarray, np.ndarray]
    labels: int

    def find(self, node: np.ndarray, label: np.ndarray, free: bool) -> np.ndarray:
        """The index of each pair, which has to exist."""
        codes = self.codes[0] if free else self.codes[1]
        return np.searchsorted(codes, node * self.labels + label) + (0 if free else self.free)


class _Builder:
    """Collects arcs in columns."""

    def __init__(self, size: int):
        self.size = size
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, source, ilabel, olabel, weight, target) -> None:
        """Adds arcs; scalars hold for all of them."""
        dtypes = (np.int64, np.int64, np.int64, np.float32, np.int64)
        columns = zip(np.broadcast_arrays(source, ilabel, olabel, weight, target), dtypes, strict=True)
        self._parts.append(tuple(column.astype(dtype) for column, dtype in columns))

    def new_states(self, count: int) -> int:
        """Makes states and returns the first."""
        self.size += count
        return self.size - count

    def columns(self) -> list[np.ndarray]:
        """source, ilabel, olabel, weight, target of all arcs."""
        return [np.concatenate(column) for column in zip(*self._parts, strict=True)]


def _reach(graph: Arrays) -> _States:
    """All pairs that can be reached."""
    labels = int(graph.ilabel.max(initial=BLANK_LABEL)) + 1
    emits = graph.ilabel > 0
    entered = np.unique(graph.target[emits] * labels + graph.ilabel[emits])
    rest = np.append(np.unique(graph.target[emits]), graph.start) * labels + BLANK_LABEL
    free = np.union1d(entered, rest)
    epsilon = _Group(graph.source[~emits], np.flatnonzero(~emits), len(graph.final))
    after: np.ndarray = np.zeros(0, np.int64)
    new = free
    while len(new):
        which, arc = epsilon.join(new // labels)
        new = np.setdiff1d(graph.target[arc] * labels + (new % labels)[which], after)
        after = np.union1d(after, new)
    codes = np.concatenate([free, after])
    return _States(codes // labels, codes % labels, len(free), (free, after), labels)


def _add_frames(builder: _Builder, states: _States) -> None:
    """A frame that repeats the last label, and a blank after a token."""
    free = np.arange(states.free)
    label = states.label[: states.free]
    builder.add(free, label, 0, 0.0, free)
    held = free[label != BLANK_LABEL]
    rest = states.find(states.node[held], np.full(len(held), BLANK_LABEL), free=True)
    builder.add(held, BLANK_LABEL, 0, 0.0, rest)


def _add_arcs(builder: _Builder, states: _States, graph: Arrays, branches: int) -> None:
    """The token graph's own arcs, from each pair of their source."""
    emits = graph.ilabel > 0
    nodes = len(graph.final)
    which, arc = _Group(graph.source[~emits], np.flatnonzero(~emits), nodes).join(states.node)
    target = states.find(graph.target[arc], states.label[which], free=False)
    builder.add(which, 0, graph.olabel[arc], graph.weight[arc], target)

    copies = np.bincount(states.node, minlength=nodes)
    fan_out = np.bincount(graph.source[emits], minlength=nodes)
    shared = (copies > branches) & (fan_out > 4 * branches)
    plain = np.flatnonzero(~shared[states.node])
    which, arc = _Group(graph.source[emits], np.flatnonzero(emits), nodes).join(states.node[plain])
    _add_tokens(builder, states, graph, plain[which], arc)
    for node in np.flatnonzero(shared):
        arcs = np.flatnonzero(emits & (graph.source == node))
        _add_tree(builder, states, graph, arcs, np.flatnonzero(states.node == node), branches)


def _add_tokens(builder: _Builder, states: _States, graph: Arrays, source: np.ndarray, arc: np.ndarray) -> None:
    """Arcs that start a token, from source[i] along arc[i], but for those that would repeat the last label."""
    labels = np.append(states.label, np.zeros(builder.size - len(states.label), np.int64))
    starts = labels[source] != graph.ilabel[arc]
    source, arc = source[starts], arc[starts]
    target = states.find(graph.target[arc], graph.ilabel[arc], free=True)
    builder.add(source, graph.ilabel[arc], graph.olabel[arc], graph.weight[arc], target)


def _add_tree(
    builder: _Builder, states: _States, graph: Arrays, arcs: np.ndarray, sources: np.ndarray, branches: int
) -> None:
    """Lets each of `sources`, pairs of one node, take the node's `arcs` whose label is not its own.

    The leaves are the labels in order, `branches` of them below a node, and so on up to one root.
    """
    labels, leaf_of_arc = np.unique(graph.ilabel[arcs], return_inverse=True)
    leaves = _Group(leaf_of_arc, arcs, len(labels))
    sizes = [len(labels), -(-len(labels) // branches)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // branches))
    first = [0, *(builder.new_states(size) for size in sizes[1:])]  # the leaves are arcs, not states
    which, arc = leaves.join(np.arange(len(labels)))
    _add_tokens(builder, states, graph, first[1] + which // branches, arc)
    for height in range(1, len(sizes) - 1):
        child = np.arange(sizes[height])
        builder.add(first[height + 1] + child // branches, 0, 0, 0.0, first[height] + child)

    place = np.minimum(np.searchsorted(labels, states.label[sources]), len(labels) - 1)
    has_leaf = labels[place] == states.label[sources]
    builder.add(sources[~has_leaf], 0, 0, 0.0, first[-1])
    place, sources = place[has_leaf], sources[has_leaf]
    for height in range(len(sizes) - 1):
        offset = np.arange(branches)
        sibling = (place // branches * branches)[:, None] + offset
        enters = (sibling != place[:, None]) & (sibling < sizes[height])
        source, sibling = np.broadcast_to(sources[:, None], sibling.shape)[enters], sibling[enters]
        if height == 0:
            which, arc = leaves.join(sibling)
            _add_tokens(builder, states, graph, source[which], arc)
        else:
            builder.add(source, 0, 0, 0.0, first[height] + sibling)
        place = place // branches


class _Group:
    """Items by key: for a row of keys, each key's items."""

    def __init__(self, keys: np.ndarray, items: np.ndarray, size: int):
        self._items = items[np.argsort(keys, kind="stable")]
        self._count = np.bincount(keys, minlength=size)
        self._first = np.cumsum(self._count) - self._count

    def join(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns, for all items of keys[0], then of keys[1] and so on, the place of the key and the item."""
        count = self._count[keys]
        which = np.repeat(np.arange(len(keys)), count)
        before = np.cumsum(count) - count
        return which, self._items[np.arange(len(which)) - before[which] + self._first[keys][which]]
