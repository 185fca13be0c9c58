"""Write a page about a run: one HTML file that holds everything it shows, sound included.

Shows what there is of results, training curves, worst utterances, stages and configuration, and says
which stage makes what is missing. Audio and spectrograms need --test-cuts.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from steps.reporting import asr, sections, separation, speaker
from steps.reporting.page import page
from steps.reporting.run import read_run
from steps.reporting.sound import Sound
from utils import atomic, cli

TASKS = {
    "asr": asr.sections,
    "speaker": speaker.sections,
    "separation": separation.sections,
    "enhancement": separation.sections,
}


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: exp/<name>")
    parser.add_argument("--test-cuts", type=Path, help="data/<corpus>/cuts_test.jsonl.gz, for the sound of utterances")
    parser.add_argument("--out", type=Path, help="the page (default EXP/report.html)")
    args = parser.parse_args(argv)

    def sounds_of(ids: list[str]) -> Mapping[str, Sound]:
        if not args.test_cuts:
            return {}
        from steps.reporting.listening import read_sounds  # brings lhotse and torch

        return read_sounds(args.test_cuts, ids)

    run = read_run(args.exp)
    of_task = TASKS[run.task](run, sounds_of) if run.task in TASKS else []
    parts = [
        sections.summary(run),
        sections.results(run),
        *of_task,
        sections.curves(run.points, run.averages),
        sections.stages(run),
        sections.configuration(run),
    ]
    out = args.out or args.exp / "report.html"
    footer = f"Made by steps.report from {args.exp}. This page needs nothing but itself."
    atomic.write_text(out, page(run.name, sections.lead(run), parts, footer))
    logging.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


if __name__ == "__main__":
    cli.run(main)
