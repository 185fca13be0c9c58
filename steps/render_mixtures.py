"""Write the audio of a plan: mix, s1, s2 ..., noise as 24-bit FLAC, of which mix is the sum to the last bit."""

import argparse
import functools
import logging
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
    for kind in config.mixtures.sets:
        for split in args.split:
            plan, output = args.data / f"plan_{kind}_{split}.jsonl.gz", args.data / f"mixtures_{kind}_{split}"
            early = config.mixtures.early_seconds
            with provenance.make(output, {"early_seconds": early}, [plan]) as folder:
                if folder is not None:
                    _render(plan, args.data, split, folder, early, args.num_jobs)
                    logging.info("%s is rendered", output)


def _render(plan: Path, data: Path, split: str, folder: Path, early_seconds: float, num_jobs: int) -> None:
    from steps.data import mixing
    from steps.data.mixture import read_plan
    from utils.parallel import parallel

    mixtures = read_plan(plan).mixtures
    for part in mixing.parts_of(mixtures):
        (folder / part).mkdir(parents=True)
    write = functools.partial(mixing.render_to, data, split, early_seconds, folder)
    for _ in parallel(write, mixtures, num_jobs):
        pass


if __name__ == "__main__":
    cli.run(main)
