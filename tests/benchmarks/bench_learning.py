"""How far a separator gets in a number of seconds of one core: what to choose a small recipe's network by.

  python3 tests/benchmarks/bench_learning.py --data DATA --seconds 150 [key=value ...]

Trains the configuration with its overrides on the mixtures of DATA (made by stage 2 of egs/aishell_mix/separation) in
one thread, with a cosine schedule that ends when the CPU seconds are spent; loading and mixing count. Every 60 s and at
the end, it prints the improvement of SI-SDR on dev. An override of model.sizes adds to the YAML's: give a YAML without.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import nn

from steps.tasks.config import load_config
from steps.tasks.registry import build_task

CONFIG = Path(__file__).resolve().parents[2] / "egs/aishell_mix/separation/conf/mini.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=150.0, help="of CPU time (default 150)")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    task = build_task(load_config(args.config, [f"data.dir={args.data}", *args.overrides]))
    torch.manual_seed(task.config.seed)
    train(task, args.seconds)


def train(task, seconds: float) -> None:
    model, training = task.build_model().train(), task.config.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, betas=training.betas, weight_decay=0.01)
    batches, spent, step, told = task.batches("train"), 0.0, 0, 60.0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    while spent < seconds:
        started = time.process_time()
        for batch in batches:
            rate = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, spent / seconds)))
            optimizer.param_groups[0]["lr"] = training.lr * min(1.0, (step + 1) / training.warmup_steps) * rate
            losses = task.loss(model, batch, step)
            optimizer.zero_grad()
            (losses.total / losses.weight).backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()
            step, spent = step + 1, spent + time.process_time() - started
            if spent >= told or spent >= seconds:
                gained = improvement(task, model)
                print(f"{parameters:,} parameters, step {step}, {spent:.0f} s: {gained:.2f} dB", flush=True)
                told += 60.0
            if spent >= seconds:
                break
            started = time.process_time()
        batches.next_epoch()


@torch.no_grad()
def improvement(task, model: nn.Module) -> float:
    """Of SI-SDR in dB on dev."""
    model.eval()
    sums = [task.loss(model, batch, 0).sums["si_sdri"] for batch in task.batches("dev")]
    model.train()
    return sum(gained for gained, _ in sums) / sum(count for _, count in sums)


if __name__ == "__main__":
    main()
