"""Measure how loud the utterances of a corpus are, and its noises, so that mixtures can be planned without audio.

Writes DATA/levels_<split>.jsonl.gz, and DATA/levels_noise.jsonl.gz where there are noises: loudness (ITU-R BS.1770),
mean power and peak of each.
"""

import argparse
import logging
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.measure_levels", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with cuts of steps.make_cuts")
    parser.add_argument("--split", nargs="+", default=["train", "dev", "test"], help="default: train dev test")
    parser.add_argument("--num-jobs", type=int, default=1, help="processes (default 1)")
    args = parser.parse_args(argv)
    sources = {split: args.data / f"cuts_{split}.jsonl.gz" for split in args.split}
    sources["noise"] = args.data / "recordings_noise.jsonl.gz"
    for name, manifest in sources.items():
        if name == "noise" and not manifest.is_file():
            continue
        output = args.data / f"levels_{name}.jsonl.gz"
        with provenance.make(output, {}, [manifest]) as temporary:
            if temporary is not None:
                _measure(name, manifest, temporary, args.num_jobs)
                logging.info("%s has the levels of %s", output, manifest)


def _measure(name: str, manifest: Path, out: Path, num_jobs: int) -> None:
    from lhotse import CutSet

    from steps.data import levels, mixture_corpus
    from utils.parallel import parallel

    if name == "noise":
        cuts = mixture_corpus.noise_pieces(manifest.parent)
    else:
        cuts = list(CutSet.from_jsonl(manifest).to_eager())
    levels.write_levels(parallel(levels.measure, cuts, num_jobs), out)


if __name__ == "__main__":
    cli.run(main)
