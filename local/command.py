"""The command line that all corpus modules share: `python3 -m local.<corpus> --corpus-dir DIR ...`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of stage 0 (`--download`) and stage 1 (`--out-dir`)."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--corpus-dir", type=Path, help="where the corpus lies, or is to be put")
    result.add_argument("--out-dir", type=Path, help="where the manifests go, for instance data/aishell")
    result.add_argument("--download", action="store_true", help="get the corpus if it is not there (stage 0)")
    result.add_argument(
        "--on-bad-data",
        choices=("stop", "skip"),
        default="stop",
        help="stop at bad data after reporting all of it (default), or leave it out and list it in bad_data.tsv",
    )
    result.add_argument("--num-jobs", type=int, default=1, help="processes that read audio (default 1)")
    return result


def run(
    args: argparse.Namespace,
    prepare: Callable[[Path, Path, str, int], None],
    download: Callable[[Path], None],
) -> None:
    """Downloads when asked to, then prepares when there is an output directory. Raises ValueError for neither."""
    if args.corpus_dir is None or not (args.download or args.out_dir):
        raise ValueError("--corpus-dir DIR is needed, with --download, or --out-dir DIR, or both; see --help")
    if args.num_jobs < 1:
        raise ValueError(f"--num-jobs is {args.num_jobs}, expected 1 or more")
    if args.download:
        download(args.corpus_dir)
    if args.out_dir:
        prepare(args.corpus_dir, args.out_dir, args.on_bad_data, args.num_jobs)


def fetch(name: str, function: Callable[[Path], object], corpus_dir: Path, archives: Sequence[str]) -> None:
    """Calls one of Lhotse's download functions, which resume a broken download and mark a complete one.

    Raises OSError that names the way round it when there is no network.
    """
    try:
        function(corpus_dir)
    except (OSError, EOFError) as error:
        raise OSError(
            f"{name} could not be downloaded: {error}. Run the stage again to resume, or unpack "
            f"{' and '.join(archives)} yourself and pass the folder as --corpus-dir."
        ) from error
