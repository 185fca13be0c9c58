"""From a module to an ONNX file, and the proof that both compute the same."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

OPSET = 18  # of ONNX 1.13, which every runtime of the last years has
LEAST_COSINE, MOST_RELATIVE = 0.9999, 1e-3  # another order of float32 sums stays below 1 - 1e-6 and 1e-4
NOISY = ("torch.onnx", "onnxscript", "onnx_ir")  # loggers


@dataclass(frozen=True)
class Agreement:
    """How far a graph is from its module, at worst: the cosine, and the difference as a share of the largest value."""

    cosine: float
    relative: float

    def holds(self) -> bool:
        """Whether nothing but rounding lies between the two; false for values that are not finite."""
        return self.cosine > LEAST_COSINE and self.relative < MOST_RELATIVE


def export_graph(
    model: nn.Module,
    file: Path,
    examples: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
) -> None:
    """Writes `model` in evaluation mode, called with the `examples` in their order, as a graph with named borders.

    `axes` names the axes that may have any length: {"x": {0: "N", 1: "T"}}. Examples should have lengths above 1
    there, since the exporter takes 1 for a constant. Metadata is text by name.
    """
    assert not model.training, "dropout and batch statistics would go into the graph"
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            model,
            tuple(examples.values()),
            input_names=list(examples),
            output_names=list(outputs),
            dynamic_shapes=tuple(dict(axes.get(name, {})) for name in examples),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # what older exporters return
    proto = program.model_proto
    _strip(proto)
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto)
    onnx.save(proto, file)


def agreement(model: nn.Module, file: Path, cases: Iterable[Mapping[str, Tensor]]) -> Agreement:
    """Runs module and graph on each case (input by name, in the module's order) and compares every output.

    Cosine and difference are those of the worst row (index on the first axis). NaN where a value is not finite.
    """
    session = open_graph(file)
    cosines, differences = [], []
    for case in cases:
        with torch.no_grad():
            given = model(*case.values())
        expected = [given] if isinstance(given, Tensor) else given
        found = session.run(None, {name: value.numpy() for name, value in case.items()})
        for ours, theirs in zip(expected, found, strict=True):
            cosine, difference = _compared(ours.numpy(), theirs)
            cosines.append(cosine)
            differences.append(difference)
    return Agreement(float(np.min(cosines)), float(np.max(differences)))  # both are NaN where one of them is


def compared(expected: np.ndarray, found: np.ndarray, file: Path) -> Agreement:
    """What a network gives, and its streaming graph, both (N, T). Raises ValueError naming `file` where they differ."""
    agreed = Agreement(*_compared(expected, found))
    if not agreed.holds():
        raise ValueError(
            f"{file}: the streaming graph does not compute what the network does: cosine {agreed.cosine:.6f}, "
            f"difference {agreed.relative:.2g} of the largest value (nan: not finite); do not use it"
        )
    return agreed


def open_graph(file: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _compared(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The least cosine of two arrays' rows, and the largest difference as a share of the row's largest value."""
    if ours.shape != theirs.shape:
        return float("nan"), float("nan")
    ours, theirs = (side.reshape(len(side), -1).astype(np.float64) for side in (ours, theirs))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (ours * theirs).sum(axis=1) / norms
        differences = np.abs(ours - theirs).max(axis=1) / np.abs(ours).max(axis=1)
    return float(cosines.min()), float(differences.max())


def _strip(proto: onnx.ModelProto) -> None:
    """Takes out what the exporter notes for its developers: lines of source with their paths, and inner shapes."""
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in (proto.graph, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    proto.graph.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notices, such as of packages that nobody needs here, from the log."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
