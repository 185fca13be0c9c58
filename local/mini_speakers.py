"""The embedded mini corpus for speaker recognition: synthesised on the spot, laid out as CN-Celeb v2 is.

  python3 -m local.mini_speakers --download --corpus-dir download/mini [--config conf/mini_corpus.yaml] [key=value ...]
  python3 -m local.mini_speakers --corpus-dir download/mini --out-dir data/mini

Speakers are voices of eSpeak NG, and genres recording conditions (`local.mini_speaker_plan`). The keys of the
configuration are those of MiniSpeakersConfig there. The same configuration gives the same bytes, whatever --num-jobs
is. plan.jsonl beside the audio records every random choice.

The second command is CN-Celeb's preparation, with as many speakers held out as the configuration said, and adds
recordings_noise.jsonl.gz and recordings_rir.jsonl.gz from noise/ and rirs/, unless it is --without noise or --without
rir, which leaves room for other recordings. The variants of the held-out speakers are in no training voice as long as
--dev-speakers and --seed stay as they are.
"""

import functools
import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soundfile

from local import cnceleb, command, mini_room, noise, preparation
from local.mini_files import make_room, plan_lines
from local.mini_plan import MiniConfig, Noise, make_noise_plan
from local.mini_rirs import Room, make_rooms
from local.mini_speaker_plan import MiniSpeakersConfig, Spoken, is_second, make_plan
from local.mini_speaker_sound import render
from local.speaker_choices import Choices, add_options
from utils import atomic, cli, config, provenance
from utils.parallel import parallel

SOUND = 1  # raise it when the same plan is to sound different
FIRST, SECOND = Path("CN-Celeb_flac"), Path("CN-Celeb2_flac")
PLAN, NOISE, RIRS = Path("plan.jsonl"), Path("noise"), Path("rirs")


def synthesise(corpus_dir: Path, settings: MiniSpeakersConfig, num_jobs: int = 1) -> None:
    """Makes the corpus, unless it is there. It appears under its name when it is complete, not before.

    Raises ValueError when `corpus_dir` holds something else, and StaleOutputError when it holds a corpus of another
    configuration.
    """
    make_room(corpus_dir, PLAN)
    plan, rooms = make_plan(settings), make_rooms(settings.rirs, settings.seed)
    noises = make_noise_plan(
        MiniConfig(settings.seed, noises=settings.noises, noise_seconds=settings.noise_seconds), plan
    )
    digest = hashlib.sha256("".join(map(plan_lines, (plan, noises, rooms))).encode()).hexdigest()[:16]
    made_from = {**config.to_dict(settings), "plan": digest, "sound": SOUND, "espeak": version("espeakng-loader")}
    with provenance.make(corpus_dir, made_from) as folder:
        if folder is None:
            return
        logging.info("synthesising %d utterances with %d jobs", len(plan), num_jobs)
        for path, items in ((PLAN, plan), (NOISE / "plan.jsonl", noises), (RIRS / "plan.jsonl", rooms)):
            atomic.write_text(folder / path, plan_lines(items))
        _render(folder, settings.seed, [*noises, *rooms, *plan], num_jobs)
        _write_lists(folder, plan)
    logging.info("%s: %d utterances, plan %s", corpus_dir, len(plan), digest)


def prepare(
    corpus_dir: Path,
    out_dir: Path | str,
    on_bad_data: str = "stop",
    num_jobs: int = 1,
    choices: Choices | None = None,
    without: Sequence[str] = (),
) -> None:
    """See `local.preparation.prepare` and `local.noise.prepare`; `choices` are by default the corpus's own.

    `without` may hold "noise" and "rir".
    """
    choices = choices or Choices(dev_speakers=held_out_speakers(corpus_dir))
    preparation.prepare(cnceleb.scan(corpus_dir, choices, name="mini_speakers"), out_dir, on_bad_data, num_jobs)
    for folder, kind in ((NOISE, "noise"), (RIRS, "rir")):
        if kind not in without and noise.find_audio(corpus_dir / folder):
            noise.prepare(corpus_dir / folder, out_dir, on_bad_data, num_jobs, kind)


def held_out_speakers(corpus_dir: Path) -> int:
    """How many training speakers the plan holds out. Raises FileNotFoundError where there is no plan."""
    if not (corpus_dir / PLAN).is_file():
        raise FileNotFoundError(f"{corpus_dir} has no {PLAN}; --download synthesises the corpus")
    with (corpus_dir / PLAN).open(encoding="utf-8") as lines:
        plan = [json.loads(line) for line in lines]
    return len({utterance["speaker"] for utterance in plan if utterance["split"] == "dev"})


def _render(folder: Path, seed: int, items: Sequence[Spoken | Room | Noise], jobs: int) -> None:
    """Writes all audio."""
    for parent in {_file(folder, item).parent for item in items} | {folder / FIRST / "eval/enroll"}:
        parent.mkdir(parents=True, exist_ok=True)
    for _ in parallel(functools.partial(_write_sound, folder, seed), items, jobs):
        pass


def _write_sound(folder: Path, seed: int, item: Spoken | Room | Noise) -> None:
    soundfile.write(_file(folder, item), render(item, seed), mini_room.SAMPLING_RATE, "PCM_16")


def _file(folder: Path, item: Spoken | Room | Noise) -> Path:
    if isinstance(item, Spoken):
        return folder / item.path
    return folder / (NOISE if isinstance(item, Noise) else RIRS) / f"{item.id}.wav"


def _write_lists(folder: Path, plan: Sequence[Spoken]) -> None:
    """What CN-Celeb has besides the utterances: speakers, models with their concatenated audio, and trials."""
    training = dict.fromkeys(item.speaker for item in plan if item.split != "eval")
    constituents, tests = defaultdict(list), []
    for item in plan:
        path = Path(item.path)
        if item.split == "eval" and path.parent.name == "test":
            tests.append((item.speaker, f"test/{path.stem}.wav"))
        elif item.split == "eval":
            constituents[item.speaker].append(path)
    for speaker, paths in constituents.items():
        samples = [soundfile.read(folder / path, dtype="int16")[0] for path in paths]
        whole = folder / FIRST / f"eval/enroll/{speaker}-enroll.flac"
        soundfile.write(whole, np.concatenate(samples), mini_room.SAMPLING_RATE, "PCM_16")
    names = {
        speaker: " ".join(f"{speaker}/{path.stem}.wav" for path in paths) for speaker, paths in constituents.items()
    }
    lists = {
        FIRST / "dev/dev.lst": [speaker for speaker in training if not is_second(speaker)],
        SECOND / "spk.lst": [speaker for speaker in training if is_second(speaker)],
        FIRST / "eval/lists/enroll.lst": [f"{s}-enroll enroll/{s}-enroll.wav" for s in names],
        FIRST / "eval/lists/enroll.map": [f"{s}-enroll {files}" for s, files in names.items()],
        FIRST / "eval/lists/test.lst": [test for _, test in tests],
        FIRST / "eval/lists/trials.lst": [f"{s}-enroll {test} {int(s == own)}" for s in names for own, test in tests],
    }
    for path, lines in lists.items():
        atomic.write_text(folder / path, "".join(f"{line}\n" for line in lines))


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--config", type=Path, help="YAML with the keys of MiniSpeakersConfig; default: its defaults")
    own = ("noise", "rir")
    parser.add_argument("--without", action="append", default=[], choices=own, help="leave its own out")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance speakers=20")
    add_options(parser)
    parser.set_defaults(dev_speakers=None)
    args = parser.parse_args(argv)
    settings = config.load(MiniSpeakersConfig, args.config, args.overrides)

    def prepare_as_chosen(corpus_dir: Path, *rest: str) -> None:
        if args.dev_speakers is None:
            args.dev_speakers = held_out_speakers(corpus_dir)
        prepare(corpus_dir, *rest, choices=Choices.of(args), without=args.without)

    command.run(args, prepare_as_chosen, lambda corpus_dir: synthesise(corpus_dir, settings, args.num_jobs))


if __name__ == "__main__":
    cli.run(main)
