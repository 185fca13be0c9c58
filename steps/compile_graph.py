"""Compile lexicon, n-gram and CTC topology into one search graph, HLG.fst.

An OpenFst binary whose input labels are token ids + 1 and whose output labels are ids of words.txt, as the
decoders here and sherpa-onnx read it.
"""

import argparse
import dataclasses
import logging
import time
from pathlib import Path

from steps.graph import hlg
from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the graph's directory if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", type=Path, required=True, help="lang directory (steps.prepare_lang)")
    parser.add_argument("--lm", type=Path, required=True, help="ARPA file (steps.train_ngram, or another tool's)")
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="directory for HLG.fst, words.txt, tokens.txt")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides).graph
    with provenance.make(args.out, dataclasses.asdict(config), [args.lang, args.lm]) as out:
        if out is None:
            return
        started = time.monotonic()
        sizes = hlg.compile_graph(args.lang, args.lm, config, out)
    listed = ", ".join(f"{key} {value}" for key, value in sizes.items())
    logging.info("%s: %s, %.1f s", args.out, listed, time.monotonic() - started)


if __name__ == "__main__":
    cli.run(main)
