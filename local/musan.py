"""MUSAN (openslr 17): music, speech and noise for augmentation.

  python3 -m local.musan --download --corpus-dir download/musan --out-dir data/aishell

writes data/aishell/recordings_noise.jsonl.gz with all three parts. The folder is the one that holds music/, speech/ and
noise/. Lhotse's recipe downloads it; its preparation is not used, since it stops at the first broken file.
"""

from pathlib import Path

from local import command, noise
from utils import cli

PARTS = ("music", "noise", "speech")


def prepare(corpus_dir: Path, out_dir: Path | str, on_bad_data: str = "stop", num_jobs: int = 1) -> None:
    """See `local.noise.prepare`. Raises FileNotFoundError when a part of MUSAN is missing."""
    root = find_root(corpus_dir)
    missing = [part for part in PARTS if not (root / part).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{corpus_dir} has no {', '.join(missing)}; expected the folders {', '.join(PARTS)} of MUSAN there. "
            f"For noise of another origin: python3 -m local.noise_dir"
        )
    noise.prepare(root, out_dir, on_bad_data, num_jobs)


def find_root(corpus_dir: Path) -> Path:
    """`corpus_dir`, or the folder musan/ in it that unpacking the archive makes."""
    return corpus_dir / "musan" if (corpus_dir / "musan").is_dir() else corpus_dir


def download(corpus_dir: Path) -> None:
    """Downloads and unpacks MUSAN unless it is there."""
    from lhotse.recipes import download_musan  # takes a second to import

    if not all((find_root(corpus_dir) / part).is_dir() for part in PARTS):
        command.fetch("MUSAN", download_musan, corpus_dir, ["musan.tar.gz"])


def main(argv: list[str] | None = None) -> None:
    command.run(command.parser(__doc__).parse_args(argv), prepare, download)


if __name__ == "__main__":
    cli.run(main)
