"""Average the weights over the last epochs; how many epochs is chosen on dev.

The candidates are `average.last_epochs` of the configuration. Writes checkpoints/averaged.pt, which holds the
weights and the configuration, and average.json with every candidate's figures.
"""

import argparse
import logging
from pathlib import Path

from steps.tasks.config import load_config
from steps.tasks.registry import build_task
from steps.training.averaging import choose_average
from steps.training.checkpoint import save_checkpoint
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.average_checkpoints", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--exp", type=Path, required=True, help="directory of a trained run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.dir=data/mini")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    last = args.exp / "checkpoints" / f"epoch-{config.training.epochs:03d}.pt"
    output = args.exp / "checkpoints" / "averaged.pt"
    with provenance.make(output, {"last_epochs": config.average.last_epochs}, [last]) as temporary:
        if temporary is None:
            return
        weights, candidates = choose_average(build_task(config), args.exp)
        save_checkpoint(temporary, {"model": weights, "config": config_file.to_dict(config)})
        atomic.write_json(args.exp / "average.json", candidates)
    chosen = next(candidate for candidate in candidates if candidate["chosen"])
    logging.info("averaged the last %d epochs into %s", chosen["last_epochs"], output)


if __name__ == "__main__":
    cli.run(main)
