"""One graph search, two engines: k2 where it imports, kaldi-decoder and kaldifst otherwise.

A graph is an OpenFst binary file of type const (steps/graph/openfst.py). Its input labels are token + 1
(0 is epsilon), its output labels word ids. With beams that prune nothing of interest both engines find the
same words, with scores that differ by less than 0.01 (float32 sums along a path; six digits in lattices).
"""

import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from steps.decoding.config import DecodeConfig
from steps.decoding.ctc import to_numpy
from steps.decoding.lattice import Hypothesis
from steps.graph import openfst

ENGINES = ("auto", "k2", "openfst")


class Graph(Protocol):
    """A graph loaded by an engine."""

    name: str
    num_tokens: int  # tokens that the graph knows, blank included

    def search(self, rows: list[np.ndarray], options: DecodeConfig, nbest: bool) -> list[list[Hypothesis]]:
        """As the function `search`, but rows are log-posteriors (T, V), float32, scaled, T at least 1.

        The list of an utterance without any path is empty.
        """
        ...


def resolve(engine: str) -> str:
    """The engine that `engine` ("auto", "k2" or "openfst") means here: "k2" or "openfst".

    Raises ValueError for another name, and for "k2" where k2 does not import.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine '{engine}': expected one of {', '.join(ENGINES)}")
    if engine == "openfst":
        return engine
    try:
        importlib.import_module("k2")
    except Exception as error:  # a k2 made for another torch or CUDA fails in many ways
        if engine == "k2":
            raise ValueError(
                f"engine k2: k2 does not import ({type(error).__name__}: {error}). Use the engine openfst, "
                f"or install the k2 that fits here: python3 -m utils.doctor names it"
            ) from error
        return "openfst"
    return "k2"


def load_graph(path: Path | str, engine: str = "auto", device: Any = "cpu") -> Graph:
    """Loads an HLG into `engine`; only k2 searches on a GPU.

    Raises FileNotFoundError without the file and ValueError when it is not a whole OpenFst file of type const.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: steps.compile_graph (stage 3) makes it")
    num_tokens = int(openfst.read(path).ilabel.max(initial=0))
    if resolve(engine) == "k2":
        from steps.decoding.k2_engine import K2Graph

        return K2Graph(path, num_tokens, device)
    from steps.decoding.openfst_engine import OpenfstGraph

    return OpenfstGraph(path, num_tokens)


def search(
    graph: Graph, log_probs: Any, lengths: Any, options: DecodeConfig, nbest: bool = False
) -> list[list[Hypothesis]]:
    """Searches a batch: for each utterance its hypotheses, best first, at least one.

    log_probs (N, T, V) natural logs, lengths (N,) in frames, numpy or torch. Without `nbest` the best path
    alone; with it up to `options.nbest` distinct word sequences, each with the scores of its best alignment.
    Where no final state of the graph is reached, the best path to any state is returned, marked `partial`,
    as is the empty hypothesis of an utterance without frames or without any path. Raises ValueError when a
    posterior is NaN, or the graph has tokens that the posteriors have not.
    """
    log_probs, lengths = to_numpy(log_probs), to_numpy(lengths)
    if log_probs.shape[2] < graph.num_tokens:
        raise ValueError(
            f"the graph has {graph.num_tokens} tokens, the posteriors {log_probs.shape[2]}: "
            f"compile the graph from the lang directory that the model was trained with"
        )
    scaled = np.asarray(log_probs, dtype=np.float32) * np.float32(options.acoustic_scale)
    rows = [np.ascontiguousarray(row[:length]) for row, length in zip(scaled, lengths, strict=True)]
    if any(np.isnan(row).any() for row in rows):
        raise ValueError("the posteriors hold NaN")
    spoken = [index for index, row in enumerate(rows) if len(row) > 0]
    found = [[Hypothesis([], 0.0, 0.0, partial=True)] for _ in rows]
    if spoken:
        rows = [rows[index] for index in spoken]
        for index, hypotheses in zip(spoken, graph.search(rows, options, nbest), strict=True):
            found[index] = hypotheses or found[index]
    return found
