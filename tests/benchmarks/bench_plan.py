"""How long planning all training mixtures takes, of a list of utterances as long as AISHELL-1's.

  python3 tests/benchmarks/bench_plan.py

Plans 50,000 mixtures of full overlap and 90,000 of partial overlap (rows, gzipped lines and hash; nothing is read but
levels) of 120,098 utterances of 340 speakers, with lengths drawn about AISHELL-1's mean of 4.5 s, in one process.
"""

import random
import tempfile
import time
from pathlib import Path

from steps.data.levels import Level
from steps.data.mixture import read_plan, write_plan
from steps.data.mixture_config import MixtureConfig
from steps.data.mixture_plan import Planner

UTTERANCES, SPEAKERS = 120_098, 340


def utterances() -> list[Level]:
    rng = random.Random(0)
    found = []
    for number in range(UTTERANCES):
        id = f"BAC009S{number % SPEAKERS:04d}W{number // SPEAKERS:04d}"
        samples = int(16000 * max(1.0, rng.gammavariate(9, 0.5)))
        loudness = round(rng.uniform(-40, -20), 2)
        found.append(Level(id, id, id[6:11], samples, 16000, loudness, loudness, 0.5))
    return found


def main() -> None:
    config, levels = MixtureConfig(), utterances()
    start, rows = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, size in config.sets.items():
            planner = Planner(config, 0, kind, "train", levels)
            path = Path(folder) / f"{kind}.jsonl.gz"
            write_plan((planner.row(index) for index in range(size.train)), path)
            plan, rows = read_plan(path), rows + size.train
            print(f"{kind}: {size.train:,} mixtures, {plan.seconds / 3600:.1f} hours, plan {plan.digest()}")
    print(f"{rows:,} mixtures: {time.perf_counter() - start:.1f} s, with writing and reading them again")


if __name__ == "__main__":
    main()
