"""Prove that no speaker, utterance, noise recording or room of a plan is in two splits; writes what each split has.

Stops with what is shared otherwise, and writes nothing.
"""

import argparse
from pathlib import Path

from utils import atomic, cli


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.audit_mixtures", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with plans of steps.simulate_mixtures")
    parser.add_argument("--sets", nargs="+", required=True, help="such as full partial")
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as EXP/audit.json")
    args = parser.parse_args(argv)

    from steps.data import audit

    used = audit.used(args.data, args.sets)
    shared = audit.shared(used)
    if shared:
        raise ValueError(f"{args.data}: the splits are not disjoint: {'; '.join(shared)}")
    report = audit.report(args.data, args.sets, used)
    atomic.write_json(args.out, report)
    print(audit.table(report), end="")


if __name__ == "__main__":
    cli.run(main)
