"""Your own speech, as Kaldi data directories: DIR/train, DIR/dev and DIR/test.

Each of the three holds
  wav.scp   utterance-id path              (WAV or FLAC, 16 kHz, mono)
  text      utterance-id words of the transcript
  utt2spk   utterance-id speaker-id        (a speaker is in one of the three only)
  segments  utterance-id recording-id start end     optional, in seconds; wav.scp then names recordings
and, where speakers are to be verified, dev and test may hold (without them trials are drawn later)
  enrolments  model-id utterance-id [utterance-id ...]
  trials      model-id utterance-id target|nontarget       (without enrolments a model is the utterance of that id)

With --without-text, for tasks that need no transcripts, text may be missing, or lack utterances. Files are UTF-8. A
relative path is looked for below DIR, then below DIR/<split>; paths may hold spaces and any letters. A command in
wav.scp (`... |`) is not run, except that `cat FILE |` and `flac -c -d -s FILE |` are read as FILE. DIR/lexicon.txt
(word phone phone ...) is used when it is there. Other files are ignored.

  python3 -m local.kaldi_dir --corpus-dir DIR --out-dir data/mine
  python3 -m local.kaldi_dir --export data/mine --split test --corpus-dir OUT     writes OUT/test for Kaldi
"""

import functools
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from local import command, preparation
from local.corpus import SPLITS, Scan, Utterance
from local.problems import Problem, Reason
from local.transcripts import Entry, pair, read_entries, read_lexicon, unique
from local.trials import Verification, read_trials
from utils import cli

FILES = ("wav.scp", "text", "utt2spk")
_HAN = re.compile("[\u3400-\u9fff]")
_FLAC_TO_STDOUT = re.compile("-[cds]+")


def scan(corpus_dir: Path, with_text: bool = True) -> Scan:
    """What the directories hold. Raises FileNotFoundError that lists every file that is missing."""
    download(corpus_dir, with_text)
    result = Scan("kaldi_dir", corpus_dir, transcribed=with_text)
    for split in SPLITS:
        _scan_split(result, split)
        if split != "train":
            result.tests += _tests(result, split)
    if (corpus_dir / "lexicon.txt").is_file():
        result.lexicon = read_lexicon(corpus_dir / "lexicon.txt", result.problems)
    if any(_HAN.search(utterance.text or "") for utterance in result.utterances):
        result.language = "Chinese"
    return result


def prepare(
    corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1, with_text: bool = True
) -> None:
    """See `local.preparation.prepare`. Transcripts stay as they are, but for white space."""
    preparation.prepare(scan(corpus_dir, with_text), out_dir, on_bad_data, num_jobs)


def download(corpus_dir: Path, with_text: bool = True) -> None:
    """There is nothing to get: raises FileNotFoundError unless the files are there, naming those that are not."""
    wanted = [Path(split) / name for split in SPLITS for name in FILES if with_text or name != "text"]
    missing = [str(path) for path in wanted if not (corpus_dir / path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{corpus_dir} lacks {', '.join(missing)}; expected train/, dev/ and test/ in it, each with "
            f"{', '.join(FILES if with_text else ('wav.scp', 'utt2spk'))} (see python3 -m local.kaldi_dir --help)"
        )


def _scan_split(result: Scan, split: str) -> None:
    folder, problems = result.folder / split, result.problems
    table = {
        name: unique(read_entries(folder / name, problems), problems)
        for name in (*FILES, "segments")
        if (folder / name).is_file()
    }
    files = {key: _audio_path(entry, result.folder, split, problems) for key, entry in table["wav.scp"].items()}
    spoken = []
    for key, entry in table.get("segments", table["wav.scp"]).items():
        speaker = table["utt2spk"].get(key)
        if speaker is None or not speaker.value:
            problems.append(Problem(Reason.NO_SPEAKER, f"{folder / 'utt2spk'}", f"'{key}' has none", key))
        utterance = Utterance(key, split, (speaker and speaker.value) or "", Path(), source=entry.source)
        located = _segment(utterance, entry, problems) if "segments" in table else True
        audio = files.get(utterance.recording)
        if located and audio is not None:
            utterance.audio = audio
            spoken.append(utterance)
        elif located and utterance.recording not in files:
            detail = f"'{utterance.recording}' is not in {folder / 'wav.scp'}"
            problems.append(Problem(Reason.MISSING, entry.source, detail, key))
    there, explained = {utterance.id for utterance in spoken}, {problem.utterance for problem in problems}
    texts = {key: entry for key, entry in table.get("text", {}).items() if key in there or key not in explained}
    if result.transcribed:
        pair(result, spoken, texts, _single_spaces)
        return
    for utterance in spoken:
        entry = texts.get(utterance.id)
        utterance.text = _single_spaces(entry.value) or None if entry and entry.value else None
    result.utterances += spoken


def _single_spaces(text: str) -> str:
    return " ".join(text.split())


def _tests(result: Scan, split: str) -> Iterable[Verification]:
    """The verification test that the files enrolments and trials of a split define, if they are there."""
    folder, problems = result.folder / split, result.problems
    listed, against = folder / "enrolments", folder / "trials"
    trials = read_trials(against, problems) if against.is_file() else None
    if listed.is_file():
        models = unique(read_entries(listed, problems), problems)
        enrolments = {model: list(dict.fromkeys((entry.value or "").split())) for model, entry in models.items()}
    elif trials is not None:
        enrolments = {model: [model] for model in trials.models}
    else:
        return
    yield Verification(split, listed if listed.is_file() else against, {"": enrolments}, trials)


def _audio_path(entry: Entry, corpus_dir: Path, split: str, problems: list[Problem]) -> Path | None:
    """The file that a line of wav.scp names, whether or not it exists; None after reporting why there is none."""
    name = entry.value
    if name is None:
        return None
    if not name:
        problems.append(Problem(Reason.MALFORMED, entry.source, "expected an id and a path", entry.key))
        return None
    if name.endswith("|"):
        file = _file_of_command(name[:-1])
        if file is None:
            problems.append(Problem(Reason.COMMAND, entry.source, name, entry.key))
            return None
        name = file
    below_split = corpus_dir / split / name
    return below_split if below_split.is_file() and not (corpus_dir / name).is_file() else corpus_dir / name


def _file_of_command(words: str) -> str | None:
    """FILE of `cat FILE` and `flac -c -d -s FILE`, None for any other command."""
    try:
        program, *arguments = shlex.split(words)
    except ValueError:
        return None
    files = [word for word in arguments if not (program == "flac" and _FLAC_TO_STDOUT.fullmatch(word))]
    if program in ("cat", "flac") and len(files) == 1 and not files[0].startswith("-"):
        return files[0]
    return None


def _segment(utterance: Utterance, entry: Entry, problems: list[Problem]) -> bool:
    """Sets recording, start and end from a line of segments; False after reporting that it has none."""
    try:
        utterance.recording, start, end = (entry.value or "").split()
        utterance.start, utterance.end = float(start), float(end)
    except ValueError:
        if entry.value is not None:
            detail = "expected: utterance-id recording-id start end"
            problems.append(Problem(Reason.MALFORMED, entry.source, detail, utterance.id))
        return False
    if utterance.end < 0:  # Kaldi's -1: to the end of the recording
        utterance.end = None
    return True


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--export", type=Path, metavar="DATA", help="write data/<corpus> out for Kaldi instead")
    parser.add_argument("--split", choices=SPLITS, help="with --export: this split only")
    parser.add_argument("--without-text", action="store_true", help="transcripts need not be there")
    args = parser.parse_args(argv)
    if args.export is None:
        with_text = not args.without_text
        prepare_it, check_it = (functools.partial(function, with_text=with_text) for function in (prepare, download))
        command.run(args, prepare_it, check_it)
    elif args.corpus_dir is None:
        raise ValueError("--export needs --corpus-dir OUT, the directory to write train/, dev/ and test/ to")
    else:
        from local import kaldi_export  # Lhotse and torch take seconds

        kaldi_export.export(args.export, args.corpus_dir, [args.split] if args.split else SPLITS)


if __name__ == "__main__":
    cli.run(main)
