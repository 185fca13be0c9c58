"""A network that separates, extracts or enhances, as a graph from waveforms to waveforms; in float32 and in 8 bits.

`steps.run_onnx` runs both. What a graph is lies in its metadata, all of it text: model_type (separation,
target_speaker_extraction, enhancement), sample_rate (Hz), n_src, architecture, model_hash, and window_seconds and
overlap_seconds with which the checkpoint's configuration cuts long files.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import soundfile
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from steps.export.graph import Agreement, agreement, export_graph, open_graph
from steps.metrics.separation import LIMIT, is_silent, si_sdr
from steps.models.fingerprint import weights_hash
from steps.models.separators import CONDITIONED
from steps.tasks.mixture_task import load_network

LENGTHS = (409, 1021, 4001, 7993, 12011)  # samples; primes, so that none fits any kernel, stride or chunk
QUANTISED = ("Conv", "MatMul", "Gemm", "LSTM")  # onnxruntime has no transposed convolution and no GRU in 8 bits
LEAST_CHANNELS = 8  # of what a quantised convolution adds up for each output
MOST_MIXTURES, MOST_SECONDS = 20, 10  # that 8 bits are measured on
LEAST_SI_SDR = 10.0  # dB of 8 bits against float32; below, rounding is louder than what a good separator leaves


def export_separator(checkpoint: Path, out: Path) -> Agreement:
    """Writes the checkpoint's network to `out`, compares both, and returns how far apart they are.

    Input `mixture` (N, T) float32, output `sources` (N, S, T); a network that extracts one talker has a second input,
    `enrolment` (N, E) of length 1. Raises ValueError where graph and network differ.
    """
    model, config = load_network(checkpoint, torch.device("cpu"), "separation", "enhancement")
    size = model.embedding_dim if config.model.architecture in CONDITIONED else 0
    axes = {"mixture": {0: "N", 1: "T"}, "enrolment": {0: "N"}}
    export_graph(model, out, _case(2, max(LENGTHS), size, 0), ["sources"], axes, metadata(model, config))
    found = agreement(model, out, (_case(1 + row % 2, samples, size, row) for row, samples in enumerate(LENGTHS)))
    silence = {name: value.numpy() for name, value in _case(1, max(LENGTHS), size, 0).items()}
    silence["mixture"] = np.zeros_like(silence["mixture"])
    if not np.isfinite(open_graph(out).run(None, silence)[0]).all():
        raise ValueError(f"the graph of {checkpoint} gives NaN or infinity for silence; it was not kept")
    if not found.holds():
        raise ValueError(
            f"the graph of {checkpoint} does not compute what the network does: cosine {found.cosine:.6f}, difference "
            f"{found.relative:.2g} of the largest value (nan: not finite); it was not kept"
        )
    return found


def metadata(model: nn.Module, config: Any) -> dict[str, str]:
    """What the module's docstring says of a graph."""
    conditioned = config.model.architecture in CONDITIONED
    properties = {
        "model_type": "target_speaker_extraction" if conditioned else config.task,
        "sample_rate": str(config.mixtures.sampling_rate),
        "n_src": str(_sources(model, config)),
        "architecture": config.model.architecture,
        "model_hash": weights_hash(model.state_dict()),
    }
    windows = getattr(config, "separate", None) or getattr(config, "enhance", None)
    for name in ("window_seconds", "overlap_seconds"):
        if hasattr(windows, name):
            properties[name] = f"{getattr(windows, name):g}"
    return properties


def export_int8(graph: Path, out: Path, mixtures: Sequence[np.ndarray]) -> float:
    """Writes the graph with weights of 8 bits, and returns the median SI-SDR in dB of its outputs against `graph`'s.

    Inputs of a layer are rounded while it runs, with one scale for all of them, so that more than weights is lost: the
    SI-SDR of `mixtures` (T,) says how much, with an arbitrary voice where the graph extracts one. Layers that read the
    waveform itself, depthwise convolutions and transposed ones stay in float32. Raises ValueError below LEAST_SI_SDR,
    and for no mixtures that make any sound.
    """
    quantise(graph, out)
    precise, rounded = open_graph(graph), open_graph(out)
    size = next((entry.shape[1] for entry in precise.get_inputs() if entry.name == "enrolment"), 0)
    voice = {name: value.numpy() for name, value in _case(1, 1, size, 0).items()}
    values = []
    for mixture in mixtures:
        case = voice | {"mixture": mixture[None].astype(np.float32)}
        expected, found = (session.run(None, case)[0][0] for session in (precise, rounded))
        for given, wanted in zip(found, expected, strict=True):
            if not is_silent(wanted):
                value = si_sdr(given, wanted, zero_mean=False).value
                values.append(-LIMIT if value is None else value)  # silence instead of a sound
    if not values:
        raise ValueError(f"{graph}: no mixture of those to measure 8 bits on gives any sound; give others")
    median = float(np.median(values))
    if not median >= LEAST_SI_SDR:
        raise ValueError(
            f"{graph} in 8 bits is {median:.1f} dB SI-SDR from float32, expected {LEAST_SI_SDR:g} or more: it was not "
            f"kept; deploy {graph}"
        )
    return median


def read_mixtures(folder: Path, graph: Path) -> list[np.ndarray]:
    """The first MOST_SECONDS of the first MOST_MIXTURES recordings in `folder`, (T,) float32 each.

    Raises ValueError where there are none, or not at the sampling rate of `graph`.
    """
    rate = int(open_graph(graph).get_modelmeta().custom_metadata_map["sample_rate"])
    files = sorted(file for file in folder.glob("*") if file.suffix in (".flac", ".wav"))[:MOST_MIXTURES]
    if not files:
        raise ValueError(f"{folder} has no .flac and no .wav to measure 8 bits on: give data/<name>/mixtures_<set>/mix")
    found = []
    for file in files:
        mixture, own = soundfile.read(file, dtype="float32", frames=MOST_SECONDS * rate)
        if own != rate or mixture.ndim > 1:
            raise ValueError(f"{file} is not one channel at {rate} Hz, which {graph} takes")
        found.append(mixture)
    return found


def quantise(graph: Path, out: Path) -> None:
    """Writes the graph with what QUANTISED names in 8 bits, where it is constant weights that are multiplied.

    Weights are unsigned: signed ones onnxruntime convolves at half the speed of float32, depthwise far slower.
    """
    folded = out.with_name(f"{out.name}.folded")
    root = logging.getLogger()
    level = root.level
    try:
        _fold(graph, folded)
        proto = onnx.load(folded)
        convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
        kept = [node.name for node in convolutions if _channels(proto, node) < LEAST_CHANNELS]
        root.setLevel(logging.ERROR)  # it recommends what has been done
        quantize_dynamic(
            folded, out, op_types_to_quantize=QUANTISED, nodes_to_exclude=kept, weight_type=QuantType.QUInt8
        )
    finally:
        root.setLevel(level)
        folded.unlink(missing_ok=True)


def _fold(graph: Path, out: Path) -> None:
    """The graph with what it computes of constants computed: only weights that are constants can be of 8 bits."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _sources(model: nn.Module, config: Any) -> int:
    """S, as the network puts it out."""
    size = model.embedding_dim if config.model.architecture in CONDITIONED else 0
    with torch.no_grad():
        return model(*_case(1, LENGTHS[0], size, 0).values()).shape[1]


def _case(count: int, samples: int, embedding: int, seed: int) -> dict[str, Tensor]:
    """Noise of speech's level that comes and goes; with an embedding of a voice where its size is given."""
    generator = torch.Generator().manual_seed(seed)
    swell = 0.1 * (1.1 + torch.sin(torch.arange(samples) / 700))
    case = {"mixture": swell * torch.randn(count, samples, generator=generator)}
    if embedding:
        voices = torch.randn(count, embedding, generator=generator)
        case["enrolment"] = torch.nn.functional.normalize(voices)
    return case


def _channels(proto: onnx.ModelProto, node: onnx.NodeProto) -> int:
    """How many input channels each output of a convolution adds up: 1 for a depthwise one and for an encoder."""
    shapes = {value.name: value.dims for value in proto.graph.initializer}
    return shapes[node.input[1]][1] if node.input[1] in shapes else 0
