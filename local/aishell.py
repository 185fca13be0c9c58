"""AISHELL-1 (openslr 33): 178 hours of Mandarin, 400 speakers; splits as published.

  python3 -m local.aishell --download --corpus-dir download/aishell
  python3 -m local.aishell --corpus-dir download/aishell --out-dir data/aishell

The folder is the one that holds data_aishell/ and resource_aishell/. Lhotse's recipe downloads it; its
preparation is not used: it skips or stops at bad data, and removes the spaces between the words, which
lexicon-based units need. Its normalisation of the text is kept (see `local.transcripts.normalise`).
"""

from collections.abc import Iterable
from pathlib import Path

from local import command, preparation
from local.corpus import SPLITS, Scan, Utterance
from local.problems import Problem, Reason
from local.transcripts import pair, read_entries, read_lexicon, unique
from utils import cli

TRANSCRIPT = Path("data_aishell/transcript/aishell_transcript_v0.8.txt")
LEXICON = Path("resource_aishell/lexicon.txt")
# The published corpus has 141,925 recordings and 141,600 transcripts; the rest was never transcribed.
PUBLISHED_TRANSCRIPTS, PUBLISHED_UNTRANSCRIBED = 141_600, 325


def scan(corpus_dir: Path, name: str = "aishell") -> Scan:
    """What AISHELL-1, or a corpus laid out as it is, holds. Raises FileNotFoundError for another layout."""
    root = find_root(corpus_dir)
    result = Scan(name, root, language="Chinese")
    texts = unique(read_entries(root / TRANSCRIPT, result.problems), result.problems)
    spoken = [u for split in SPLITS for u in speech_below(root / "data_aishell/wav" / split, split)]
    pair(result, spoken, texts)
    if len(texts) == PUBLISHED_TRANSCRIPTS:
        result.problems = list(_tolerate_untranscribed(result.problems))
    if (root / LEXICON).is_file():
        result.lexicon = read_lexicon(root / LEXICON, result.problems)
    return result


def prepare(corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1) -> None:
    """See `local.preparation.prepare`."""
    preparation.prepare(scan(corpus_dir), out_dir, on_bad_data, num_jobs)


def download(corpus_dir: Path) -> None:
    """Downloads and unpacks the corpus (15 GB packed) unless it is there."""
    from lhotse.recipes import download_aishell  # takes a second to import

    if not (corpus_dir / TRANSCRIPT).is_file():
        archives = ["data_aishell.tgz (and the archives in it)", "resource_aishell.tgz"]
        command.fetch("AISHELL-1", download_aishell, corpus_dir, archives)


def find_root(corpus_dir: Path) -> Path:
    """`corpus_dir`, or the folder aishell/ in it that Lhotse's download makes.

    Raises FileNotFoundError that says what is missing.
    """
    roots = [root for root in (corpus_dir, corpus_dir / "aishell") if (root / TRANSCRIPT).is_file()]
    if not roots:
        raise FileNotFoundError(
            f"{corpus_dir / TRANSCRIPT} does not exist; expected the folder with data_aishell/ and "
            f"resource_aishell/. --download gets the corpus."
        )
    return roots[0]


def speech_below(folder: Path, split: str) -> Iterable[Utterance]:
    """Utterances of the WAV files `folder`/<speaker>/<utterance>.wav, sorted by path.

    Raises FileNotFoundError when there are none, as when the archives inside were not unpacked.
    """
    files = sorted(folder.rglob("*.wav"))
    if not files:
        packed = any(folder.parent.glob("*.tar.gz")) or any(folder.glob("*.tar.gz"))
        way_out = "unpack the .tar.gz archives there, in place" if packed else "is the download complete?"
        raise FileNotFoundError(f"{folder} has no WAV files; {way_out}")
    return (Utterance(file.stem, split, file.parent.name, file) for file in files)


def _tolerate_untranscribed(problems: list[Problem]) -> Iterable[Problem]:
    """Turns what is untranscribed in the corpus as published into one warning."""
    untranscribed = [problem for problem in problems if problem.reason is Reason.UNTRANSCRIBED]
    if 0 < len(untranscribed) <= PUBLISHED_UNTRANSCRIBED:
        detail = f"and {len(untranscribed) - 1} more, as published; left out"
        yield Problem(Reason.UNTRANSCRIBED, untranscribed[0].file, detail, warning=True)
        problems = [problem for problem in problems if problem.reason is not Reason.UNTRANSCRIBED]
    yield from problems


def main(argv: list[str] | None = None) -> None:
    command.run(command.parser(__doc__).parse_args(argv), prepare, download)


if __name__ == "__main__":
    cli.run(main)
