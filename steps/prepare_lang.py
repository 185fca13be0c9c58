"""Make the lang directory: tokens, words of the graph, lexicon.

The configuration's `lang` section says which units. The vocabulary comes from the training text alone; text
given with --eval-supervisions is counted against it, never added.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

from steps.graph import lang
from steps.graph.lexicon import Lexicon
from steps.graph.text import read_sentences, read_supervisions
from steps.graph.units import Units
from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, makes the directory if it is not there, and counts what it lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supervisions", type=Path, required=True, help="supervisions_train.jsonl.gz")
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="lang directory to write")
    parser.add_argument("--lexicon", type=Path, help="lines 'word phone phone ...' (phones, or to find words)")
    parser.add_argument(
        "--extra-text",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a sentence a line; its words join the graph's words, not the tokens (may be given several times)",
    )
    parser.add_argument(
        "--eval-supervisions",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="report how much of this text the vocabulary lacks (may be given several times)",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides).lang
    inputs = [args.supervisions, *([args.lexicon] if args.lexicon else []), *args.extra_text]
    with provenance.make(args.out, dataclasses.asdict(config), inputs) as out:
        if out is not None:
            sentences = list(read_supervisions(args.supervisions))
            extra = [sentence for file in args.extra_text for sentence in read_sentences(file)]
            lexicon = Lexicon.read(args.lexicon) if args.lexicon else None
            lang.prepare(config, sentences, extra, lexicon, out)
    units = Units.load(args.out)
    logging.info("%s: %s", args.out, ", ".join(f"{key} {value}" for key, value in units.info.items()))
    for file in args.eval_supervisions:
        logging.info("%s: %s", file, lang.count_unknown(units, list(read_supervisions(file))))


if __name__ == "__main__":
    cli.run(main)
