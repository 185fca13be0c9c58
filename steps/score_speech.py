"""Score a run of separation or enhancement: means with intervals, in buckets of overlap, level and SNR.

Puts together what the jobs of steps.measure_speech left in EXP/measures_<set>. Writes EXP/score (results.json,
summary.txt) and EXP/results.json, and prints the summary.
"""

import argparse
from pathlib import Path
from typing import Any

from steps.tasks.config import load_config
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.score_speech", description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: exp/<name>")
    parser.add_argument("--sets", nargs="+", required=True, metavar="KIND_SPLIT", help="such as full_test partial_test")
    parser.add_argument("--corpus", required=True, help="the corpus's name, for the results")
    parser.add_argument("--config", type=Path, help="the run's configuration (default EXP/config.yaml)")
    parser.add_argument("--command", default="", help="command line that made the run, for the results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as score.resamples=10000")
    args = parser.parse_args(argv)
    from steps.metrics import results, speech_scores, speech_tables

    config = load_config(args.config or args.exp / "config.yaml", args.overrides)
    folders = {name: args.exp / f"measures_{name}" for name in args.sets}
    inputs = [part for folder in folders.values() for part in speech_scores.job_folders(folder, "measures.jsonl")]
    options = {"corpus": args.corpus, "config": config_file.digest(config), "sets": args.sets}
    with provenance.make(args.exp / "score", options, inputs) as out:
        if out is not None:
            out.mkdir()
            systems = []
            for name, folder in folders.items():
                rows, stats = speech_scores.read_rows(folder)
                systems.append(speech_scores.system(_title(name), rows, stats, config.score, config.seed))
            found = results.describe(args.exp, args.corpus, args.command, config, _measured(config, systems))
            found = {"task": config.task, **found}
            atomic.write_json(out / "results.json", found)
            atomic.write_text(out / "summary.txt", speech_tables.summary(found, args.exp / "results.json"))
    results.publish(args.exp)


def _title(name: str) -> str:
    """Results are of test unless they say otherwise."""
    return name.removesuffix("_test")


def _measured(config: Any, systems: list[dict[str, Any]]) -> dict[str, Any]:
    """What results.json says besides where and how the run was made."""
    stats = systems[0]["processing"]
    return {
        "architecture": config.model.architecture,
        "sampling_rate": config.mixtures.sampling_rate,
        "zero_mean": config.score.zero_mean,
        "recogniser": stats.get("recogniser"),
        **{name: stats.get(name) for name in ("audio_seconds", "parameters", "device", "checkpoint", "peak_memory")},
        "systems": systems,
    }


if __name__ == "__main__":
    cli.run(main)
