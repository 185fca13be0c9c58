"""Enrol speakers in a gallery file, list them, or take one out.

  python3 -m steps.enroll_speakers --checkpoint EXP/checkpoints/averaged.pt --backend EXP/score/backend \\
    --gallery gallery.npz --speaker NAME a.wav b.wav c.wav
  ... --utt2spk FILE --wav-scp FILE                            many at once, in Kaldi's files
  python3 -m steps.enroll_speakers --gallery gallery.npz --list
  python3 -m steps.enroll_speakers --gallery gallery.npz --remove NAME

Any file that soundfile reads, of one channel, at any rate. Recordings without speech are refused, and so is an
enrolment that seems to hold two voices. Of many speakers those who pass are enrolled, the others are named, and the
exit status is 1. Several processes may write one gallery: they take turns.
"""

import argparse
import logging
from pathlib import Path

from steps.backend import gallery
from utils import cli


def main(argv: list[str] | None = None) -> None:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(gallery.describe(gallery.Gallery.load(args.gallery))))
        return
    if args.remove is not None:
        with gallery.editing(args.gallery) as found:
            found.remove(args.remove)
        logging.info("%s is no longer in %s", args.remove, args.gallery)
        return
    if not (args.checkpoint and args.backend):
        parser.error("--checkpoint and --backend are needed to enrol")
    if (args.speaker is None) == (args.utt2spk is None) or bool(args.files) != (args.speaker is not None):
        parser.error("give --speaker NAME and its files, or --utt2spk and --wav-scp")
    if bool(args.utt2spk) != bool(args.wav_scp):
        parser.error("--utt2spk and --wav-scp go together")
    _enrol(args)


def _enrol(args: argparse.Namespace) -> None:
    from steps.backend import enrolment  # torch: not needed to list or remove
    from steps.backend.recognizer import Recognizer

    if args.utt2spk:
        wanted = enrolment.read_kaldi(args.utt2spk, args.wav_scp)
    else:
        wanted = {args.speaker: enrolment.utterances_of_files(args.files)}
    recognizer = Recognizer(args.checkpoint, args.backend, args.device)
    gallery.check_wanted(args.gallery, list(wanted), recognizer.model_hash, args.replace)
    enrolled, refused = enrolment.enrol_all(recognizer, wanted, args.accept_mixed)
    if enrolled:
        with gallery.editing(args.gallery, recognizer.model_hash, recognizer.backend_hash) as found:
            enrolment.add_all(recognizer, found, enrolled, args.replace)
        logging.info("%s: %d speakers enrolled, %d in all", args.gallery, len(enrolled), len(found.speakers))
    if refused:
        raise ValueError("\n".join(refused))


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.enroll_speakers", description=__doc__, formatter_class=form)
    parser.add_argument("--gallery", type=Path, required=True, help=".npz of speakers, made where there is none")
    parser.add_argument("--checkpoint", type=Path, help="model, as stages 4 and 5 write it")
    parser.add_argument("--backend", type=Path, help="EXP/score/backend, as stage 7 writes it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--speaker", help="name to enrol under")
    what.add_argument("--utt2spk", type=Path, help="lines 'utterance speaker'; needs --wav-scp")
    what.add_argument("--list", action="store_true", help="print name, utterances, seconds of speech and files")
    what.add_argument("--remove", metavar="NAME", help="take a speaker out of the gallery")
    parser.add_argument("--wav-scp", type=Path, help="lines 'utterance path'")
    parser.add_argument("--replace", action="store_true", help="enrol anew who is enrolled already")
    parser.add_argument("--accept-mixed", action="store_true", help="do not look for two voices in an enrolment")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="recordings of --speaker")
    return parser


if __name__ == "__main__":
    cli.run(main)
