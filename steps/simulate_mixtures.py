"""Plan mixtures: one row for each, with utterances, start samples, offsets, gains, noise and rooms, and no audio.

Writes DATA/plan_<set>_<split>.jsonl.gz for the sets of the configuration's `mixtures.sets`. Row i depends on the seed,
the split, the set and i alone. Prints the hours, and a hash of each plan that is the same on every machine.
"""

import argparse
from pathlib import Path

from steps.tasks.config import load_config
from utils import cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.simulate_mixtures", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with levels of steps.measure_levels")
    parser.add_argument("--split", nargs="+", default=["train", "dev", "test"], help="default: train dev test")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as mixtures.sampling_rate=8000")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    options = {"mixtures": config_file.to_dict(config)["mixtures"], "seed": config.seed}
    rooms_and_noises = [args.data / f"{name}.jsonl.gz" for name in ("levels_noise", "recordings_rir")]
    for kind in config.mixtures.kinds:
        sizes = config.mixtures.sets[kind]
        for split in args.split:
            output = args.data / f"plan_{kind}_{split}.jsonl.gz"
            inputs = [args.data / f"levels_{split}.jsonl.gz", *filter(Path.is_file, rooms_and_noises)]
            with provenance.make(output, options, inputs) as temporary:
                if temporary is not None:
                    _plan(config, args.data, kind, split, getattr(sizes, split), temporary)
            _describe(output)


def _plan(config, data: Path, kind: str, split: str, size: int, out: Path) -> None:
    from steps.data import mixture, mixture_corpus

    planner = mixture_corpus.make_planner(config.mixtures, config.seed, data, kind, split)
    mixture.write_plan((planner.row(index) for index in range(size)), out)


def _describe(path: Path) -> None:
    from steps.data.mixture import read_plan

    plan = read_plan(path)
    hours = plan.seconds / 3600
    print(f"{path}: {len(plan.mixtures):,} mixtures, {hours:.2f} hours, plan {plan.digest()}", flush=True)


if __name__ == "__main__":
    cli.run(main)
