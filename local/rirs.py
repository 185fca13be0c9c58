"""Room impulse responses for augmentation: openslr 28 (RIRS_NOISES), 60,000 simulated ones and those of real rooms, or
any folder of recordings, each of which is a response.

  python3 -m local.rirs --download --corpus-dir download/rirs --out-dir data/cnceleb

writes data/cnceleb/recordings_rir.jsonl.gz. Of RIRS_NOISES the folder is the one that holds simulated_rirs/ and
real_rirs_isotropic_noises/, or the one above it (RIRS_NOISES/). --parts takes one of the two only. Responses of several
microphones keep their channels: read the first of them. --pointsource-noises writes recordings_noise.jsonl.gz too,
from the sounds that lie beside the responses; they are a part of MUSAN, so with local.musan leave them out.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from local import command, download, noise
from utils import cli

TOP = "RIRS_NOISES"
PARTS = {"simulated": "simulated_rirs", "real": "real_rirs_isotropic_noises"}
NOISES = "pointsource_noises"
ARCHIVE = download.Archive(
    TOP, ("https://www.openslr.org/resources/28/rirs_noises.zip",), "e6f48e257286e05de56413b4779d8ffb"
)


def prepare(
    corpus_dir: Path,
    out_dir: Path | str,
    on_bad_data: str = "stop",
    num_jobs: int = 1,
    parts: Sequence[str] = tuple(PARTS),
    noises: bool = False,
) -> None:
    """See `local.noise.prepare`. Raises FileNotFoundError when a part of RIRS_NOISES is missing."""
    root = find_root(corpus_dir)
    published = noises or any((root / name).is_dir() for name in (*PARTS.values(), NOISES))
    if not published and (own := noise.find_audio(root)):
        noise.prepare(root, out_dir, on_bad_data, num_jobs, "rir", own)
        return
    wanted = [PARTS[part] for part in parts] + [NOISES] * noises
    missing = [name for name in wanted if not (root / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{root} has no {', '.join(missing)}; expected the folders of {TOP} there. --download gets them, and "
            f"--parts ({', '.join(PARTS)}) says which are wanted."
        )
    responses = [file for part in parts for file in noise.find_audio(root / PARTS[part]) if is_response(file)]
    noise.prepare(root, out_dir, on_bad_data, num_jobs, "rir", sorted(responses))
    if noises:
        noise.prepare(root / NOISES, out_dir, on_bad_data, num_jobs)


def is_response(file: Path) -> bool:
    """Whether it is an impulse response; the real ones lie among noises of the same rooms, which are named so."""
    return "noise" not in file.stem.lower()


def find_root(corpus_dir: Path) -> Path:
    """`corpus_dir`, or the folder in it that unpacking the archive makes."""
    return corpus_dir / TOP if (corpus_dir / TOP).is_dir() else corpus_dir


def fetch(corpus_dir: Path) -> None:
    """Downloads and unpacks the responses unless one of their folders is there."""
    if not any((find_root(corpus_dir) / part).is_dir() for part in PARTS.values()):
        get = functools.partial(download.get, [ARCHIVE])
        command.fetch(TOP, get, corpus_dir, [part.name for part in ARCHIVE.parts(Path())])


def main(argv: list[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="default: both")
    parser.add_argument("--pointsource-noises", action="store_true", help="write recordings_noise.jsonl.gz too")
    args = parser.parse_args(argv)
    command.run(args, functools.partial(prepare, parts=args.parts, noises=args.pointsource_noises), fetch)


if __name__ == "__main__":
    cli.run(main)
