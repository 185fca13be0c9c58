"""Write the enrolments and trials of a split: those that the corpus defines, otherwise drawn by the seed.

Where the corpus has no enrolments_<split>.txt, each speaker with enough utterances is enrolled from
score.enrolment_utterances of them; where it has no trials_<split>.txt.gz, every model meets every utterance of the
split that no model was made from. The directory gets trials.npz, enrolments.txt (whose utterances' embeddings are
averaged) and joined.txt (whose utterances are put end to end: enrolments_concat_<split>.txt if there is one).
"""

import argparse
import gzip
import json
import logging
from itertools import chain
from pathlib import Path

from steps.metrics.trials import Trials, make_enrolments, read_enrolments, write_enrolments
from steps.tasks.config import load_config
from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="steps.prepare_trials", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML of the experiment")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>, with the manifests of stage 1")
    parser.add_argument("--split", required=True, help="dev or test")
    parser.add_argument("--out", type=Path, required=True, help="directory to write, such as exp/x/trials_test")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as score.enrolment_utterances=1")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    options = {"enrolment_utterances": config.score.enrolment_utterances, "seed": config.seed}
    given = [args.data / f"{name}_{args.split}.txt" for name in ("enrolments", "enrolments_concat", "trials")]
    given[-1] = given[-1].with_suffix(".txt.gz")
    inputs = [args.data / f"supervisions_{args.split}.jsonl.gz", *(file for file in given if file.is_file())]
    with provenance.make(args.out, options, inputs) as out:
        if out is not None:
            out.mkdir()
            _write(out, inputs[0], *(file if file.is_file() else None for file in given), **options)
            trials = Trials.load(out / "trials.npz")
            targets, others = (int((trials.labels == kind).sum()) for kind in (1, 0))
            logging.info("%s: %d models, %d tests: %d target and %d non-target trials", args.out, len(trials.models),
                         len(trials.tests), targets, others)  # fmt: skip


def _write(
    out: Path,
    supervisions: Path,
    enrolments_file: Path | None,
    joined_file: Path | None,
    trials_file: Path | None,
    enrolment_utterances: int,
    seed: int,
) -> None:
    with gzip.open(supervisions, "rt", encoding="utf-8") as lines:
        speakers = {entry["id"]: entry["speaker"] for entry in map(json.loads, lines)}
    if enrolments_file:
        enrolments = read_enrolments(enrolments_file)
    else:
        enrolments = make_enrolments(speakers, enrolment_utterances, seed)
    joined = read_enrolments(joined_file) if joined_file else enrolments
    if set(joined) != set(enrolments):
        odd = sorted(set(joined) ^ set(enrolments))[0]
        raise ValueError(f"{joined_file} and {enrolments_file} are of different models, such as {odd}")
    if trials_file:
        trials = Trials.read(trials_file, enrolments, speakers)
    else:
        whole = set(chain(*joined.values())) - set(chain(*enrolments.values()))  # recordings that repeat others
        trials = Trials.cross(enrolments, {id: speaker for id, speaker in speakers.items() if id not in whole})
    missing = [model for model in trials.models if model not in enrolments]
    if missing:
        raise ValueError(f"{trials_file}: model {missing[0]} has no enrolment in {enrolments_file}")
    trials.save(out / "trials.npz")
    write_enrolments(out / "enrolments.txt", enrolments)
    write_enrolments(out / "joined.txt", joined)


if __name__ == "__main__":
    cli.run(main)
