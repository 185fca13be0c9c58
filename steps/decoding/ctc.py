"""Searches of CTC posteriors that need no graph: greedy, and prefix beam search.

Token 0 is blank. Posteriors are natural logs, as numpy arrays or torch tensors on any device.
"""

from typing import Any

import numpy as np

from steps.decoding.config import DecodeConfig

BLANK = 0


def to_numpy(values: Any) -> np.ndarray:
    """The array, or the tensor brought to the CPU, as a numpy array of the same type."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()


def greedy_search(log_probs: Any, lengths: Any) -> list[list[int]]:
    """Tokens of the best path: the best token of every frame, repeats merged, blanks dropped.

    log_probs (N, T, V), lengths (N,) in frames; returns N lists of token ids.
    """
    best = to_numpy(log_probs.argmax(-1))  # (N, T); on the tensor's device, so that only this is copied
    tokens = []
    for row, length in zip(best, to_numpy(lengths), strict=True):
        path = row[:length]
        first = np.ones(len(path), dtype=bool)
        first[1:] = path[1:] != path[:-1]
        tokens.append(path[first & (path != BLANK)].tolist())
    return tokens


def prefix_beam_search(log_probs: Any, options: DecodeConfig) -> list[tuple[list[int], float]]:
    """The most probable token sequences of one utterance, each summed over its alignments.

    log_probs (T, V). Returns at most `options.prefix_beam` pairs (tokens, log-probability), best first.
    Without pruning (a beam, `prefix_tokens` and `prefix_token_beam` that keep everything) the
    probabilities are exact. The recursion is that of Hannun et al. 2014 (arXiv:1408.2873, algorithm 1)
    without a language model.
    """
    log_probs = to_numpy(log_probs)
    tree = _PrefixTree()
    beam = {tree.ROOT: (1.0, 0.0)}  # prefix -> probability of its paths that end in blank, and in its last token
    log_scale = 0.0  # probabilities are kept near 1, which spares a logarithm per addition
    blanks = np.exp(log_probs[:, BLANK].astype(np.float64)).tolist()
    for blank, tokens in zip(blanks, _candidates(log_probs, options), strict=True):
        beam = _advance(beam, blank, tokens, tree)
        kept = sorted(beam.items(), key=lambda item: -sum(item[1]))[: options.prefix_beam]
        total = sum(kept[0][1])
        if total <= 0.0:
            return []  # only -inf posteriors: no path at all
        log_scale += float(np.log(total))
        beam = {prefix: (ends[0] / total, ends[1] / total) for prefix, ends in kept}
    return [(tree.tokens(prefix), log_scale + float(np.log(sum(ends)))) for prefix, ends in beam.items()]


def _candidates(log_probs: np.ndarray, options: DecodeConfig) -> list[list[tuple[int, float]]]:
    """For every frame the tokens worth trying, blank aside, with their probabilities."""
    num_frames, num_tokens = log_probs.shape
    floor = log_probs.max(axis=1, initial=-np.inf) - options.prefix_token_beam
    tokens = log_probs.copy()
    tokens[:, BLANK] = -np.inf
    count = min(options.prefix_tokens, num_tokens)
    best = np.argpartition(tokens, num_tokens - count, axis=1)[:, num_tokens - count :]  # (T, count)
    values = np.take_along_axis(tokens, best, axis=1).astype(np.float64)
    keep = (values >= floor[:, None]) & (values > -np.inf)
    probs = np.exp(values)
    return [list(zip(best[t, keep[t]].tolist(), probs[t, keep[t]].tolist(), strict=True)) for t in range(num_frames)]


def _advance(
    beam: dict[int, tuple[float, float]], blank: float, tokens: list[tuple[int, float]], tree: "_PrefixTree"
) -> dict[int, tuple[float, float]]:
    """One frame: every prefix stays (blank, or its last token again) or grows by a token."""
    in_blank: dict[int, float] = {}
    in_token: dict[int, float] = {}
    for prefix, (blank_end, token_end) in beam.items():
        both, last = blank_end + token_end, tree.last[prefix]
        in_blank[prefix] = both * blank  # no other prefix leads here with a blank
        in_token.setdefault(prefix, 0.0)
        for token, prob in tokens:
            grown = both * prob
            if token == last:
                in_token[prefix] += token_end * prob
                grown = blank_end * prob  # the same token twice needs a blank between
            if grown > 0.0:
                child = tree.child(prefix, token)
                in_token[child] = in_token.get(child, 0.0) + grown
    return {prefix: (in_blank.get(prefix, 0.0), ends) for prefix, ends in in_token.items()}


class _PrefixTree:
    """Token sequences as nodes of a tree, so that a prefix is one integer."""

    ROOT = 0

    def __init__(self) -> None:
        self.last = [-1]
        self.parent = [-1]
        self.children: dict[tuple[int, int], int] = {}

    def child(self, node: int, token: int) -> int:
        """The node of `node`'s sequence followed by `token`."""
        found = self.children.get((node, token))
        if found is None:
            found = self.children[node, token] = len(self.last)
            self.last.append(token)
            self.parent.append(node)
        return found

    def tokens(self, node: int) -> list[int]:
        """The token sequence of a node."""
        reversed_tokens = []
        while node != self.ROOT:
            reversed_tokens.append(self.last[node])
            node = self.parent[node]
        return reversed_tokens[::-1]
