"""The searches that a configuration asks for, run on one batch of posteriors after another."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steps.decoding.config import DecodeConfig
from steps.decoding.ctc import greedy_search, prefix_beam_search, to_numpy
from steps.decoding.engine import Graph, search
from steps.decoding.lattice import Hypothesis
from steps.decoding.posteriors import Batch, Utterance
from steps.graph.lexicon import read_symbols
from steps.graph.units import Units
from steps.inference.cost import Stopwatch
from utils import atomic


class Searches:
    """Runs `methods` and keeps what they find until `write`.

    `graph` is None where no method needs one; `words` are its words by id. With `graph_nbest` the list of
    each utterance is kept; its best entry for a given scale is for scoring to choose.
    """

    def __init__(self, methods: list[str], options: DecodeConfig, units: Units, graph: Graph | None, words: list[str]):
        self.options, self.units, self.graph, self.words = options, units, graph, words
        self.watch = Stopwatch()
        self.utterances: list[Utterance] = []
        self.texts: dict[str, list[str]] = {method: [] for method in methods if method != "graph_nbest"}
        self.nbest: list[list[dict[str, Any]]] | None = [] if "graph_nbest" in methods else None
        self.partial: Counter[str] = Counter()
        self._searches: dict[str, Callable[[Batch], list[str]]] = {
            "ctc_greedy": self._greedy,
            "ctc_prefix_beam": self._prefix_beam,
            "graph_1best": self._graph_1best,
        }

    def __call__(self, batch: Batch) -> None:
        """Searches the posteriors of a batch. Raises ValueError naming utterances whose posteriors hold NaN."""
        batch = Batch(batch.utterances, to_numpy(batch.log_probs), to_numpy(batch.lengths))
        _refuse_nan(batch)
        self.utterances += batch.utterances
        for method, texts in self.texts.items():
            with self.watch.time(method):
                texts += self._searches[method](batch)
        if self.nbest is not None:
            with self.watch.time("graph_nbest"):
                self.nbest += self._graph_nbest(batch)

    def write(self, folder: Path) -> None:
        """Writes ref.txt, utt2spk, hyp_<system>.txt and nbest.jsonl, sorted by utterance id."""
        ids = [utterance.id for utterance in self.utterances]
        columns = {f"hyp_{system}.txt": texts for system, texts in self.texts.items()}
        columns["ref.txt"] = [utterance.text for utterance in self.utterances]
        columns["utt2spk"] = [utterance.speaker for utterance in self.utterances]
        for name, values in columns.items():
            rows = sorted(zip(ids, values, strict=True))
            atomic.write_text(folder / name, "".join(f"{key} {value}".rstrip() + "\n" for key, value in rows))
        for method, count in self.partial.items():
            logging.warning("%s: %d of %d utterances end where the graph has no end", method, count, len(ids))
        if self.nbest is not None:
            lists = sorted(zip(ids, self.nbest, strict=True), key=lambda row: row[0])
            lines = (json.dumps({"id": key, "hyps": hyps}, ensure_ascii=False) + "\n" for key, hyps in lists)
            atomic.write_text(folder / "nbest.jsonl", "".join(lines))

    def _greedy(self, batch: Batch) -> list[str]:
        return [self.units.decode(tokens) for tokens in greedy_search(batch.log_probs, batch.lengths)]

    def _prefix_beam(self, batch: Batch) -> list[str]:
        texts = []
        for row, length in zip(batch.log_probs, batch.lengths, strict=True):
            found = prefix_beam_search(row[:length], self.options)
            texts.append(self.units.decode(found[0][0]) if found else "")
        return texts

    def _graph_1best(self, batch: Batch) -> list[str]:
        return [self._text(hypotheses[0]) for hypotheses in self._search("graph_1best", batch)]

    def _graph_nbest(self, batch: Batch) -> list[list[dict[str, Any]]]:
        return [
            [
                {
                    "text": self._text(hypothesis),
                    "acoustic": round(hypothesis.acoustic, 4),
                    "graph": round(hypothesis.graph, 4),
                    "words": len(hypothesis.words),
                }
                for hypothesis in hypotheses
            ]
            for hypotheses in self._search("graph_nbest", batch)
        ]

    def _search(self, method: str, batch: Batch) -> list[list[Hypothesis]]:
        assert self.graph is not None
        nbest = method == "graph_nbest"
        found = search(self.graph, batch.log_probs, batch.lengths, self.options, nbest=nbest)
        count = sum(hypotheses[0].partial for hypotheses in found)
        if count:
            self.partial[method] += count
        return found

    def _text(self, hypothesis: Hypothesis) -> str:
        return self.units.join([self.words[word] for word in hypothesis.words])


def _refuse_nan(batch: Batch) -> None:
    rows = zip(batch.utterances, batch.log_probs, batch.lengths, strict=True)
    bad = [utterance.id for utterance, row, length in rows if np.isnan(row[:length]).any()]
    if bad:
        raise ValueError(
            f"the posteriors of {', '.join(bad[:5])} hold NaN ({len(bad)} utterances): "
            f"look at their features, and at the loss in train.log"
        )


def choose_methods(options: DecodeConfig, units_kind: str, has_graph: bool) -> list[str]:
    """The methods of `options` that make sense: of phones only a graph makes words.

    Raises ValueError when a graph method has no graph, or nothing is left.
    """
    methods = [method for method in options.methods if units_kind != "phone" or method.startswith("graph")]
    if not methods:
        raise ValueError(f"decode.methods: {options.methods} make no words of phones; add graph_1best")
    needing = [method for method in methods if method.startswith("graph")]
    if needing and not has_graph:
        raise ValueError(f"decode.methods: {', '.join(needing)} need --graph (HLG.fst)")
    return methods


def read_words(graph: Path) -> list[str]:
    """The words by id of the graph file `graph`, from words.txt beside it."""
    file = graph.with_name("words.txt")
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: steps.compile_graph puts it beside the graph")
    return read_symbols(file)
