"""Generate RESULTS.md from the results.json files of one run or more."""

import argparse
import json
from pathlib import Path

from steps.metrics import tables
from utils import atomic, cli


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.write_results", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="results.json", help="as steps.score_cer writes it")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, such as RESULTS.md")
    args = parser.parse_args(argv)

    atomic.write_text(args.out, tables.results_page([(file, _read(file)) for file in args.results]))


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON: {error}") from error


if __name__ == "__main__":
    cli.run(main)
