"""AISHELL-2: 1,000 hours of Mandarin read into iOS phones; dev and test of the iOS channel.

  python3 -m local.aishell2 --corpus-dir DIR --out-dir data/aishell2

The folder is the one that holds iOS/data, iOS/dev and iOS/test, each with trans.txt and wav/<speaker>/, or the
one above it (AISHELL-2/). The corpus is given on application (aishelltech.com/aishell_2), so there is no
download. Lhotse's recipe has no switch for bad data and is not used; the text is normalised as it does.
"""

import re
from pathlib import Path

from local import command, preparation
from local.aishell import speech_below
from local.corpus import Scan
from local.transcripts import normalise, pair, read_entries, unique
from utils import cli

FOLDERS = {"train": "iOS/data", "dev": "iOS/dev", "test": "iOS/test"}
_APOSTROPHE_AFTER_HAN = re.compile("(?<=[\u4e00-\u9fff])'")
_SYMBOLS = str.maketrans({"𫖯": "頫", "，": "", "?": "", "-": " "})


def clean(text: str) -> str:
    """The transcript without punctuation; an apostrophe stays in English words and goes after Chinese ones."""
    return normalise(_APOSTROPHE_AFTER_HAN.sub("", text.translate(_SYMBOLS)))


def scan(corpus_dir: Path) -> Scan:
    """What the corpus holds. Raises FileNotFoundError for another layout."""
    nested = corpus_dir / "AISHELL-2"
    root = nested if nested.is_dir() else corpus_dir
    missing = [str(root / folder) for folder in FOLDERS.values() if not (root / folder / "trans.txt").is_file()]
    if missing:
        raise FileNotFoundError(f"no trans.txt in {', '.join(missing)}; expected trans.txt and wav/ in each")
    result = Scan("aishell2", root, language="Chinese")
    for split, folder in FOLDERS.items():
        texts = unique(read_entries(root / folder / "trans.txt", result.problems), result.problems)
        pair(result, list(speech_below(root / folder / "wav", split)), texts, clean)
    return result


def prepare(corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1) -> None:
    """See `local.preparation.prepare`."""
    preparation.prepare(scan(corpus_dir), out_dir, on_bad_data, num_jobs)


def download(corpus_dir: Path) -> None:
    """Raises ValueError: the corpus cannot be downloaded."""
    if not corpus_dir.is_dir():
        raise ValueError("AISHELL-2 is given on application; pass the folder that you were given as --corpus-dir")


def main(argv: list[str] | None = None) -> None:
    command.run(command.parser(__doc__).parse_args(argv), prepare, download)


if __name__ == "__main__":
    cli.run(main)
