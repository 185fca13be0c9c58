"""Enhance recordings of any length, or sound while it comes in.

  python3 -m steps.enhance_speech --checkpoint EXP/checkpoints/averaged.pt --out DIR a.wav recordings/ [--dry 0.1]
  arecord -f S16_LE -r 16000 -t raw | python3 -m steps.enhance_speech --checkpoint CKPT --pipe --rate 16000 | aplay ...

Writes DIR/<stem>.wav for each recording, with its sampling rate and exactly its number of samples, and DIR/stats.json,
which says what it cost. Recordings are files or directories, which are searched for audio; they have one channel and
any sampling rate.

With --pipe raw PCM (16 bits, little-endian, one channel, --rate Hz) is read from standard input, and as much is written
to standard output, as soon as it is known; standard error says how late that is. It takes a causal model.

An argument with `=` overrides the configuration in the checkpoint.
"""

import argparse
import json
import sys
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = _parser()
    args = parser.parse_intermixed_args(argv)
    paths = [Path(text) for text in args.arguments if "=" not in text]
    overrides = [text for text in args.arguments if "=" in text]
    if args.dry is not None:
        overrides.append(f"enhance.dry={read_dry(args.dry)}")
    if args.pipe and (paths or args.out or args.rate is None or args.rate < 1):
        parser.error("--pipe goes with --rate HZ, and without files and --out")
    if not args.pipe and (not paths or args.out is None or args.rate is not None):
        parser.error("give files or directories, and where to write with --out; --rate is for --pipe")
    cli.check_paths((args.checkpoint, *paths), args.out)
    if args.pipe:
        _pipe(args, overrides)
        return
    options = {name: getattr(args, name) for name in ("job", "num_jobs", "device", "subtype")}
    with provenance.make(args.out, {**options, "overrides": overrides}, [args.checkpoint, *paths]) as out:
        if out is not None:
            out.mkdir()
            _enhance(args, paths, overrides, out)


def read_dry(text: str) -> float:
    """A share of the input: a number, or the file that steps.choose_dry wrote. Raises ValueError for neither."""
    try:
        return float(text)
    except ValueError:
        pass
    if not Path(text).is_file():
        raise ValueError(f"--dry {text}: expected a number from 0 to 1, or EXP/dry.json as steps.choose_dry writes it")
    try:
        return float(json.loads(Path(text).read_text(encoding="utf-8"))["dry"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"--dry {text}: no JSON with a number 'dry'; write it with steps.choose_dry") from error


def _pipe(args: argparse.Namespace, overrides: list[str]) -> None:
    import torch

    from steps.inference.enhancement import Enhancement

    torch.set_num_threads(1)  # a chunk has too little work for several
    Enhancement(args.checkpoint, args.device, overrides).pipe(sys.stdin.buffer, sys.stdout.buffer, args.rate)


def _enhance(args: argparse.Namespace, paths: list[Path], overrides: list[str], out: Path) -> None:
    from steps.inference import enhancement, long_audio  # torch: not needed to find that all is done

    def load() -> enhancement.Enhancement:
        return enhancement.Enhancement(args.checkpoint, args.device, overrides)

    long_audio.convert_share(load, paths, out, args.out, args.subtype, args.job, args.num_jobs)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.enhance_speech", description=__doc__, formatter_class=form)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--out", type=Path, help="directory to write; it appears when it is complete")
    parser.add_argument(
        "--dry", metavar="SHARE|FILE", help="how much of the input to mix back, 0 to 1, or EXP/dry.json (enhance.dry)"
    )
    parser.add_argument("--pipe", action="store_true", help="from standard input to standard output, while it comes")
    parser.add_argument("--rate", type=int, metavar="HZ", help="sampling rate of the pipe, in and out")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("--job", type=int, default=1, help="which share of the recordings, from 1")
    parser.add_argument("--num-jobs", type=int, default=1, help="into how many shares they are split")
    parser.add_argument(
        "--subtype", choices=("FLOAT", "PCM_16", "PCM_24"), default="FLOAT",
        help="of the WAV files; PCM holds nothing above full scale, and an output that goes beyond is turned down",
    )  # fmt: skip
    parser.add_argument("arguments", nargs="*", metavar="FILE|DIRECTORY|KEY=VALUE", help="such as enhance.batch=4")
    return parser


if __name__ == "__main__":
    cli.run(main)
