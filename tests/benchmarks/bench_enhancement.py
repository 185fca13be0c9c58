#!/usr/bin/env python3
"""Cost of enhancers on one core, whole files and streams: file sizes and real-time factors, in turns.

    python3 tests/benchmarks/bench_enhancement.py [--rounds 3] [--seconds 10] [--only mini ...] [--checkpoint FILE]

Rows are the YAMLs of egs/aishell_noisy/enhancement/conf, with random weights, or the network of a checkpoint. A
real-time factor is seconds of processor time per second of audio with one thread, the best of the rounds: of the whole
recording at once, and in columns with `stream` of the step that runs for every hop of sound, in torch by the network's
streamer. `sherpa` is sherpa-onnx's own loop over the same file of a step, where the network is one that it runs. The
last column divides the ONNX stream by GTCRN's of this run, the network that sherpa-onnx is used with.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CONF = ROOT / "egs/aishell_noisy/enhancement/conf"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from steps.export.graph import export_graph, open_graph  # noqa: E402
from steps.export.separation import quantise  # noqa: E402
from steps.export.sherpa_enhancement import SherpaGraph, export_sherpa, export_sherpa_int8  # noqa: E402
from steps.export.streaming import StreamingGraph, export_streaming_demucs  # noqa: E402
from steps.models.demucs import Demucs  # noqa: E402
from steps.models.separators import build_separator, can_stream  # noqa: E402
from steps.models.streaming_stft import CausalStftNetwork  # noqa: E402
from steps.tasks.config import load_config  # noqa: E402
from steps.tasks.enhancement import load_enhancer  # noqa: E402
from tests.benchmarks.bench_separation import best_times, in_torch  # noqa: E402

PEER = "gtcrn"
COLUMNS = ("torch", "ONNX", "int8", "torch stream", "ONNX stream", "int8 stream", "sherpa")
HEADS = ("network", "M par.", "MB", "MB int8", "MB stream", "ms", *COLUMNS, "of gtcrn")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default 3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="audio in each (default 10)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="YAMLs of conf, without .yaml (default all)"
    )
    parser.add_argument("--checkpoint", type=Path, help="a trained network, beside GTCRN alone")
    args = parser.parse_args()

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    networks = {PEER: of_yaml(PEER)}
    if args.checkpoint:
        model, config = load_enhancer(args.checkpoint, torch.device("cpu"))
        networks[str(args.checkpoint)] = (model, config.mixtures.sampling_rate)
    else:
        names = [file.stem for file in sorted(CONF.glob("*.yaml")) if "corpus" not in file.stem]
        networks |= {name: of_yaml(name) for name in names if not args.only or name in args.only}
    print(
        f"{args.seconds:g} s of audio, one thread, processor time, best of {args.rounds}; from `torch` on these are "
        f"real-time factors"
    )
    print(line(HEADS), flush=True)
    peer = None
    for name, (model, rate) in networks.items():
        sizes, factors = measure(model, rate, args.seconds, args.rounds)
        peer = peer or factors["ONNX stream"]
        ratio = f"{factors['ONNX stream'] / peer:.2f}" if "ONNX stream" in factors else "-"
        cells = [f"{factors[column]:.4f}" if column in factors else "-" for column in COLUMNS]
        print(line((name, *sizes, *cells, ratio)), flush=True)


def of_yaml(name: str) -> tuple[nn.Module, int]:
    """The network of a YAML, untrained, and its sampling rate."""
    config: Any = load_config(CONF / f"{name}.yaml", ["data.dir=none"])
    torch.manual_seed(0)
    return build_separator(config.model, 1).eval(), config.mixtures.sampling_rate


def measure(model: nn.Module, rate: int, seconds: float, rounds: int) -> tuple[list[str], dict[str, float]]:
    """Parameters, sizes and latency as they are printed; real-time factors by column."""
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(1, round(seconds * rate), generator=generator)
    runs: dict[str, Callable[[], Any]] = {"torch": lambda: in_torch(model, {"mixture": wave})}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, small = folder / "model.onnx", folder / "int8.onnx"
        axes = {"mixture": {0: "N", 1: "T"}}
        export_graph(model, file, {"mixture": wave[:, : 2 * rate].repeat(2, 1)}, ["sources"], axes, {})
        quantise(file, small)
        array = {"mixture": wave.numpy()}
        for column, graph in (("ONNX", open_graph(file)), ("int8", open_graph(small))):
            runs[column] = lambda graph=graph: graph.run(None, array)
        latency = "-"
        if can_stream(model):
            latency = f"{1000 * model.streamer().latency_samples / rate:.1f}"
            runs |= streams(model, rate, wave, folder)
        files = [folder / f"{name}.onnx" for name in ("model", "int8", "streaming")]
        sizes = [f"{one.stat().st_size / 1e6:.2f}" if one.exists() else "-" for one in files]
    times = best_times(list(runs.values()), rounds)
    count = sum(value.numel() for value in model.parameters()) / 1e6
    factors = {column: best / seconds for column, best in zip(runs, times, strict=True)}
    return [f"{count:.2f}", *sizes, latency], factors


def streams(model: nn.Module, rate: int, wave: torch.Tensor, folder: Path) -> dict[str, Callable[[], Any]]:
    """What runs over the sound a hop at a time, by column; writes streaming.onnx into `folder`."""
    file, small = folder / "streaming.onnx", folder / "streaming.int8.onnx"
    array = wave.numpy()
    hop = model.stft.hop if isinstance(model, CausalStftNetwork) else model.geometry.hop
    runs: dict[str, Callable[[], Any]] = {"torch stream": lambda: streamed(model, wave, hop)}
    if isinstance(model, Demucs):
        export_streaming_demucs(model, file, rate)
        graph = StreamingGraph(file)
        return runs | {"ONNX stream": lambda: graph(array)}
    export_sherpa(model, file, rate)
    precise = SherpaGraph(file)
    runs["ONNX stream"] = lambda: precise(array)
    try:
        export_sherpa_int8(file, small)
        rounded = SherpaGraph(small)
        runs["int8 stream"] = lambda: rounded(array)
    except ValueError as reason:
        print(f"# no int8 stream: {str(reason).replace(str(folder), '')}")
    denoiser = in_sherpa(file)
    if denoiser is not None:
        sound = array[0]
        runs["sherpa"] = lambda: [denoiser(sound[at : at + hop], rate) for at in range(0, len(sound), hop)]
    return runs


def streamed(model: nn.Module, wave: torch.Tensor, hop: int) -> None:
    """The network's streamer, a hop at a time."""
    with torch.inference_mode():
        streamer = model.streamer()
        for chunk in wave.split(hop, dim=1):
            streamer(chunk)
        streamer.flush()


def in_sherpa(file: Path) -> Callable[[np.ndarray, int], Any] | None:
    """sherpa-onnx's own stream with the graph, or None where the package is not installed."""
    try:
        import sherpa_onnx
    except ImportError:
        return None
    network = sherpa_onnx.OfflineSpeechDenoiserGtcrnModelConfig(model=str(file))
    models = sherpa_onnx.OfflineSpeechDenoiserModelConfig(gtcrn=network, num_threads=1)
    return sherpa_onnx.OnlineSpeechDenoiser(sherpa_onnx.OnlineSpeechDenoiserConfig(model=models))


def line(cells: tuple[str, ...]) -> str:
    """A row of the table."""
    rest = zip(HEADS[1:], cells[1:], strict=True)
    return f"{cells[0]:16s} " + " ".join(f"{cell:>{max(7, len(head))}s}" for head, cell in rest)


if __name__ == "__main__":
    main()
