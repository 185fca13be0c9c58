"""Say who speaks in recordings: one of a gallery's speakers, or somebody unknown.

  python3 -m steps.identify_speaker --checkpoint EXP/checkpoints/averaged.pt --backend EXP/score/backend \\
    --gallery gallery.npz [--far 0.01 | --fpir 0.01] [--json] x.wav y.wav ...

Prints a line for each file, parted by tabs: the file; the decision (a name, `unknown`, or `no decision: ` and why);
the best name; its log-likelihood ratio (natural logarithm, calibrated); the threshold; seconds of speech; the next best
name and its ratio. A field that there is nothing for is `-`. With --json a line is an object {"file", "decision",
"name", "best", "score", "threshold", "seconds", "second", "second_score", "reason"}: "decision" is accepted, unknown or
none, and what there is nothing for is null.

The exit status is 0 when each file got a decision, 3 when some did not (the others did), 1 for a mistake.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from steps.backend.gallery import Gallery
from utils import cli

UNDECIDED = 3


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    gallery = Gallery.load(args.gallery)
    if not gallery.speakers:
        raise ValueError(f"{args.gallery} holds nobody: enrol speakers with steps.enroll_speakers")
    from steps.backend.recognizer import Recognizer  # torch, which takes seconds to load

    recognizer = Recognizer(args.checkpoint, args.backend, args.device)
    gallery.check_model(recognizer.model_hash, args.gallery)
    if gallery.backend != recognizer.backend_hash:
        logging.warning("%s was made with another back end; scores are those of %s", args.gallery, args.backend)
    if args.fpir is not None:
        threshold = recognizer.decision.for_gallery(args.fpir, len(gallery.speakers))
    else:
        threshold = recognizer.decision.for_pair(args.far)
    answers = []
    for file in args.files:
        answers.append(_identify(recognizer, gallery, file, threshold))
        print(json.dumps(answers[-1], ensure_ascii=False) if args.json else _line(answers[-1]), flush=True)
    if any(answer["decision"] == "none" for answer in answers):
        sys.exit(UNDECIDED)


def _identify(recognizer: Any, gallery: Gallery, file: Path, threshold: float) -> dict[str, Any]:
    answer = dict.fromkeys(("file", "decision", "name", "best", "score", "threshold", "seconds", "second"))
    answer |= {"file": str(file), "decision": "none", "threshold": threshold, "second_score": None, "reason": None}
    try:
        recording = recognizer.listen(file)
        found = recognizer.identify(gallery, recognizer.embedding(recording), threshold)
    except (ValueError, OSError) as error:
        return {**answer, "reason": " ".join(str(error).removeprefix(f"{file}: ").split())}
    return answer | {
        "decision": "accepted" if found.accepted else "unknown",
        "name": found.best if found.accepted else None,
        "best": found.best,
        "score": found.score,
        "seconds": round(recording.seconds, 2),
        "second": found.second,
        "second_score": found.second_score,
    }


def _line(answer: dict[str, Any]) -> str:
    decision = answer["name"] or answer["decision"]
    if answer["decision"] == "none":
        decision = f"no decision: {answer['reason']}"
    numbers = {key: "-" if answer[key] is None else f"{answer[key]:.2f}" for key in ("score", "threshold", "seconds")}
    second = "-" if answer["second"] is None else f"{answer['second']} {answer['second_score']:.2f}"
    return "\t".join([answer["file"], decision, answer["best"] or "-", *numbers.values(), second])


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.identify_speaker", description=__doc__, formatter_class=form)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--backend", type=Path, required=True, help="EXP/score/backend, as stage 7 writes it")
    parser.add_argument("--gallery", type=Path, required=True, help=".npz of steps.enroll_speakers")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--far", type=float, default=0.01, help="probability that a stranger passes as one given speaker")
    rate.add_argument("--fpir", type=float, help="probability that a stranger passes as anybody of the gallery")
    parser.add_argument("--json", action="store_true", help="print an object for each file")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    return parser


if __name__ == "__main__":
    cli.run(main)
