"""Extract the embeddings of one job's share of a split: whole utterances, joined enrolments, excerpts.

Writes a directory with utterances.npz and, where --trials is given, models.npz (each model's utterances end to end),
utterances_<seconds>.npz and models_<seconds>.npz (excerpts of score.durations); stats.json says what it cost, the
features and the network apart. The configuration comes from the checkpoint; key=value overrides it.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from utils import atomic, cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.extract_embeddings", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--cuts", type=Path, required=True, help="data/<corpus>/cuts_<split>.jsonl.gz")
    parser.add_argument("--trials", type=Path, help="directory of steps.prepare_trials: models and excerpts as well")
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of this job, such as exp/x/embeddings_test/1"
    )
    parser.add_argument("--job", type=int, default=1, help="which share of the utterances, from 1")
    parser.add_argument("--num-jobs", type=int, default=1, help="into how many shares they are split")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as score.durations=[1,2]")
    args = parser.parse_args(argv)

    options = {name: getattr(args, name) for name in ("job", "num_jobs", "device", "overrides")}
    inputs = [path for path in (args.checkpoint, args.cuts, args.trials) if path]
    with provenance.make(args.out, options, inputs) as out:
        if out is not None:
            out.mkdir()
            _extract(args, out)


def _extract(args: argparse.Namespace, out: Path) -> None:
    from steps.backend import extraction  # torch: not needed to find that all is done

    extractor = extraction.Extraction(args.checkpoint, args.device, args.overrides)
    sets = extractor.sets(args.cuts, args.trials, args.job, args.num_jobs)
    for name, cuts in sets.items():
        extractor.run(cuts).save(out / f"{name}.npz")
    stats: dict[str, Any] = {"job": args.job, "num_jobs": args.num_jobs, **extractor.stats()}
    atomic.write_json(out / "stats.json", stats)
    logging.info(
        "%s: %.0f s of audio; real-time factor: features %.5f, network %.5f (%s)",
        args.out, stats["audio_seconds"], stats["rtf"]["features"], stats["rtf"]["network"], stats["device"],
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
