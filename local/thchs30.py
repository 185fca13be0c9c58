"""THCHS-30 (openslr 18): 34 hours of Mandarin, 40 speakers; splits as published.

  python3 -m local.thchs30 --download --corpus-dir download/thchs30 --out-dir data/thchs30

The folder is the one that holds data_thchs30/. Lhotse's recipe downloads it; its preparation is not used,
since it skips or stops at bad data. Speakers that the published train and dev sets share are a warning in the
table of stage 1, not an error: then test alone measures unseen speakers.
"""

from collections.abc import Iterable
from pathlib import Path

from local import command, preparation
from local.corpus import SPLITS, Scan, Utterance
from local.problems import Problem
from local.transcripts import Entry, decode, normalise, pair, read_lexicon, read_lines
from utils import cli

DATA = Path("data_thchs30")
LEXICON = DATA / "lm_word/lexicon.txt"


def clean(text: str) -> str:
    """The transcript without the mark ` l =` that some lines carry."""
    return normalise(text.replace(" l =", ""))


def scan(corpus_dir: Path) -> Scan:
    """What the corpus holds. Raises FileNotFoundError for another layout."""
    root = corpus_dir / "thchs" if (corpus_dir / "thchs" / DATA).is_dir() else corpus_dir
    missing = [name for name in ("data", *SPLITS) if not (root / DATA / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"{root / DATA} has no folders {', '.join(missing)}; --download gets the corpus")
    result = Scan("thchs30", root, language="Chinese", shared_speakers=frozenset({("train", "dev")}))
    for split in SPLITS:
        files = sorted((root / DATA / split).glob("*.wav"))
        spoken = [Utterance(file.stem, split, file.stem.partition("_")[0], file) for file in files]
        texts = {entry.key: entry for entry in _texts(root / DATA, split, result.problems)}
        pair(result, spoken, texts, clean)
    if (root / LEXICON).is_file():
        result.lexicon = read_lexicon(root / LEXICON, result.problems)
    return result


def _texts(folder: Path, split: str, problems: list[Problem]) -> Iterable[Entry]:
    """The first line of each transcript of a split: words; the next two are pinyin and phones.

    A split holds for each transcript a link into data/, or a one-line file with the path where systems
    without links unpacked it; so the list of names comes from the split and the text from data/.
    """
    for name in sorted(file.name for file in (folder / split).glob("*.wav.trn")):
        file, id = folder / "data" / name, name.removesuffix(".wav.trn")
        lines = read_lines(file, problems) if file.is_file() else []
        source, line = lines[0] if lines else (str(file), b"")
        yield Entry(id, decode(line, source, id, problems), source)


def prepare(corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1) -> None:
    """See `local.preparation.prepare`."""
    preparation.prepare(scan(corpus_dir), out_dir, on_bad_data, num_jobs)


def download(corpus_dir: Path) -> None:
    """Downloads and unpacks the corpus (6 GB packed) unless it is there."""
    from lhotse.recipes import download_thchs_30  # takes a second to import

    if not (corpus_dir / DATA).is_dir():
        command.fetch("THCHS-30", download_thchs_30, corpus_dir, ["data_thchs30.tgz"])


def main(argv: list[str] | None = None) -> None:
    command.run(command.parser(__doc__).parse_args(argv), prepare, download)


if __name__ == "__main__":
    cli.run(main)
