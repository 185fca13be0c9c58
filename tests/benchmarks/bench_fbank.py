#!/usr/bin/env python3
"""Speed of feature extraction on one core, as ratios: ours, kaldi-native-fbank and Lhotse's Fbank in turns.

    python3 tests/benchmarks/bench_fbank.py [--rounds 7] [--seconds 300]

Uses real speech where ../shared/data lies beside the checkout, else a synthetic voice with noise.
Prints audio seconds per second, the median ratios over the rounds, and the largest difference.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from lhotse import Fbank  # noqa: E402

from steps.data.config import FeatureConfig  # noqa: E402
from steps.data.features import knf_fbank, knf_options, make_extractor  # noqa: E402

RATE = 16000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each (default 7)")
    parser.add_argument("--seconds", type=float, default=300.0, help="audio to extract in each (default 300)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    source, utterances = speech(args.seconds)
    seconds = sum(map(len, utterances)) / RATE
    options, ours, lhotse = knf_options(RATE, 80), make_extractor(FeatureConfig()), Fbank()
    extractors: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "ours": lambda samples: ours.extract(samples, RATE),
        "kaldi-native-fbank": lambda samples: knf_fbank(samples, options),
        "lhotse": lambda samples: lhotse.extract(samples, RATE),
    }
    times: dict[str, list[float]] = {name: [] for name in extractors}
    for _ in range(args.rounds + 1):  # the first warms up
        for name, extract in extractors.items():
            start = time.perf_counter()
            for samples in utterances:
                extract(samples)
            times[name].append(time.perf_counter() - start)

    print(f"{len(utterances)} utterances, {seconds:.0f} s of {source}, {args.rounds} rounds, 1 thread")
    for name, extract in extractors.items():
        speed = seconds / statistics.median(times[name][1:])
        ratios = [peer / own for peer, own in zip(times[name][1:], times["ours"][1:], strict=True)]
        difference = max(np.abs(extract(x) - extractors["ours"](x)).max() for x in utterances)
        print(
            f"{name:20s} {speed:6.0f} x real time   ours is {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f})   largest difference to ours {difference:.1e}"
        )


def speech(seconds: float) -> tuple[str, list[np.ndarray]]:
    """What it is, and utterances of that many seconds in all, (samples,) float32 each."""
    corpus = ROOT.parent / "shared" / "data" / "speechocean762" / "flac"
    files = sorted(corpus.glob("*/*.flac"))
    if not files:
        return "synthetic speech", [voice(seed) for seed in range(round(seconds / 5))]
    utterances, total = [], 0
    for file in files[:: max(1, len(files) // round(seconds / 3))]:
        samples, _ = soundfile.read(file, dtype="float32")
        utterances.append(samples)
        total += len(samples)
        if total >= seconds * RATE:
            break
    return "speechocean762", utterances


def voice(seed: int) -> np.ndarray:
    """Five seconds of a gliding harmonic tone in 16-bit noise, (samples,) float32."""
    rng = np.random.default_rng(seed)
    phase = np.cumsum(rng.uniform(90, 250) + 20 * np.sin(np.arange(5 * RATE) / 2000)) / RATE
    tone = sum(np.sin(2 * np.pi * harmonic * phase) / harmonic for harmonic in range(1, 30))
    return (np.round(3000 * tone + rng.normal(0, 3, 5 * RATE)) / 32768).astype(np.float32)


if __name__ == "__main__":
    main()
