"""Train an i-vector extractor: a mixture of Gaussians over cepstra, then the factors that move its means.

The longest utterances of data.dir's cuts_train.jsonl.gz are used, with features computed on the fly. Writes
checkpoints/averaged.pt, which holds the weights and the configuration, as steps.average_checkpoints does.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from lhotse.cut import Cut

from steps.data.archives import read_cuts
from steps.data.features import make_extractor
from steps.data.loader import Batches
from steps.data.sampling import LengthSampler
from steps.data.speaker import WholeCollator
from steps.inference.device import device_name, pick_device
from steps.tasks.config import load_config
from steps.training.checkpoint import save_checkpoint
from steps.training.ivector_em import train_extractor
from utils import cli, log, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.train_ivector", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: checkpoint, log")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.dir=data/mini")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    log.setup(args.exp / "train.log")
    settings = {name: dataclasses.asdict(getattr(config, name)) for name in ("features", "ivector")}
    settings |= {"seed": config.seed, "min_seconds": config.data.min_seconds}
    inputs = [Path(config.data.dir) / "cuts_train.jsonl.gz"]
    with provenance.make(args.exp / "checkpoints" / "averaged.pt", settings, inputs) as temporary:
        if temporary is None:
            return
        config_file.dump(config, args.exp / "config.yaml")
        device = pick_device(args.device)
        cuts = longest(
            read_cuts(Path(config.data.dir), "train"), config.data.min_seconds, config.ivector.max_utterances
        )
        logging.info("i-vectors from %d utterances, on %s", len(cuts), device_name(device))

        def batches() -> Batches:
            sampler = LengthSampler(cuts, config.data.batch_seconds)
            return Batches(sampler, WholeCollator(make_extractor(config.features)), config.data.num_workers, len(cuts))

        extractor = train_extractor(
            batches, len(cuts), config.ivector, config.features.num_mel_bins, config.seed, device, args.exp
        )
        weights = {name: value.cpu() for name, value in extractor.state_dict().items()}
        save_checkpoint(temporary, {"model": weights, "config": config_file.to_dict(config)})


def longest(cuts: Sequence[Cut], min_seconds: float, most: int) -> list[Cut]:
    """The `most` longest cuts of at least `min_seconds`. Raises ValueError when there is none."""
    chosen = sorted((cut for cut in cuts if cut.duration >= min_seconds), key=lambda cut: (-cut.duration, cut.id))
    if not chosen:
        raise ValueError(f"no training utterance is {min_seconds:g} s long; see data.min_seconds")
    return chosen[:most]


if __name__ == "__main__":
    cli.run(main)
