"""Write the audio of a plan: mix, s1, s2 ..., noise as 24-bit FLAC, of which mix is the sum to the last bit."""

import argparse
import contextlib
import functools
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path

from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.render_mixtures", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with plans of steps.simulate_mixtures")
    parser.add_argument("--split", nargs="+", default=["dev", "test"], help="default: dev test")
    parser.add_argument("--num-jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as mixtures.early_seconds=0.1")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    early = config.mixtures.early_seconds
    with contextlib.ExitStack() as stack:
        folders = {}
        for kind, split in itertools.product(config.mixtures.kinds, args.split):
            plan, output = args.data / f"plan_{kind}_{split}.jsonl.gz", args.data / f"mixtures_{kind}_{split}"
            folder = stack.enter_context(provenance.make(output, {"early_seconds": early}, [plan]))
            if folder is not None:
                folders[plan] = folder
        if folders:
            _render(args.data, folders, early, args.num_jobs)


def _render(data: Path, folders: Mapping[Path, Path], early_seconds: float, num_jobs: int) -> None:
    """By one pool of processes, which take longer to start than a small corpus takes them."""
    from steps.data import mixing
    from steps.data.mixture import read_plan
    from utils.parallel import parallel

    rows = []
    for plan, folder in folders.items():
        mixtures = read_plan(plan).mixtures
        for part in mixing.parts_of(mixtures):
            (folder / part).mkdir(parents=True)
        rows += [(folder, mixture) for mixture in mixtures]
    for _ in parallel(functools.partial(mixing.render_to, data, early_seconds), rows, num_jobs):
        pass
    logging.info("%d mixtures rendered", len(rows))


if __name__ == "__main__":
    cli.run(main)
