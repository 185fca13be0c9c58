"""Join recordings and supervisions of a split into one cut for each utterance, without features."""

import argparse
import logging
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.make_cuts", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with the manifests of stage 1")
    parser.add_argument("--split", nargs="+", default=["train", "dev", "test"], help="default: train dev test")
    args = parser.parse_args(argv)
    for split in args.split:
        manifests = [args.data / f"{kind}_{split}.jsonl.gz" for kind in ("recordings", "supervisions")]
        output = args.data / f"cuts_{split}.jsonl.gz"
        with provenance.make(output, {}, manifests) as temporary:
            if temporary is not None:
                from steps.data import archives  # lhotse: not needed to find that all is done

                cuts = archives.write_cuts(*manifests, temporary)
                logging.info("%s: %d cuts, %.2f hours", output, len(cuts), sum(cut.duration for cut in cuts) / 3600)


if __name__ == "__main__":
    cli.run(main)
