#!/usr/bin/env python3
"""Speed of scoring on one thread: matrices against a loop over trials, PLDA and AS-norm against cosine, metrics.

    python3 tests/benchmarks/bench_scoring.py [--rounds 5] [--models 196] [--tests 17777] [--cohort 2793]

Embeddings are random, in a cross of the size of CN-Celeb's evaluation (196 x 17,777) unless told otherwise. The loop
calls scikit-learn's cosine_similarity once a trial, as wespeaker's bin/score.py does, for some of the trials. AS-norm
compares both sides with the cohort too, and its comparisons are all of these. Times are CPU seconds of this process
(process_time), which another load on the machine hardly changes; all kinds take turns, and the figures are medians
over rounds. Prints comparisons a second, ratios, and the largest difference to the loop.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):  # read when numpy is imported
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
from sklearn.metrics.pairwise import cosine_similarity  # noqa: E402

from steps.backend.chain import Backend  # noqa: E402
from steps.backend.config import BackendConfig  # noqa: E402
from steps.backend.normalisation import as_norm  # noqa: E402
from steps.backend.plda import TwoCovariancePlda  # noqa: E402
from steps.metrics.speaker_bootstrap import speaker_intervals  # noqa: E402
from steps.metrics.trials import Trials  # noqa: E402
from steps.metrics.verification import eer, error_curve, min_cllr, min_dcf  # noqa: E402

DIM = 256
UNKNOWN = 4  # test speakers without a model
LOOP = 3000  # trials


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--models", type=int, default=196, help="enrolled speakers (default 196)")
    parser.add_argument("--tests", type=int, default=17777, help="test utterances (default 17777)")
    parser.add_argument("--cohort", type=int, default=2793, help="cohort speakers (default 2793)")
    args = parser.parse_args()

    data = Embedded(args.models, args.tests, args.cohort)
    trials = args.models * args.tests
    cohort_pairs = (args.models + args.tests) * args.cohort
    kinds: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "loop over trials": (data.loop, min(LOOP, args.tests)),
        "cosine": (data.cosine, trials),
        "PLDA": (data.plda, trials),
        "AS-norm of cosine": (data.as_norm, trials + cohort_pairs),
    }
    print(f"{args.models} x {args.tests} = {trials:,} trials, dimension {DIM}, 1 thread, {args.rounds} rounds")
    rates = {}
    for name, seconds in measure({name: run for name, (run, _) in kinds.items()}, args.rounds).items():
        rates[name] = kinds[name][1] / seconds
        print(f"{name:28s} {seconds * 1000:8.1f} ms for {kinds[name][1]:12,} comparisons {rates[name] / 1e6:10.4f} M/s")
    for name in ("PLDA", "AS-norm of cosine"):
        print(f"{name} takes {rates['cosine'] / rates[name]:.2f} times as long a comparison as cosine")
    print(f"cosine is {rates['cosine'] / rates['loop over trials']:,.0f} times as fast as the loop over trials")
    difference = np.abs(data.loop() - data.cosine()[0, : min(LOOP, args.tests)]).max()
    print(f"largest difference of cosine to the loop {difference:.1e}")

    for name, seconds in measure({name: getattr(data, name) for name in METRICS}, args.rounds).items():
        print(f"{METRICS[name]:52s} {seconds * 1000:8.1f} ms")


METRICS = {
    "whole": "embeddings to EER and minDCF",
    "rates": "  scores to EER and minDCF at 2 priors",
    "calibration": "  scores to minCllr",
    "bootstrap": "intervals over speakers, 1,000 draws, 512 thresholds",
}


class Embedded:
    """Random embeddings: speakers of dimension DIM with noise, one enrolment each, tests spread evenly over them."""

    def __init__(self, models: int, tests: int, cohort: int):
        rng = np.random.default_rng(0)
        speakers = rng.normal(size=(models + UNKNOWN, DIM))
        owners = np.arange(tests) % len(speakers)
        self.enrolled = (speakers[:models] + rng.normal(0, 3, (models, DIM))).astype(np.float32)
        self.tests = (speakers[owners] + rng.normal(0, 3, (tests, DIM))).astype(np.float32)
        self.cohort = rng.normal(size=(cohort, DIM)).astype(np.float32)
        names = [f"S{number}" for number in range(len(speakers))]
        utterances = {f"enrol-{number}": names[number] for number in range(models)}
        enrolments = {speaker: [utterance] for utterance, speaker in utterances.items()}
        utterances |= {f"test-{number}": names[owner] for number, owner in enumerate(owners)}
        self.trials = Trials.cross(enrolments, utterances)
        self.speakers = [names[owner] for owner in owners]

        train = rng.normal(size=(200, 1, DIM)) + rng.normal(0, 3, (200, 5, DIM))
        train, train_speakers = train.reshape(-1, DIM).astype(np.float32), np.repeat(np.arange(200), 5)
        self.backend = Backend.fit("cosine", train, train_speakers, BackendConfig())
        self.backend.mean[:] = 0  # as the loop has it
        self.model = TwoCovariancePlda.fit(train, train_speakers, iterations=1)
        self.scores = self.cosine()

    def loop(self) -> np.ndarray:
        """(LOOP,) cosines of the first model, one call each."""
        model = self.enrolled[0]
        return np.array([cosine_similarity(model.reshape(1, -1), t.reshape(1, -1))[0][0] for t in self.tests[:LOOP]])

    def cosine(self) -> np.ndarray:
        """(M, K)."""
        return unit(self.enrolled) @ unit(self.tests).T

    def plda(self) -> np.ndarray:
        """(M, K)."""
        return self.model.score(self.enrolled, np.ones(len(self.enrolled), int), self.tests)

    def as_norm(self) -> np.ndarray:
        """(M, K), with the scores of both sides against the cohort."""
        models, tests, cohort = (unit(vectors) for vectors in (self.enrolled, self.tests, self.cohort))
        return as_norm(models @ tests.T, models @ cohort.T, tests @ cohort.T, top_n=300)

    def rates(self, scores: np.ndarray | None = None) -> None:
        """The figures of a table."""
        curve = error_curve(self.scores if scores is None else scores, self.trials.labels)
        eer(curve), min_dcf(curve, 0.01), min_dcf(curve, 0.001)

    def calibration(self) -> None:
        """What calibration could reach."""
        min_cllr(error_curve(self.scores, self.trials.labels))

    def whole(self) -> None:
        """As the recipe does it: the back end with its checks, then the metrics."""
        self.rates(self.backend.score(list(self.enrolled[:, None]), self.tests))

    def bootstrap(self) -> None:
        """Intervals of EER and minDCF."""
        models = self.trials.models
        speaker_intervals(self.scores, self.trials.labels, models, self.speakers, [0.01, 0.001], 1000, 512, 0)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(kinds: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in kinds.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
