"""Compute the filter-bank features of one job's share of a split.

The job's directory (archive and cuts) appears when it is complete; steps.combine_cuts then joins the
directories of all jobs. Mel bins, rate and speed factors are those of the configuration's `features`.
"""

import argparse
import logging
from pathlib import Path

from steps.data import parts
from steps.data.config import FeatureConfig
from steps.data.parts import Part
from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, makes the part if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True, help="recordings_<split>.jsonl.gz")
    parser.add_argument("--supervisions", type=Path, help="supervisions_<split>.jsonl.gz; without: whole recordings")
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--job", type=int, default=1, help="this job, from 1 (default 1)")
    parser.add_argument("--num-jobs", type=int, default=1, help="jobs that share the split (default 1)")
    parser.add_argument(
        "--speed-perturb",
        choices=["true", "false"],
        default="false",
        help="copies at the speeds of the configuration (for training; default false)",
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of this job: PARTS/<job>")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides).features
    factors = config.speed_perturb if args.speed_perturb == "true" else [1.0]
    part = Part(args.job, args.num_jobs, factors)
    if parts.made_by_fewer_jobs(args.out.parent, part):
        logging.info("%s is complete, made by fewer jobs than %d", args.out.parent, part.num_jobs)
        return
    settings = {  # how many jobs there were changes no feature
        "speed_perturb": factors,
        "num_mel_bins": config.num_mel_bins,
        "sampling_rate": config.sampling_rate,
    }
    manifests = [args.recordings, *([args.supervisions] if args.supervisions else [])]
    with provenance.make(args.out, settings, manifests) as folder:
        if folder is not None:
            compute(args, config, part, folder)


def compute(args: argparse.Namespace, config: FeatureConfig, part: Part, folder: Path) -> None:
    """Makes the part in `folder`. Imports here: a part that is up to date is found without torch."""
    import torch
    from lhotse import RecordingSet, SupervisionSet

    from steps.data import archives
    from steps.data.features import make_extractor

    torch.set_num_threads(1)  # the jobs share the cores
    supervisions = SupervisionSet.from_file(args.supervisions) if args.supervisions else None
    cuts = archives.utterance_cuts(RecordingSet.from_file(args.recordings), supervisions)
    share = archives.share_of(cuts, part.job, part.num_jobs)
    archives.write_part(share, part, make_extractor(config), folder, args.out)
    logging.info("%s: %d utterances, %d cuts, %.1f min", args.out, part.utterances, part.cuts, part.seconds / 60)


if __name__ == "__main__":
    cli.run(main)
