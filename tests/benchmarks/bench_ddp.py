"""How many mixtures a second one process trains on, and two that train together (torchrun, DistributedDataParallel).

  python3 tests/benchmarks/bench_ddp.py [--config egs/aishell_mix/separation/conf/mini.yaml] [--data DIR] [--steps 60]

Each run trains the configuration from scratch on the mixtures of DATA (made by stage 2 of the recipe) with the same
number of mixtures in an optimiser step: 2 processes take half of them each. Every process has one thread. Printed are
seconds of audio a second of wall-clock after the first steps, by the trainer's own log, and the ratio. Nothing else
should be running.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    recipe = ROOT / "egs/aishell_mix/separation"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=recipe / "conf/mini.yaml")
    parser.add_argument("--data", type=Path, default=recipe / "data/mini")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps that are timed (default 60)")
    parser.add_argument("--batch-size", type=int, default=12, help="mixtures in an optimiser step (default 12)")
    args = parser.parse_args()
    rates = {processes: throughput(args, processes) for processes in (1, 2)}
    for processes, rate in rates.items():
        print(f"{processes} process{'es' * (processes > 1)}: {rate:.1f} s of audio a second")
    print(f"ratio: {rates[2] / rates[1]:.2f}")


def throughput(args: argparse.Namespace, processes: int) -> float:
    """Seconds of audio a second over the second half of the steps, of all processes together."""
    half = args.steps // 2
    with tempfile.TemporaryDirectory() as folder:
        launch = [sys.executable, "-m"]
        if processes > 1:
            launch += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        command = [*launch, "steps.train", "--exp", folder, "--config", str(args.config.resolve())]
        command += [f"data.dir={args.data.resolve()}", f"data.batch_size={args.batch_size // processes}"]
        command += ["training.epochs=1", f"training.log_every={half}", "data.dev_mixtures=2"]
        command += [f"data.epoch_mixtures={args.batch_size * (half + args.steps)}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, cwd=ROOT, capture_output=True)
        lines = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
        rates = [line["audio_per_second"] for line in lines if line["kind"] == "train"]
    return sum(rates[1:]) / len(rates[1:])  # the first of them started up


if __name__ == "__main__":
    main()
