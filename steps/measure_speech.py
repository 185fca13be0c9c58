"""Measure one job's share of separated or enhanced mixtures: signals, and what a recogniser hears in them.

Writes a directory with measures.jsonl, a line for each mixture (see steps/metrics/speech_measures.py), and stats.json,
what making the estimates cost; steps.score_speech puts the jobs together. With --asr-checkpoint, --asr-lang and --cuts
the errors of that model in mixtures, outputs and references are counted.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from steps.tasks.config import load_config
from utils import atomic, cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    given = [value for value in (args.asr_checkpoint, args.asr_lang, args.cuts) if value]
    if len(given) not in (0, 3):
        raise ValueError("--asr-checkpoint, --asr-lang and --cuts go together: the model, its tokens, what was said")
    from steps.metrics import speech_scores

    config = load_config(args.config, args.overrides)
    folders = speech_scores.job_folders(args.estimates)
    options = {"job": args.job, "num_jobs": args.num_jobs, "score": config_file.to_dict(config.score)}
    inputs = [*map(_witness, (args.references, *folders)), args.plan, *given]
    inputs += [args.dnsmos_dir] if args.dnsmos_dir else []
    with provenance.make(args.out, options, inputs) as out:
        if out is not None:
            out.mkdir()
            _measure(args, config, folders, out)


def _witness(folder: Path) -> Path:
    """The record of how a folder of audio was made, which is read sooner than gigabytes; without one the folder."""
    record = provenance.record_path(folder)
    return record if record.is_file() else folder


def _measure(args: argparse.Namespace, config: Any, folders: list[Path], out: Path) -> None:
    from steps.data.mixture import read_plan
    from steps.inference.shares import of_job
    from steps.metrics import perceptual, speech_measures, speech_scores

    mixtures = read_plan(args.plan).mixtures
    if not mixtures:
        raise ValueError(f"{args.plan} has no mixtures: see mixtures.sets of the configuration")
    rows = of_job(mixtures, args.job, args.num_jobs)
    dnsmos = perceptual.Dnsmos(args.dnsmos_dir) if args.dnsmos_dir else None
    files = speech_measures.SignalFiles(args.references, folders)
    meter = speech_measures.Meter(config.score, mixtures[0].sampling_rate, dnsmos)
    count = _error_counter(args)
    with (out / "measures.jsonl").open("w", encoding="utf-8") as lines:
        for row in rows:
            line = speech_measures.measure(row, files.read(row), meter, count)
            lines.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    stats = speech_scores.merge_stats(folders)
    recogniser = {"recogniser": str(args.asr_checkpoint)} if args.asr_checkpoint else {}
    atomic.write_json(out / "stats.json", {**stats, **recogniser, "job": args.job, "num_jobs": args.num_jobs})
    logging.info("%s: %d mixtures measured (%s)", args.out, len(rows), ", ".join(meter.metrics))


def _error_counter(args: argparse.Namespace) -> Any:
    if not args.asr_checkpoint:
        return None
    from steps.inference.transcription import Transcriber
    from steps.metrics import speech_measures

    transcriber = Transcriber(args.asr_checkpoint, args.asr_lang)
    return speech_measures.ErrorCounter(transcriber, transcriber.scoring, speech_measures.read_texts(args.cuts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="steps.measure_speech", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="data/<name>/plan_<kind>_<split>.jsonl.gz")
    parser.add_argument("--references", type=Path, required=True, help="data/<name>/mixtures_<kind>_<split>")
    parser.add_argument(
        "--estimates", type=Path, required=True, help="EXP/estimates_<kind>_<split>, with jobs or with .wav files"
    )
    parser.add_argument("--out", type=Path, required=True, help="of this job: EXP/measures_<kind>_<split>/JOB")
    parser.add_argument("--job", type=int, default=1, help="which share of the mixtures, from 1")
    parser.add_argument("--num-jobs", type=int, default=1, help="into how many shares they are split")
    parser.add_argument("--config", type=Path, required=True, help="the run's configuration: EXP/config.yaml")
    parser.add_argument("--asr-checkpoint", type=Path, help="model of speech recognition (CTC), for error rates")
    parser.add_argument("--asr-lang", type=Path, help="lang directory that it was trained with")
    parser.add_argument("--cuts", type=Path, help="data/<name>/cuts_<split>.jsonl.gz, with what was said")
    parser.add_argument("--dnsmos-dir", type=Path, help="folder with sig_bak_ovr.onnx, to compute DNSMOS P.835")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as score.metrics=[si_sdr,stoi]")
    return parser


if __name__ == "__main__":
    cli.run(main)
