"""Measure how loud the utterances of a corpus are, and its noises, so that mixtures can be planned without audio.

Writes DATA/levels_<split>.jsonl.gz, and DATA/levels_noise.jsonl.gz where there are noises: loudness (ITU-R BS.1770),
mean power and peak of each.
"""

import argparse
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.measure_levels", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with cuts of steps.make_cuts")
    parser.add_argument("--split", nargs="+", default=["train", "dev", "test"], help="default: train dev test")
    parser.add_argument("--num-jobs", type=int, default=1, help="processes (default 1)")
    args = parser.parse_args(argv)
    manifests = {split: args.data / f"cuts_{split}.jsonl.gz" for split in args.split}
    noises = args.data / "recordings_noise.jsonl.gz"
    if noises.is_file():
        manifests["noise"] = noises
    with contextlib.ExitStack() as stack:
        wanted = {}
        for name, manifest in manifests.items():
            temporary = stack.enter_context(provenance.make(args.data / f"levels_{name}.jsonl.gz", {}, [manifest]))
            if temporary is not None:
                wanted[name] = temporary
        if wanted:
            _measure(args.data, manifests, wanted, args.num_jobs)


def _measure(data: Path, manifests: Mapping[str, Path], wanted: Mapping[str, Path], num_jobs: int) -> None:
    """By one pool of processes, which take longer to start than a small corpus takes them."""
    from itertools import islice

    from lhotse import CutSet

    from steps.data import levels, mixture_corpus
    from utils.parallel import parallel

    cuts = {
        name: mixture_corpus.noise_pieces(data) if name == "noise" else list(CutSet.from_jsonl(manifests[name]))
        for name in wanted
    }
    measured = parallel(levels.measure, [cut for own in cuts.values() for cut in own], num_jobs)
    for name, own in cuts.items():
        levels.write_levels(islice(measured, len(own)), wanted[name])
        logging.info("levels of %d cuts of %s", len(own), manifests[name])


if __name__ == "__main__":
    cli.run(main)
