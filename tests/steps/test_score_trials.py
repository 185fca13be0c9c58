"""steps.prepare_trials and steps.score_trials on speakers whose embeddings are drawn from known Gaussians."""

import gzip
import json

import numpy as np
import pytest

from steps import prepare_trials, score_trials, write_results
from steps.backend.chain import Backend
from steps.backend.embeddings import Embeddings
from steps.metrics.trials import Trials, read_enrolments
from utils import atomic

SPEAKERS = {"train": 40, "dev": 12, "test": 14}
UTTERANCES, DIM = 8, 24
CONFIG = """
task: speaker
seed: 3
score: {enrolment_utterances: 3, resamples: 100, gallery_sizes: [4], folds: 3, durations: [1.0]}
backend: {lda_dim: 12, top_n: 20}
"""


def utterances(split):
    """Ids and speakers; genres alternate."""
    for speaker in range(SPEAKERS[split]):
        for number in range(UTTERANCES):
            yield f"{split}{speaker:02d}-{number}", f"{split}{speaker:02d}", ["speech", "song"][number % 2]


def embeddings(split, spread, ids=None, key=0):
    """Directions of speakers plus noise of that spread."""
    means = np.random.default_rng([7, len(split)]).normal(size=(SPEAKERS[split], DIM))
    names = [(id, speaker) for id, speaker, _ in utterances(split)] if ids is None else ids
    rng = np.random.default_rng([key, round(100 * spread)])
    vectors = [means[int(speaker[-2:])] + spread * rng.normal(size=DIM) + 3 for _, speaker in names]
    return Embeddings(
        [id for id, _ in names], np.array(vectors, np.float32), [speaker for _, speaker in names],
        np.full(len(names), 3.0),
    )  # fmt: skip


def write_job(folder, **kinds):
    """As steps.extract_embeddings would, in two jobs."""
    for job in (1, 2):
        part = folder / str(job)
        part.mkdir(parents=True)
        for name, whole in kinds.items():
            rows = list(range(job - 1, len(whole.ids), 2))
            Embeddings(
                [whole.ids[row] for row in rows], whole.vectors[rows], [whole.speakers[row] for row in rows],
                whole.seconds[rows],
            ).save(part / f"{name}.npz")  # fmt: skip
        seconds = {"features": 0.5, "network": 1.0}
        stats = {"num_jobs": 2, "audio_seconds": 100.0, "seconds": seconds, "threads": 1, "parameters": 5}
        atomic.write_json(part / "stats.json", {"job": job, **stats, "device": "CPU", "peak_memory": {"host": job}})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An experiment after stages 3 and 6, in the current directory."""
    monkeypatch.chdir(tmp_path)
    exp, data = tmp_path / "exp", tmp_path / "data"
    exp.mkdir()
    data.mkdir()
    (exp / "config.yaml").write_text(CONFIG)
    write_job(exp / "embeddings_train", utterances=embeddings("train", 0.8))
    for split in ("dev", "test"):
        with gzip.open(data / f"supervisions_{split}.jsonl.gz", "wt") as file:
            for id, speaker, genre in utterances(split):
                file.write(json.dumps({"id": id, "speaker": speaker, "custom": {"genre": genre}}) + "\n")
        arguments = ["--config", "exp/config.yaml", "--data", "data", "--split", split, "--out", f"exp/trials_{split}"]
        prepare_trials.main(arguments)
        models = [(name, name) for name in read_enrolments(exp / f"trials_{split}" / "joined.txt")]
        write_job(
            exp / f"embeddings_{split}",
            utterances=embeddings(split, 0.8),
            models=embeddings(split, 0.5, models),
            **{"utterances_1": embeddings(split, 2.0, key=1), "models_1": embeddings(split, 2.0, models, key=1)},
        )
    return exp


def score(exp):
    score_trials.main(["--exp", "exp", "--data", "data", "--corpus", "gauss", "--command", "./run.sh"])
    return json.loads((exp / "results.json").read_text())


def test_trials_are_a_cross_without_enrolment_utterances(run):
    trials = Trials.load(run / "trials_test" / "trials.npz")
    assert trials.labels.shape == (14, 14 * 5)
    assert (trials.labels == 1).sum() == 14 * 5
    enrolled = {id for names in read_enrolments(run / "trials_test" / "enrolments.txt").values() for id in names}
    assert len(enrolled) == 14 * 3
    assert not enrolled & set(trials.tests)


def test_every_back_end_is_measured_and_one_is_deployed(run, capsys):
    results = score(run)
    systems = {system["name"]: system["metrics"] for system in results["systems"]}
    assert len(systems) == 13  # four comparisons by three normalisations, and the chosen one with quality measures
    assert systems["plda"]["eer"]["value"] < 5
    for metrics in systems.values():
        assert metrics["eer"]["low"] <= metrics["eer"]["value"] <= metrics["eer"]["high"]
        assert metrics["accuracy"]["value"] >= 100 - 2 * metrics["eer"]["value"] - 1e-6
        assert metrics["min_dcf_0.01"]["value"] <= min(1.0, metrics["act_dcf_0.01"]["value"]) + 1e-9
        assert metrics["min_cllr"]["value"] <= metrics["cllr"]["value"] + 1e-9
    dev = {system["name"]: system["dev"]["metrics"]["eer"]["value"] for system in results["systems"]}
    assert dev[results["chosen"]] == min(value for name, value in dev.items() if not name.endswith("_qmf"))
    matrix = results["durations"]["eer"]
    assert results["durations"]["seconds"] == [1.0, None]
    assert matrix[0][0] > matrix[1][1]  # excerpts were made noisier
    assert [row["gallery"] for row in results["open_set"]] == [4, 7]
    assert results["genres"]["test"] == ["song", "speech", None]
    assert results["rtf"] == {"features": 0.005, "network": 0.01}
    curves = json.loads((run / "score" / "curves.json").read_text())
    assert curves.keys() == {name for name in systems if not name.endswith("_qmf")}
    assert all(np.all(np.diff(curve["roc"][0]) >= 0) for curve in curves.values())
    printed = capsys.readouterr().out
    assert "chosen on dev" in printed
    assert "too few trials to rely on" in printed

    backend = Backend.load(run / "score" / "backend" / "backend.npz")
    decision = json.loads((run / "score" / "backend" / "decision.json").read_text())
    assert backend.name == decision["chain"] == results["chosen"]
    assert decision["thresholds"] == results["thresholds"]


def test_scores_on_disk_are_those_of_the_trials_by_name(run):
    score(run)
    trials = Trials.load(run / "trials_test" / "trials.npz")
    scores = np.load(run / "score" / "cosine.npy")
    test = embeddings("test", 0.8)
    mean = embeddings("train", 0.8).vectors.mean(axis=0)
    enrolments = read_enrolments(run / "trials_test" / "enrolments.txt")

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    for row in (0, 5, 13):
        model = unit(unit(test.of(enrolments[trials.models[row]]) - mean).mean(axis=0))
        expected = unit(test.of(trials.tests) - mean) @ model
        np.testing.assert_allclose(scores[row], expected, atol=1e-4)


def test_a_missing_embedding_stops_the_run_by_name(run):
    part = Embeddings.load(run / "embeddings_test" / "1" / "utterances.npz")
    lost = Trials.load(run / "trials_test" / "trials.npz").tests[0]
    for job in ("1", "2"):
        file = run / "embeddings_test" / job / "utterances.npz"
        part = Embeddings.load(file)
        keep = [row for row, id in enumerate(part.ids) if id != lost]
        ids, speakers = ([names[row] for row in keep] for names in (part.ids, part.speakers))
        Embeddings(ids, part.vectors[keep], speakers, part.seconds[keep]).save(file)
    with pytest.raises(ValueError, match=rf"1 utterances have no embedding, the first is {lost}"):
        score(run)
    assert not (run / "results.json").exists()


def test_results_become_a_page(run, tmp_path):
    score(run)
    write_results.main([str(run / "results.json"), "--out", str(tmp_path / "RESULTS.md")])
    page = (tmp_path / "RESULTS.md").read_text()
    assert "lda_plda_as_norm" in page
    assert "./run.sh" in page
    assert "EER % by genre" in page


def test_adaptation_to_another_domain_lowers_errors_of_plda(run):
    """Dev and test lie elsewhere than train: the mean and the covariances of dev bring them back."""
    rng = np.random.default_rng(5)
    stretch = (np.eye(DIM) + 0.5 * rng.normal(size=(DIM, DIM))).astype(np.float32)
    for split in ("dev", "test"):
        for file in (run / f"embeddings_{split}").glob("*/*.npz"):
            part = Embeddings.load(file)
            Embeddings(part.ids, part.vectors @ stretch + 8, part.speakers, part.seconds).save(file)
    rates = {}
    for adapt in ("false", "true"):
        arguments = [
            "--exp",
            "exp",
            "--data",
            "data",
            "--corpus",
            "gauss",
            f"backend.adapt={adapt}",
            "backend.chains=[plda]",
        ]
        score_trials.main(arguments)
        results = json.loads((run / "results.json").read_text())
        rates[adapt] = results["systems"][0]["metrics"]["eer"]["value"]
        atomic.remove(run / "score")
    assert rates["true"] < rates["false"]
