"""Train the model that a YAML file describes; run again, it goes on where it was cut off.

On several GPUs: torchrun --nproc_per_node N -m steps.train ... (run.sh --ngpu N does that).
"""

import argparse
from pathlib import Path

from steps.tasks.config import load_config
from steps.tasks.registry import build_task
from steps.training.dist import join_world, leave_world
from steps.training.trainer import Trainer
from utils import cli, log


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: checkpoints, curves, log")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.dir=data/mini training.lr=1e-3")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    world = join_world()
    log.setup(args.exp / "train.log" if world.is_main else None)
    Trainer(build_task(config), args.exp, world).fit()
    leave_world(world)


if __name__ == "__main__":
    cli.run(main)
