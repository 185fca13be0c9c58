"""Generate RESULTS.md from the results.json files of one run or more."""

import argparse
import json
from pathlib import Path

from steps.metrics import speaker_tables, speech_tables, tables
from utils import atomic, cli

PAGES = {
    "asr": tables.results_page,
    "speaker": speaker_tables.results_page,
    "separation": speech_tables.results_page,
    "enhancement": speech_tables.results_page,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.write_results", description=__doc__)
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="results.json",
        help="as steps.score_cer, steps.score_trials and steps.score_speech write it",
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write, such as RESULTS.md")
    args = parser.parse_args(argv)

    runs = [(file, _read(file)) for file in args.results]
    tasks = sorted({results.get("task") for _, results in runs})
    if len(tasks) > 1 or tasks[0] not in PAGES:
        raise ValueError(f"expected runs of one task of {', '.join(PAGES)}; got {', '.join(map(str, tasks))}")
    atomic.write_text(args.out, PAGES[tasks[0]](runs))


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON: {error}") from error


if __name__ == "__main__":
    cli.run(main)
