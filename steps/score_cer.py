"""Score a run: error rates with intervals, the errors themselves, and results.json.

Puts the pieces of the decoding jobs together, chooses the weights of n-best lists on dev, and scores test
once. Writes EXP/score (errors.txt, per_speaker.tsv and per_utterance.jsonl of every system, summary.txt)
and EXP/results.json, and prints the summary.
"""

import argparse
from pathlib import Path
from typing import Any

from steps.metrics import pieces, results, scoring, tables
from steps.tasks.config import AsrConfig, load_config
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.score_cer", description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: exp/<name>")
    parser.add_argument("--dev", type=Path, required=True, help="decoded dev: EXP/decode_dev")
    parser.add_argument("--test", type=Path, required=True, help="decoded test: EXP/decode_test")
    parser.add_argument("--corpus", required=True, help="the corpus's name, for the results")
    parser.add_argument("--config", type=Path, help="the run's configuration (default EXP/config.yaml)")
    parser.add_argument("--command", default="", help="command line that made the run, for the results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as score.unit=word")
    args = parser.parse_args(argv)

    config = load_config(args.config or args.exp / "config.yaml", args.overrides)
    inputs = [*pieces.piece_folders(args.dev), *pieces.piece_folders(args.test)]
    options = {"corpus": args.corpus, "config": config_file.digest(config)}
    with provenance.make(args.exp / "score", options, inputs) as out:
        if out is not None:
            dev, test = pieces.merge(args.dev), pieces.merge(args.test)
            systems = scoring.score_systems(dev, test, config.score, config.seed, out)
            found = {**_facts(args, config, test), "systems": systems}
            atomic.write_json(out / "results.json", found)
            atomic.write_text(out / "summary.txt", tables.summary(found, args.exp / "results.json"))
    results.publish(args.exp)


def _facts(args: argparse.Namespace, config: AsrConfig, test: pieces.Decoded) -> dict[str, Any]:
    """What results.json says besides the systems."""
    measured = {
        "unit": config.score.unit,
        "utterances": len(test.refs),
        "speakers": len(set(test.speakers.values())),
        "bootstrap": results.bootstrap_facts(test.speakers, config.score),
        **{name: test.stats.get(name) for name in ("audio_seconds", "parameters", "device", "engine", "checkpoint")},
        **{name: test.stats.get(name) for name in ("peak_memory", "decode")},
    }
    around = results.describe(args.exp, args.corpus, args.command, config, measured)
    return {"task": config.task, **around}


if __name__ == "__main__":
    cli.run(main)
