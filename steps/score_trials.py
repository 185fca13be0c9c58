"""Score the trials of a speaker recognition run with every back end, and measure what they get wrong.

Back ends are fitted on the training embeddings; calibration, and the choice of the back end that is deployed, are
dev's; test is scored once. Writes EXP/score: scores of each back end, summary.txt, backend/ (the chosen back end, its
calibration and its table of thresholds), and EXP/results.json; prints the summary.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from steps.metrics import results, speaker_tables
from steps.tasks.config import SpeakerConfig, load_config
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.score_trials", description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: exp/<name>")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with the manifests of stage 1")
    parser.add_argument("--corpus", required=True, help="the corpus's name, for the results")
    parser.add_argument("--config", type=Path, help="the run's configuration (default EXP/config.yaml)")
    parser.add_argument("--command", default="", help="command line that made the run, for the results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as backend.chains=[cosine,plda]")
    args = parser.parse_args(argv)

    config = load_config(args.config or args.exp / "config.yaml", args.overrides)
    inputs = [args.exp / f"{kind}_{split}" for split in ("dev", "test") for kind in ("trials", "embeddings")]
    options = {"corpus": args.corpus, "config": config_file.digest(config)}
    with provenance.make(args.exp / "score", options, [args.exp / "embeddings_train", *inputs]) as out:
        if out is not None:
            out.mkdir()
            from steps.backend import scoring  # scikit-learn: not needed to find that all is done

            genres = _genres(args.data / "supervisions_test.jsonl.gz")
            found = scoring.score_run(args.exp, out, config, genres)
            measured = {**_facts(args, config, found.pop("stats")), **found}
            atomic.write_json(out / "results.json", measured)
            atomic.write_text(out / "summary.txt", speaker_tables.summary(measured, args.exp / "results.json"))
    results.publish(args.exp)


def _genres(manifest: Path) -> dict[str, str]:
    """The condition that a corpus notes of an utterance, by id."""
    with gzip.open(manifest, "rt", encoding="utf-8") as lines:
        entries = map(json.loads, lines)
        return {entry["id"]: str((entry.get("custom") or {}).get("genre", "")) for entry in entries}


def _facts(args: argparse.Namespace, config: SpeakerConfig, stats: dict[str, Any]) -> dict[str, Any]:
    """What results.json says besides what was measured."""
    architecture = "ivector" if config.task == "ivector" else config.model.architecture
    measured = {"architecture": architecture, **stats}
    around = results.describe(args.exp, args.corpus, args.command, config, measured)
    return {"task": "speaker", **around}


if __name__ == "__main__":
    cli.run(main)
