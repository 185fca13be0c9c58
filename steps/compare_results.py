"""Is one system better than another? Paired bootstrap on the utterances that both recognised.

Each file is EXP/score/<split>/<system>/per_utterance.jsonl of steps.score_cer. Prints both error rates,
their difference with a 95 % interval, and the probability that the first is the better system.
"""

import argparse
from pathlib import Path

from steps.metrics import bootstrap
from steps.metrics.error_files import read_scored
from utils import cli


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.compare_results", description=__doc__)
    parser.add_argument("files", type=Path, nargs=2, metavar="per_utterance.jsonl", help="the two systems")
    parser.add_argument("--by", choices=["speaker", "utterance"], default="speaker", help="what is drawn together")
    parser.add_argument("--resamples", type=int, default=10000, help="number of draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    args = parser.parse_args(argv)

    scored = [read_scored(file) for file in args.files]
    found = bootstrap.compare(*scored, args.by, args.resamples, args.seed)
    print(f"A {found.rate_a:.2f} %  {args.files[0]}")
    print(f"B {found.rate_b:.2f} %  {args.files[1]}")
    low, high = found.difference.low, found.difference.high
    print(f"A - B {found.rate_a - found.rate_b:+.2f} %, 95 % interval {low:+.2f} to {high:+.2f}")
    print(f"probability that A is better than B: {found.better:.3f}")


if __name__ == "__main__":
    cli.run(main)
