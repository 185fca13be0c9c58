"""Any folder of noise recordings (WAV, FLAC, OGG, OPUS, MP3; mono; any rate), for augmentation.

  python3 -m local.noise_dir --corpus-dir DIR --out-dir data/aishell

writes data/aishell/recordings_noise.jsonl.gz, which stage 2 turns into features.
"""

from pathlib import Path

from local import command
from local.noise import find_audio, prepare
from utils import cli


def download(corpus_dir: Path) -> None:
    """Nothing to get: raises FileNotFoundError unless `corpus_dir` is a folder with audio."""
    if not find_audio(corpus_dir):
        raise FileNotFoundError(f"{corpus_dir} has no audio files; put recordings of noise there")


def main(argv: list[str] | None = None) -> None:
    command.run(command.parser(__doc__).parse_args(argv), prepare, download)


if __name__ == "__main__":
    cli.run(main)
