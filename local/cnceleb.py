"""CN-Celeb 1 and 2 (openslr 82, release v2): 2,793 Chinese celebrities to train on, 196 to verify, eleven genres.

  python3 -m local.cnceleb --download --corpus-dir download/cnceleb
  python3 -m local.cnceleb --corpus-dir download/cnceleb --out-dir data/cnceleb --num-jobs 8

The folder holds CN-Celeb_flac/ and, if there is one, CN-Celeb2_flac/ (without it a warning says what is missing; or
--without-cnceleb2). Their .wav versions are read too: the lists say .wav in either case, and ids have no extension.

train  the speakers of dev/dev.lst and spk.lst, and no others: data/ also holds what test speakers are enrolled from
dev    --dev-speakers of them, held out by --seed, the same on every machine; the corpus has no dev set of its own
test   what eval/lists names: the utterances of trials.lst, each model's constituents (enroll.map, in data/) with ids
       like id00800-enroll-speech-01-001, and each model's one file (eval/enroll), id00800-enroll

enrolments_test.txt, enrolments_concat_test.txt and trials_test.txt.gz say how they are compared. A supervision has no
text, and custom={"genre": "speech", "session": "speech-01"}; a model's one file has the genre of its constituents, or
"mixed". Nothing is combined or cut: short utterances stay, and --min-seconds leaves them out of training only.

All audio is decoded once, which finds what is cut off: at 2,800 times real time on one core where it was measured, so
a thousand hours take some 20 minutes, divided by --num-jobs. --check-audio headers reads only the headers, at 20,000
files a second, and believes them.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from local import command, download, preparation
from local.corpus import Scan, Utterance
from local.problems import Problem, Reason
from local.speaker_choices import Choices, add_options, hold_out
from local.transcripts import read_entries, unique
from local.trials import Verification, read_trials
from utils import cli

FIRST, SECOND = ("CN-Celeb_flac", "CN-Celeb_wav", "CN-Celeb"), ("CN-Celeb2_flac", "CN-Celeb2_wav", "CN-Celeb2")
LISTS = Path("eval/lists")
SUFFIXES = (".flac", ".wav")
URL = "https://www.openslr.org/resources/82"
ARCHIVES = (
    download.Archive("CN-Celeb_flac", (f"{URL}/cn-celeb_v2.tar.gz",), "7ab1b214028a7439e26608b2d5a0336c"),
    download.Archive(
        "CN-Celeb2_flac",
        tuple(f"{URL}/cn-celeb2_v2.tar.gza{part}" for part in "abc"),
        "55c47cf0b6d0bf793e88bf79d5dfc660",
    ),
)
PUBLISHED_MODELS, PUBLISHED_TRIALS = 196, 3_484_292  # 196 x 17,777: a full cross


def utterance_id(name: str) -> str:
    """The id of an audio file of the lists: `test/id00800-vlog-01-002.wav` is id00800-vlog-01-002."""
    return PurePosixPath(name).stem


def session_of(stem: str) -> dict[str, str]:
    """What <genre>-<session>-<utterance> says of an utterance; a genre may have an underscore, never a hyphen."""
    genre, _, rest = stem.partition("-")
    return {"genre": genre, "session": f"{genre}-{rest.partition('-')[0]}"}


def scan(corpus_dir: Path, choices: Choices, with_second: bool = True, name: str = "cnceleb") -> Scan:
    """What CN-Celeb, or a corpus laid out as it is, holds. Raises FileNotFoundError for another layout."""
    root = find_root(corpus_dir)
    second = find_second(corpus_dir) if with_second else None
    result = choices.new_scan(name, corpus_dir, "Chinese", second_part=second is not None)
    files = _listed(root / "dev/dev.lst", root / "data", result.problems)
    if second is not None:
        files += _listed(second / "spk.lst", second / "data", result.problems)
    speakers = {speaker for speaker, _ in files}
    if with_second and second is None:
        logging.warning("%s has no %s: %d speakers to train on, instead of 2,793", corpus_dir, SECOND[0], len(speakers))
    held_out = hold_out(speakers, choices.dev_speakers, choices.seed)
    for speaker, file in files:
        split = "dev" if speaker in held_out else "train"
        id = f"{speaker}-{file.stem}"
        result.utterances.append(Utterance(id, split, speaker, file, custom=session_of(file.stem)))
    _scan_eval(result, root)
    return result


def find_root(corpus_dir: Path) -> Path:
    """The folder of the first part. Raises FileNotFoundError that says what is missing."""
    for root in (corpus_dir / name for name in FIRST):
        if (root / LISTS / "trials.lst").is_file() and (root / "dev/dev.lst").is_file():
            return root
    raise FileNotFoundError(
        f"{corpus_dir} has none of {', '.join(FIRST)} with dev/dev.lst and {LISTS}/trials.lst in it, as in release "
        f"v2 of CN-Celeb; --download gets the corpus."
    )


def find_second(corpus_dir: Path) -> Path | None:
    """The folder of the second part, None when there is none."""
    return next((corpus_dir / name for name in SECOND if (corpus_dir / name / "spk.lst").is_file()), None)


def audio_in(folder: Path) -> list[Path]:
    """Its audio files, sorted; where a recording is there as FLAC and as WAV, the FLAC file."""
    found: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for file in folder.glob(f"*{suffix}"):
            found.setdefault(file.stem, file)
    return [file for _, file in sorted(found.items())]


def _listed(speakers: Path, data: Path, problems: list[Problem]) -> list[tuple[str, Path]]:
    """Each speaker of a list with each of its files; a speaker without any is a problem."""
    result = []
    for speaker, entry in unique(read_entries(speakers, problems), problems).items():
        files = audio_in(data / speaker)
        if not files:
            problems.append(Problem(Reason.MISSING, entry.source, f"{data / speaker} has no audio"))
        result += [(speaker, file) for file in files]
    return result


def _scan_eval(result: Scan, root: Path) -> None:
    """Adds the test split: utterances, enrolments and trials."""
    lists, problems = root / LISTS, result.problems
    trials = read_trials(lists / "trials.lst", problems, labels={"1": True, "0": False}, utterance_id=utterance_id)
    tests = [_test_utterance(root / "eval/test", id) for id in trials.utterances]
    constituents = list(_constituents(root, problems))
    models, genres = defaultdict(list), defaultdict(set)
    for model, utterance in constituents:
        models[model].append(utterance.id)
        genres[model].add(utterance.custom["genre"])
    whole = {}
    for model, entry in unique(read_entries(lists / "enroll.lst", problems), problems).items():
        id, genre = (
            utterance_id(entry.value or model),
            next(iter(genres[model])) if len(genres[model]) == 1 else "mixed",
        )
        file, speaker = _existing(root / "eval/enroll" / id), model.partition("-")[0]
        tests.append(Utterance(id, "test", speaker, file, source=entry.source, custom={"genre": genre}))
        whole[model] = [id]
    once = {utterance.id: utterance for _, utterance in constituents}  # two models may share an utterance
    result.utterances += [*tests, *once.values()]
    result.tests.append(Verification("test", lists / "trials.lst", {"": dict(models), "concat": whole}, trials))
    if result.name == "cnceleb" and (len(models), len(trials)) != (PUBLISHED_MODELS, PUBLISHED_TRIALS):
        found = f"{len(models)} models and {len(trials)} trials"
        logging.warning("%s: %s, published %d and %d", lists, found, PUBLISHED_MODELS, PUBLISHED_TRIALS)


def _test_utterance(folder: Path, id: str) -> Utterance:
    speaker, _, stem = id.partition("-")
    return Utterance(id, "test", speaker, _existing(folder / id), custom=session_of(stem))


def _constituents(root: Path, problems: list[Problem]) -> Iterable[tuple[str, Utterance]]:
    """Each model with each utterance that it is enrolled from; the map has files below data/: <speaker>/<stem>.wav."""
    for model, entry in unique(read_entries(root / LISTS / "enroll.map", problems), problems).items():
        for name in dict.fromkeys((entry.value or "").split()):
            path = PurePosixPath(name)
            file = _existing(root / "data" / path.with_suffix(""))
            id, speaker = f"{model}-{path.stem}", path.parent.name or model.partition("-")[0]
            yield model, Utterance(id, "test", speaker, file, source=entry.source, custom=session_of(path.stem))


def _existing(stem: Path) -> Path:
    """The audio file of that name, whichever its format; the FLAC file where there is none."""
    files = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def prepare(
    corpus_dir: Path,
    out_dir: Path | str,
    on_bad_data: str = "stop",
    num_jobs: int = 1,
    choices: Choices = Choices(),  # noqa: B008 - frozen
    with_second: bool = True,
) -> None:
    """See `local.preparation.prepare`."""
    preparation.prepare(scan(corpus_dir, choices, with_second), out_dir, on_bad_data, num_jobs)


def fetch(corpus_dir: Path, with_second: bool = True) -> None:
    """Downloads and unpacks the parts that are not there."""
    parts = zip(ARCHIVES[: 1 + with_second], (FIRST, SECOND)[: 1 + with_second], strict=True)
    wanted = [archive for archive, names in parts if not any((corpus_dir / name).is_dir() for name in names)]
    if wanted:
        packed = [part.name for archive in wanted for part in archive.parts(Path())]
        command.fetch("CN-Celeb", functools.partial(download.get, wanted), corpus_dir, packed)


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    add_options(parser)
    parser.add_argument("--without-cnceleb2", action="store_true", help="neither download nor use the second part")
    args = parser.parse_args(argv)
    choices, both = Choices.of(args), not args.without_cnceleb2
    command.run(
        args,
        functools.partial(prepare, choices=choices, with_second=both),
        functools.partial(fetch, with_second=both),
    )


if __name__ == "__main__":
    cli.run(main)
