"""VoxCeleb 1 and 2: celebrities in videos; VoxCeleb2 or VoxCeleb1 to train on, the trials of VoxCeleb1 to verify.

  python3 -m local.voxceleb --corpus-dir DIR --out-dir data/voxceleb --num-jobs 8

There is no download: the audio is given with a password on application, the lists are on the corpus's page. DIR holds
what was unpacked, at most two folders deep: wav/ or aac/ folders with <speaker>/<video>/<utterance>.wav (or .flac) in
them, and, in DIR or DIR/meta,
  veri_test2.txt         trials of VoxCeleb1-O (cleaned), between 40 speakers            -> test
  list_test_hard2.txt    of VoxCeleb1-H (cleaned), if it is there                        -> test_hard
  list_test_all2.txt     of VoxCeleb1-E (cleaned), if it is there                        -> test_all
VoxCeleb2 comes as AAC (.m4a); where this machine's libsndfile does not read it, convert it first.

train  --train voxceleb2 (the default where it is there: its dev part) | voxceleb1 (without the 40) | both
dev    --dev-speakers of them, held out by --seed
test   what the lists name; H and E are of all VoxCeleb1, and are left out where it is trained on

A model is one utterance and has its id, as in enrolments_<test>.txt and trials_<test>.txt.gz. Ids are
<speaker>-<video>-<utterance>; a supervision has no text, and custom={"session": <video>}.
"""

import functools
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import soundfile

from local import command, preparation
from local.corpus import Scan, Utterance
from local.speaker_choices import Choices, add_options, hold_out
from local.trials import Verification, read_trials
from utils import cli

TESTS = {"": "veri_test2.txt", "hard": "list_test_hard2.txt", "all": "list_test_all2.txt"}
TRAIN = ("voxceleb1", "voxceleb2", "both")
ROOMS = ("wav", "aac")
SUFFIXES = (".wav", ".flac", ".m4a")
_SPEAKER = re.compile(r"id(\d{5})")
_FIRST_SPEAKER, _TEST_SPEAKERS = 10_001, range(10_270, 10_310)  # of VoxCeleb1; the numbers of VoxCeleb2 are lower


def scan(corpus_dir: Path, choices: Choices, train: str | None = None) -> Scan:
    """What the folders hold. Raises FileNotFoundError for another layout, ValueError for audio to convert first."""
    folders = find_speakers(corpus_dir)
    first = {speaker for speaker in folders if _number(speaker) >= _FIRST_SPEAKER}
    train = train or ("voxceleb2" if len(first) < len(folders) else "voxceleb1")
    pools = {"voxceleb1": {s for s in first if _number(s) not in _TEST_SPEAKERS}, "voxceleb2": folders.keys() - first}
    speakers = pools["voxceleb1"] | pools["voxceleb2"] if train == "both" else pools[train]
    if not speakers:
        raise FileNotFoundError(f"{corpus_dir} has no speakers of {train} in folders {' or '.join(ROOMS)}")
    result = choices.new_scan("voxceleb", corpus_dir, train=train)
    held_out = hold_out(speakers, choices.dev_speakers, choices.seed)
    for speaker in sorted(speakers):
        split = "dev" if speaker in held_out else "train"
        result.utterances += (_utterance(folder, file, split) for folder, file in _audio_of(folders[speaker]))
    _refuse_unreadable(result.utterances)
    for name, path in find_tests(corpus_dir, train).items():
        _add_test(result, name, path, folders)
    return result


def find_speakers(corpus_dir: Path) -> dict[str, list[Path]]:
    """The folders of each speaker, below wav/ before those below aac/. VoxCeleb2's own test speakers are left out.

    Raises FileNotFoundError when there are none.
    """
    found: dict[str, list[Path]] = {}
    for room in ROOMS:
        for pattern in (room, f"*/{room}", f"*/*/{room}"):
            for folder in sorted(corpus_dir.glob(f"{pattern}/id[0-9]*")):
                inside = folder.relative_to(corpus_dir)
                of_test = any("test" in part.lower() for part in inside.parts)
                if _SPEAKER.fullmatch(folder.name) and not (of_test and _number(folder.name) < _FIRST_SPEAKER):
                    found.setdefault(folder.name, []).append(folder)
    if not found:
        raise FileNotFoundError(
            f"{corpus_dir} has no folders wav/id10001/<video>/ or aac/id00012/<video>/, at most two folders deep; "
            f"expected VoxCeleb as it is unpacked (see python3 -m local.voxceleb --help)"
        )
    return found


def find_tests(corpus_dir: Path, train: str) -> dict[str, Path]:
    """The trial lists by their names. Raises FileNotFoundError without that of VoxCeleb1-O (cleaned)."""
    found = {}
    for name, file in TESTS.items():
        for path in (corpus_dir / file, corpus_dir / "meta" / file):
            if path.is_file():
                found.setdefault(name, path)
    if "" not in found:
        raise FileNotFoundError(
            f"{corpus_dir} has no {TESTS['']}, the cleaned trials of VoxCeleb1-O; fetch it from the corpus's page "
            f"into {corpus_dir}. (veri_test.txt has wrong labels, and results on it are not comparable.)"
        )
    if train != "voxceleb2" and len(found) > 1:
        logging.warning("%s: trained on VoxCeleb1, so its lists of all speakers are left out", corpus_dir)
        found = {"": found[""]}
    return found


def utterance_id(name: str) -> str:
    """The id of a file of the lists: `id10270/x6uYqmx31kE/00001.wav` is id10270-x6uYqmx31kE-00001."""
    return "-".join(PurePosixPath(name).with_suffix("").parts)


def _number(speaker: str) -> int:
    return int(speaker.removeprefix("id"))


def _audio_of(folders: Sequence[Path]) -> Iterable[tuple[Path, Path]]:
    """The audio files of a speaker with its folder; of a recording in several formats the first of SUFFIXES."""
    found: dict[Path, tuple[Path, Path]] = {}
    for suffix in SUFFIXES:
        for folder in folders:
            for file in folder.glob(f"*/*{suffix}"):
                found.setdefault(file.relative_to(folder).with_suffix(""), (folder, file))
    return (pair for _, pair in sorted(found.items()))


def _utterance(folder: Path, file: Path, split: str) -> Utterance:
    id = utterance_id(file.relative_to(folder.parent).as_posix())
    return Utterance(id, split, folder.name, file, custom={"session": file.parent.name})


def _refuse_unreadable(utterances: Sequence[Utterance]) -> None:
    """Raises ValueError where there is AAC and it cannot be read: a million lines of bad data say no more."""
    packed = next((utterance.audio for utterance in utterances if utterance.audio.suffix == ".m4a"), None)
    if packed is not None:
        try:
            soundfile.info(packed)
        except soundfile.LibsndfileError as error:
            script = 'ffmpeg -i "$1" -ar 16000 -ac 1 "${1%.m4a}.flac"'
            raise ValueError(
                f"{packed} is AAC, which cannot be read here ({error}). Convert each .m4a beside itself: "
                f"find {packed.parents[2]} -name '*.m4a' -exec sh -c '{script}' sh {{}} \\;"
            ) from error


def _add_test(result: Scan, name: str, path: Path, folders: dict[str, list[Path]]) -> None:
    """Adds a list's trials, and the utterances that no other list has added."""
    known = {utterance.id for utterance in result.utterances if utterance.split == "test"}
    names: dict[str, str] = {}

    def to_id(word: str) -> str:
        id = utterance_id(word)
        names[id] = word
        return id

    labels = {"1": True, "0": False}
    trials = read_trials(path, result.problems, (1, 2, 0), labels, to_id, to_id)
    for id, word in sorted(names.items()):
        if id not in known:
            inside = PurePosixPath(word)
            roots = folders.get(inside.parts[0], [result.folder / "wav" / inside.parts[0]])
            stems = [root.joinpath(*inside.with_suffix("").parts[1:]) for root in roots]
            files = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES for stem in stems]
            file = next((file for file in files if file.is_file()), files[0])
            custom = {"session": inside.parent.name}
            result.utterances.append(Utterance(id, "test", inside.parts[0], file, custom=custom))
    enrolments = {model: [model] for model in trials.models}
    result.tests.append(Verification("test", path, {"": enrolments}, trials, name))


def prepare(
    corpus_dir: Path,
    out_dir: Path | str,
    on_bad_data: str = "stop",
    num_jobs: int = 1,
    choices: Choices = Choices(),  # noqa: B008 - frozen
    train: str | None = None,
) -> None:
    """See `local.preparation.prepare`."""
    preparation.prepare(scan(corpus_dir, choices, train), out_dir, on_bad_data, num_jobs)


def fetch(corpus_dir: Path) -> None:
    """Raises ValueError: the corpus cannot be downloaded."""
    if not corpus_dir.is_dir():
        raise ValueError(
            "VoxCeleb is given with a password on application; pass the folder with the unpacked audio and the trial "
            "lists as --corpus-dir (see python3 -m local.voxceleb --help)"
        )


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    add_options(parser)
    parser.add_argument("--train", choices=TRAIN, help="what to train on (default: voxceleb2 if it is there)")
    args = parser.parse_args(argv)
    command.run(args, functools.partial(prepare, choices=Choices.of(args), train=args.train), fetch)


if __name__ == "__main__":
    cli.run(main)
