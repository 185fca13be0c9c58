#!/usr/bin/env python3
"""Cost of separators on one core: parameters, multiply-accumulates, file sizes, and real-time factors in turns.

    python3 tests/benchmarks/bench_separation.py [--quick] [--rounds 3] [--seconds 4] [--only conv_tasnet ...]

Networks have random weights. A real-time factor is seconds of processor time per second of audio, the best of the
rounds, of torch, of onnxruntime in float32 and of onnxruntime with 8 bits, with one thread. --quick takes the small
sizes, and a second of audio.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from steps.export.graph import export_graph, open_graph  # noqa: E402
from steps.export.separation import quantise  # noqa: E402
from steps.metrics.macs import macs  # noqa: E402
from steps.models.config import SeparatorConfig  # noqa: E402
from steps.models.separators import CONDITIONED, build_separator  # noqa: E402

# Architecture, size, rate in Hz, sources, and arguments that are not as published.
SIZES: list[tuple[str, str, int, int, dict[str, Any]]] = [
    ("conv_tasnet", "published", 8000, 2, {}),
    ("conv_tasnet", "BN", 8000, 2, {"norm_type": "BN"}),
    ("conv_tasnet", "16 kHz", 16000, 2, {"kernel_size": 32, "stride": 16}),
    ("conv_tasnet", "small", 8000, 2, {
        "n_filters": 128, "bn_chan": 64, "hid_chan": 128, "skip_chan": 64, "n_repeats": 2,
    }),
    ("dprnn_tasnet", "published", 8000, 2, {}),
    ("dprnn_tasnet", "small", 8000, 2, {
        "kernel_size": 32, "stride": 16, "bn_chan": 48, "hid_size": 48, "chunk_size": 50, "n_repeats": 3,
    }),
    ("dptnet", "published", 8000, 2, {"n_repeats": 2}),
    ("dptnet", "small", 8000, 2, {"kernel_size": 32, "stride": 16, "n_repeats": 1}),
    ("sudormrf", "published", 8000, 2, {}),
    ("sudormrf_improved", "published", 8000, 2, {}),
    ("sudormrf_improved", "small", 8000, 2, {"n_filters": 256, "bn_chan": 64, "num_blocks": 4}),
    ("blstm_mask", "small", 8000, 2, {"n_fft": 256, "hop": 128, "hid_size": 128, "num_layers": 2}),
    ("voicefilter", "published", 16000, 1, {}),
]  # fmt: skip
HEADS = ("architecture", "size", "kHz", "M par.", "GMAC/s", "MB", "MB int8", "torch", "ONNX", "int8")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one second, one round")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="audio in each (default 4)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="architectures (default all)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    seconds, rounds = (1.0, 1) if args.quick else (args.seconds, args.rounds)
    print(
        f"{seconds:g} s of audio, one thread, processor time, best of {rounds}; real-time factors in the last columns"
    )
    print(_line(HEADS), flush=True)
    for architecture, size, rate, sources, changed in SIZES:
        if (args.only and architecture not in args.only) or (args.quick and size != "small"):
            continue
        cells = measure(architecture, rate, sources, changed, seconds, rounds)
        print(_line((architecture, size, f"{rate / 1000:g}", *cells)), flush=True)


def measure(
    architecture: str, rate: int, sources: int, changed: dict[str, Any], seconds: float, rounds: int
) -> list[str]:
    """What stands in a row from the fourth column on."""
    torch.manual_seed(0)
    model = build_separator(SeparatorConfig(architecture, changed), sources).eval()
    voice = {"enrolment": model.embedding_dim} if architecture in CONDITIONED else {}
    example, case = inputs(2, rate, voice), inputs(1, round(seconds * rate), voice)
    with tempfile.TemporaryDirectory() as folder:
        file, small = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        export_graph(model, file, example, ["sources"], {"mixture": {0: "N", 1: "T"}, "enrolment": {0: "N"}}, {})
        quantise(file, small)
        sizes = [path.stat().st_size / 1e6 for path in (file, small)]
        sessions = [open_graph(path) for path in (file, small)]
    arrays = {name: value.numpy() for name, value in case.items()}
    runs: list[Callable[[], Any]] = [lambda: in_torch(model, case)]
    runs += [lambda session=session: session.run(None, arrays) for session in sessions]
    factors = [best / seconds for best in best_times(runs, rounds)]
    count = sum(value.numel() for value in model.parameters()) / 1e6
    work = macs(model, list(case.values())) / seconds / 1e9
    return [f"{count:.2f}", f"{work:.2f}", *(f"{s:.1f}" for s in sizes), *(f"{factor:.3f}" for factor in factors)]


def best_times(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of processor time of each, the best; each round takes all in turn, after one to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            taken.append(time.process_time() - start)
    return [min(taken[1:]) for taken in times]


def in_torch(model: nn.Module, case: dict[str, Tensor]) -> Tensor:
    """The outputs, without gradients."""
    with torch.inference_mode():
        return model(*case.values())


def inputs(count: int, samples: int, more: dict[str, int]) -> dict[str, Tensor]:
    """Mixtures (count, samples) of noise, and an embedding of the given size."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"mixture": samples, **more}
    return {name: 0.1 * torch.randn(count, size, generator=generator) for name, size in shapes.items()}


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:18s} {cells[1]:10s} " + " ".join(f"{cell:>8s}" for cell in cells[2:])


if __name__ == "__main__":
    main()
