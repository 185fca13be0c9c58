"""Take over a speaker extractor that wespeaker or 3D-Speaker trained: its weights become this run's model.

Reads a state_dict (avg_model.pt, model_N.pt, campplus_*.bin, ...), whose names must be exactly those of the YAML's
architecture apart from its classes (projection.*), and writes EXP/checkpoints/averaged.pt, with which stages 6 to 9 go
on. Nothing that the file contains is run. Features stay those of this repository (povey window, up to 7,600 Hz), which
are not quite what other toolkits train on: measure before you trust, or fine-tune with training.init_from.
"""

import argparse
import logging
from pathlib import Path

from steps.tasks.config import load_config
from utils import cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.import_extractor", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the other toolkit's file of weights")
    parser.add_argument("--config", type=Path, required=True, help="YAML with the model's architecture and sizes")
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run to begin")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as model.embedding_dim=192")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    output = args.exp / "checkpoints" / "averaged.pt"
    with provenance.make(output, {"model": config_file.to_dict(config)["model"]}, [args.weights]) as temporary:
        if temporary is None:
            return
        from steps.tasks.speaker import import_weights
        from steps.training.checkpoint import save_checkpoint

        save_checkpoint(
            temporary, {"model": import_weights(args.weights, config), "config": config_file.to_dict(config)}
        )
        config_file.dump(config, args.exp / "config.yaml")
    logging.info("%s has the weights of %s", output, args.weights)


if __name__ == "__main__":
    cli.run(main)
