"""Separate the talkers of recordings of any length.

  python3 -m steps.separate_speech --checkpoint EXP/checkpoints/averaged.pt --out DIR a.wav recordings/ \\
    [separate.window_seconds=20]

Writes DIR/<stem>_1.wav, <stem>_2.wav ... for each recording, with its sampling rate and exactly its number of samples;
together they add up to it. DIR/stats.json says what it cost. A model that extracts one talker needs a recording of him
(--enrolment) and writes DIR/<stem>_1.wav alone; with --plan and --enrolments it extracts every talker of a plan's
mixtures.

Recordings are files or directories, which are searched for audio; they have one channel and any sampling rate. An
argument with `=` overrides the configuration in the checkpoint.
"""

import argparse
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = _parser()
    args = parser.parse_intermixed_args(argv)
    paths = [Path(text) for text in args.arguments if "=" not in text]
    overrides = [text for text in args.arguments if "=" in text]
    if not paths:
        parser.error("nothing to separate: give files or directories")
    if (args.enrolment is None) != (args.speaker_model is None):
        parser.error("--enrolment and --speaker-model go together")
    if (args.plan is None) != (args.enrolments is None):
        parser.error("--plan and --enrolments go together")
    told = [args.enrolment, args.speaker_model, args.plan, args.enrolments]
    cli.check_paths((args.checkpoint, *told, *paths), args.out)

    options = {name: getattr(args, name) for name in ("job", "num_jobs", "device", "subtype")}
    inputs = [path for path in (args.checkpoint, *told, *paths) if path]
    with provenance.make(args.out, {**options, "overrides": overrides}, inputs) as out:
        if out is not None:
            out.mkdir()
            _separate(args, paths, overrides, out)


def _separate(args: argparse.Namespace, paths: list[Path], overrides: list[str], out: Path) -> None:
    from steps.inference import long_audio, separation  # torch: not needed to find that all is done

    def load() -> separation.Separation:
        planned = separation.PlannedVoices(args.plan, args.enrolments) if args.plan else None
        return separation.Separation(
            args.checkpoint, args.device, overrides, args.enrolment, args.speaker_model, planned
        )

    long_audio.convert_share(load, paths, out, args.out, args.subtype, args.job, args.num_jobs)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.separate_speech", description=__doc__, formatter_class=form)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--out", type=Path, required=True, help="directory to write; it appears when it is complete")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("--job", type=int, default=1, help="which share of the recordings, from 1")
    parser.add_argument("--num-jobs", type=int, default=1, help="into how many shares they are split")
    parser.add_argument(
        "--subtype", choices=("FLOAT", "PCM_16", "PCM_24"), default="FLOAT",
        help="of the WAV files; PCM holds nothing above full scale, and all outputs of a file are turned down to fit",
    )  # fmt: skip
    parser.add_argument("--enrolment", type=Path, metavar="WAV", help="the talker to extract, alone")
    parser.add_argument("--speaker-model", type=Path, metavar="CKPT", help="what the enrolment is embedded with")
    parser.add_argument("--plan", type=Path, help="of the mixtures that are given: each of their talkers is extracted")
    parser.add_argument("--enrolments", type=Path, help="embeddings of steps.extract_embeddings, with --plan")
    parser.add_argument(
        "arguments", nargs="*", metavar="FILE|DIRECTORY|KEY=VALUE", help="recordings; such as separate.batch=4"
    )
    return parser


if __name__ == "__main__":
    cli.run(main)
