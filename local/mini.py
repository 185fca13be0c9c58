"""The embedded mini corpus: Mandarin synthesised on the spot, laid out as AISHELL-1 is.

  python3 -m local.mini --download --corpus-dir download/mini [--config conf/mini_corpus.yaml] [key=value ...]
  python3 -m local.mini --corpus-dir download/mini --out-dir data/mini

Sentences of a small grammar (`local.mini_text`) are spoken by eSpeak NG's voices (`local.mini_voices`) in light
rooms with noise (`local.mini_room`); voices and sentences are disjoint between the splits. The keys of the
configuration are those of MiniConfig in `local.mini_plan`. The same configuration gives the same bytes, whatever
--num-jobs is. plan.jsonl beside the audio records every random choice.

The second command is AISHELL-1's preparation, and adds recordings_noise.jsonl.gz from the corpus's own noise, unless it
is --without noise, which leaves room for other recordings.
"""

import functools
import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import soundfile

from local import aishell, command, mini_room, noise, preparation
from local.mini_files import make_room, plan_lines
from local.mini_lexicon import lexicon
from local.mini_plan import MiniConfig, Noise, Recording, make_noise_plan, make_plan
from local.mini_sound import render
from local.mini_text import vocabulary
from utils import atomic, cli, config, provenance
from utils.parallel import parallel

SOUND = 1  # raise it when the same plan is to sound different
NOISE = Path("noise")


def synthesise(corpus_dir: Path, settings: MiniConfig, num_jobs: int = 1) -> None:
    """Makes the corpus, unless it is there. It appears under its name when it is complete, not before.

    Raises ValueError when `corpus_dir` holds something else, and StaleOutputError when it holds a mini corpus
    of another configuration.
    """
    make_room(corpus_dir, aishell.TRANSCRIPT)
    plan = make_plan(settings)
    noises = make_noise_plan(settings, plan)
    made_from = {**config.to_dict(settings), "plan": _digest(plan, noises), "sound": SOUND}
    made_from["espeak"] = version("espeakng-loader")
    with provenance.make(corpus_dir, made_from) as folder:
        if folder is None:
            return
        logging.info("synthesising %d utterances with %d jobs", len(plan), num_jobs)
        _write_texts(folder, plan, noises)
        _render(folder, settings, plan, noises, num_jobs)
    logging.info("%s: %d utterances, plan %s", corpus_dir, len(plan), made_from["plan"])


def prepare(
    corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1, without: Sequence[str] = ()
) -> None:
    """See `local.preparation.prepare` and `local.noise.prepare`; `without` may hold "noise"."""
    preparation.prepare(aishell.scan(corpus_dir, "mini"), out_dir, on_bad_data, num_jobs)
    if (corpus_dir / NOISE).is_dir() and "noise" not in without:
        noise.prepare(corpus_dir / NOISE, out_dir, on_bad_data, num_jobs)


def _write_texts(folder: Path, plan: Sequence[Recording], noises: Sequence[Noise]) -> None:
    """Transcripts, lexicon, speakers and plans."""
    genders = {recording.speaker.removeprefix("S"): recording.voice.gender for recording in plan}
    atomic.write_text(folder / aishell.TRANSCRIPT, "".join(f"{r.id} {r.text}\n" for r in plan))
    atomic.write_text(folder / aishell.LEXICON, "\n".join(lexicon(vocabulary())) + "\n")
    speakers = "".join(f"{speaker} {gender}\n" for speaker, gender in genders.items())
    atomic.write_text(folder / "resource_aishell/speaker.info", speakers)
    atomic.write_text(folder / "plan.jsonl", plan_lines(plan))
    atomic.write_text(folder / NOISE / "plan.jsonl", plan_lines(noises))


def _digest(plan: Sequence[Recording], noises: Sequence[Noise]) -> str:
    """Changes with the grammar, the pronunciations and the voices, which the configuration does not show."""
    content = plan_lines(plan) + plan_lines(noises) + "\n".join(lexicon(vocabulary()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _render(folder: Path, settings: MiniConfig, plan: Sequence[Recording], noises: Sequence[Noise], jobs: int) -> None:
    """Writes all audio."""
    items = [*noises, *plan]
    for parent in {_file(folder, item).parent for item in items}:
        parent.mkdir(parents=True, exist_ok=True)
    for _ in parallel(functools.partial(_write_sound, folder, settings.seed), items, jobs):
        pass


def _write_sound(folder: Path, seed: int, item: Recording | Noise) -> None:
    soundfile.write(_file(folder, item), render(item, seed), mini_room.SAMPLING_RATE, "PCM_16")


def _file(folder: Path, item: Recording | Noise) -> Path:
    if isinstance(item, Noise):
        return folder / NOISE / f"{item.id}.wav"
    return folder / "data_aishell/wav" / item.split / item.speaker / f"{item.id}.wav"


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--config", type=Path, help="YAML with the keys of MiniConfig; without it its defaults")
    parser.add_argument("--without", action="append", default=[], choices=("noise",), help="leave its own out")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance train.voices=10")
    args = parser.parse_args(argv)
    settings = config.load(MiniConfig, args.config, args.overrides)
    prepare_it = functools.partial(prepare, without=args.without)
    command.run(args, prepare_it, lambda corpus_dir: synthesise(corpus_dir, settings, args.num_jobs))


if __name__ == "__main__":
    cli.run(main)
