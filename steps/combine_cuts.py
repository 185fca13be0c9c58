"""Join the features that the jobs of steps.compute_fbank made of a split into one file of cuts.

Counts of utterances and cuts and the sizes of the archives are compared with what the jobs wrote and
with the manifest; anything missing stops with what to do.
"""

import argparse
import logging
from pathlib import Path

from steps.data import parts
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the cuts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, required=True, help="directory that holds one directory per job")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="what they were made from: supervisions (or only recordings)"
    )
    parser.add_argument("--out", type=Path, required=True, help="cuts_<split>.jsonl.gz")
    args = parser.parse_args(argv)

    summaries = [args.parts / str(part.job) / parts.SUMMARY for part in parts.read_parts(args.parts)]
    with provenance.make(args.out, {}, [args.manifest, *summaries]) as out:
        if out is None:
            return
        made = parts.combine_parts(args.parts, parts.count_lines(args.manifest), out)
    cuts, hours = sum(part.cuts for part in made), sum(part.seconds for part in made) / 3600
    logging.info("%s: %d cuts, %.2f h", args.out, cuts, hours)


if __name__ == "__main__":
    cli.run(main)
