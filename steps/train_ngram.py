"""Estimate an n-gram model of the graph's words: modified Kneser-Ney, written as an ARPA file.

The text is cut into words as the lang directory says; the configuration's `ngram` section has the order and
the cut-offs.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

from steps.graph import ngram
from steps.graph.lexicon import BACKOFF, EPS, read_symbols
from steps.graph.text import read_sentences, read_supervisions
from steps.graph.units import Units
from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the model if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supervisions", type=Path, required=True, help="supervisions_train.jsonl.gz")
    parser.add_argument("--lang", type=Path, required=True, help="lang directory (steps.prepare_lang)")
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="ARPA file to write")
    parser.add_argument(
        "--extra-text",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="more text, a sentence a line (may be given several times)",
    )
    parser.add_argument("--dev-supervisions", type=Path, help="report the perplexity of this text")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides).ngram
    inputs = [args.supervisions, args.lang, *args.extra_text]
    with provenance.make(args.out, dataclasses.asdict(config), inputs) as out:
        if out is None:
            return
        units = Units.load(args.lang)
        vocabulary = [word for word in read_symbols(args.lang / "words.txt") if word not in (EPS, BACKOFF)]
        texts = [*read_supervisions(args.supervisions)]
        texts += [sentence for file in args.extra_text for sentence in read_sentences(file)]
        model = ngram.estimate(map(units.words, texts), vocabulary, config)
        model.write_arpa(out)
    sizes = ", ".join(f"{len(level.word)} of order {n}" for n, level in enumerate(model.levels, start=1))
    logging.info("%s: %d sentences, n-grams: %s", args.out, len(texts), sizes)
    if args.dev_supervisions:
        dev = [units.words(text) for text in read_supervisions(args.dev_supervisions)]
        perplexity, unknown = model.perplexity(dev)
        logging.info("%s: perplexity %.2f, unknown words %d", args.dev_supervisions, perplexity, unknown)


if __name__ == "__main__":
    cli.run(main)
