"""Choose how much of the input is mixed back into enhanced speech: the share with the fewest errors of a recogniser.

  python3 -m steps.choose_dry --exp EXP EXP/dry_0/measures EXP/dry_0.1/measures ...

Reads measures of one set of dev mixtures, made by steps.measure_speech (with --asr-checkpoint) of what
steps.enhance_speech wrote with several --dry. Writes EXP/dry.json, which steps.enhance_speech takes as --dry, and
prints what the recogniser makes of noisy, enhanced and clean speech.
"""

import argparse
import itertools
import json
import logging
from pathlib import Path
from typing import Any

from steps.tasks.config import load_config
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="steps.choose_dry", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run: exp/<name>")
    parser.add_argument("--config", type=Path, help="the run's configuration (default EXP/config.yaml)")
    parser.add_argument("measures", nargs="+", type=Path, help="a directory for each --dry, with jobs 1, 2 ... in it")
    args = parser.parse_args(argv)
    from steps.metrics import speech_scores

    config = load_config(args.config or args.exp / "config.yaml")
    inputs = [part for folder in args.measures for part in speech_scores.job_folders(folder, "measures.jsonl")]
    output = args.exp / "dry.json"
    with provenance.make(output, {"score": config_file.to_dict(config.score), "seed": config.seed}, inputs) as out:
        if out is not None:
            atomic.write_json(out, choice([_system(folder, config) for folder in args.measures]))
    found = json.loads(output.read_text(encoding="utf-8"))
    print(table(found))
    best, noisy = (found[name]["cer"]["value"] for name in ("chosen", "noisy"))
    if noisy <= best:
        logging.warning(
            "the recogniser understands the noisy speech itself best (CER %.2f %%, enhanced %.2f %%): give it that, "
            "and enhance for ears alone", noisy, best,
        )  # fmt: skip


def choice(systems: list[dict[str, Any]]) -> dict[str, Any]:
    """dry.json of the results of several shares ("dry", "recogniser", "ids" and "metrics" each): the least CER.

    Of equal ones the smallest share, which leaves the least noise. Raises ValueError where they are not comparable.
    """
    ordered = sorted(systems, key=lambda system: system["dry"])
    first = ordered[0]
    for before, system in itertools.pairwise(ordered):
        if system["dry"] == before["dry"]:
            raise ValueError(f"{before['folder']} and {system['folder']} are both of dry={system['dry']:g}")
        for name, title in (("ids", "mixtures"), ("recogniser", "recognisers")):
            if system[name] != first[name]:
                raise ValueError(f"{first['folder']} and {system['folder']} are of different {title}")
    chosen = min(ordered, key=lambda system: system["metrics"]["cer"]["value"])
    return {
        "dry": chosen["dry"],
        "mixtures": len(first["ids"]),
        "recogniser": first["recogniser"],
        "chosen": chosen["metrics"],
        "noisy": _signal(first, "_mixture"),
        "enhanced": [{"dry": system["dry"], "metrics": system["metrics"]} for system in ordered],
        "clean": _signal(first, "_clean"),
    }


def table(found: dict[str, Any]) -> str:
    """dry.json for a terminal: noisy, each share, clean; the chosen share has a mark."""
    from steps.metrics.speech_tables import COLUMNS
    from steps.metrics.tables import plain

    shown = {"cer", *found["noisy"]}
    columns = [column for column in COLUMNS if column[0] in shown]
    signals = [("noisy", found["noisy"])]
    for one in found["enhanced"]:
        mark = " *" if one["dry"] == found["dry"] else ""
        signals.append((f"dry {one['dry']:g}{mark}", one["metrics"]))
    rows = [["signal", *(title for _, title, _ in columns), "95 % interval of CER"]]
    for name, metrics in [*signals, ("clean", found["clean"])]:
        cells = [f"{metrics[key]['value']:.{places}f}" if key in metrics else "-" for key, _, places in columns]
        rows.append([name, *cells, f"{metrics['cer']['low']:.2f} .. {metrics['cer']['high']:.2f}"])
    return f"{found['mixtures']} mixtures, heard by {found['recogniser']}\n\n{plain(rows)}\n\n* chosen"


def _system(folder: Path, config: Any) -> dict[str, Any]:
    """One share's measures, for `choice`. Raises ValueError for measures without CER, or of who knows which share."""
    from steps.metrics import speech_scores

    rows, stats = speech_scores.read_rows(folder)
    if not isinstance(stats.get("dry"), int | float):
        raise ValueError(f"{folder}: its stats.json has no 'dry'; expected measures of what steps.enhance_speech wrote")
    metrics = speech_scores.system(str(folder), rows, stats, config.score, config.seed)["metrics"]
    if "cer" not in metrics:
        raise ValueError(
            f"{folder} has no errors of a recogniser: give steps.measure_speech --asr-checkpoint, --asr-lang and --cuts"
        )
    known = {"folder": str(folder), "dry": float(stats["dry"]), "recogniser": stats.get("recogniser")}
    return {**known, "ids": [row["id"] for row in rows], "metrics": metrics}


def _signal(system: dict[str, Any], ending: str) -> dict[str, Any]:
    """The metrics of the mixture, or of the clean speech, under their plain names."""
    metrics = system["metrics"]
    return {name.removesuffix(ending): value for name, value in metrics.items() if name.endswith(ending)}


if __name__ == "__main__":
    cli.run(main)
