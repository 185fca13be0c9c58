"""What a directory of data offers to mixtures: its utterances, noises and rooms, and their levels."""

from collections.abc import Iterable
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from steps.data.archives import whole_recordings
from steps.data.levels import Level, pieces, read_levels
from steps.data.mixture import Plan, read_plan
from steps.data.mixture_config import MixtureConfig
from steps.data.mixture_plan import Planner

NOISE, ROOMS = "recordings_noise.jsonl.gz", "recordings_rir.jsonl.gz"


def levels_file(folder: Path, name: str) -> Path:
    """Of a split's utterances, or with "noise" of the noises."""
    return folder / f"levels_{name}.jsonl.gz"


def plan_file(folder: Path, kind: str, split: str) -> Path:
    """The plan of a set and split."""
    return folder / f"plan_{kind}_{split}.jsonl.gz"


def noise_pieces(folder: Path) -> list[Cut]:
    """Pieces of the noise recordings; none where there are no recordings."""
    return list(pieces(whole_recordings(folder / NOISE)))


def sound_cuts(folder: Path, split: str) -> dict[str, Cut]:
    """Everything that mixtures of a split may hold, by id: utterances, pieces of noise, impulse responses."""
    cuts = list(CutSet.from_jsonl(folder / f"cuts_{split}.jsonl.gz").to_eager())
    return {cut.id: cut for cut in [*cuts, *noise_pieces(folder), *whole_recordings(folder / ROOMS)]}


def make_planner(config: MixtureConfig, seed: int, folder: Path, kind: str, split: str) -> Planner:
    """Raises FileNotFoundError for missing levels, ValueError for too few speakers, noises or rooms."""
    noises: list[Level] = []
    if kind == "noisy" or config.noise_prob > 0:
        if not (folder / NOISE).is_file():
            raise FileNotFoundError(f"{folder / NOISE} does not exist: give a folder of noises with --noise-dir")
        noises = read_levels([levels_file(folder, "noise")])
    if config.room_prob > 0 and not (folder / ROOMS).is_file():
        raise FileNotFoundError(f"{folder / ROOMS} does not exist: give impulse responses with --rir-dir")
    rooms = [cut.id for cut in whole_recordings(folder / ROOMS)] if config.room_prob > 0 else []
    return Planner(config, seed, kind, split, read_levels([levels_file(folder, split)]), noises, rooms)


def read_plans(folder: Path, kinds: Iterable[str], split: str) -> list[Plan]:
    """The plans of several sets."""
    return [read_plan(plan_file(folder, kind, split)) for kind in kinds]
