"""Separate or enhance recordings with an exported model; needs onnxruntime, numpy and soundfile, but no torch.

  python3 -m steps.run_onnx --model EXP/model.onnx --out DIR a.wav b.flac

Writes DIR/<stem>_1.wav, <stem>_2.wav ... of a model of separation, DIR/<stem>_1.wav of one that extracts a talker, and
DIR/<stem>.wav of one that enhances. Recordings have one channel and the model's sampling rate, and are taken whole.
"""

import argparse
import logging
import time
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.run_onnx", description=__doc__, formatter_class=form)
    parser.add_argument("--model", type=Path, required=True, help="what steps.export_onnx wrote, in float32 or 8 bits")
    parser.add_argument("--out", type=Path, required=True, help="directory to write; it appears when it is complete")
    parser.add_argument("--enrolment", type=Path, metavar="NPY", help="embedding (E,) of the talker to be extracted")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use (default 1)")
    parser.add_argument("--most-minutes", type=float, default=5.0, help="of one recording (default 5)")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    args = parser.parse_args(argv)
    if args.threads < 1 or args.most_minutes <= 0:
        parser.error("--threads is 1 or more, --most-minutes above 0")

    inputs = [args.model, *([args.enrolment] if args.enrolment else []), *args.files]
    with provenance.make(args.out, {"files": args.files}, inputs) as out:
        if out is not None:
            from steps.export import runner

            out.mkdir()
            separator = runner.OnnxSeparator(args.model, args.threads, args.enrolment)
            start = time.perf_counter()
            seconds = runner.run_files(separator, args.files, out, args.most_minutes)
            factor = (time.perf_counter() - start) / seconds
            said = (args.out, len(args.files), seconds, factor, args.threads)
            logging.info("%s: %d files, %.1f s of audio; real-time factor %.4f with %d threads", *said)


if __name__ == "__main__":
    cli.run(main)
