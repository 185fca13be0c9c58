"""egs/cnceleb/speaker from data to report, as a user meets it, on a corpus smaller than the one of the README."""

import json
import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

OF = "cnceleb/speaker"
CORPUS = """
speakers: 30
dev_speakers: 8
utterances: 3
enrolled: 8
unknown: 3
tests: 5
noises: 1
rirs: 6
"""
EXTRACTOR = """
task: speaker
data: {batch_size: 32, num_workers: 0, chunk_seconds: 1.5}
model: {architecture: xvector, channels: 96, embedding_dim: 64}
loss: {margin_start_epoch: 2, margin_end_epoch: 4}
training: {epochs: 8, lr: 3.0e-3, warmup_steps: 20, log_every: 10, average_period: 2}
average: {last_epochs: [1, 2]}
backend: {lda_dim: 15, top_n: 10}
score: {durations: [1.0], resamples: 200}
"""
IVECTOR = """
task: ivector
ivector: {num_gauss: 32, embedding_dim: 30}
backend: {lda_dim: 15, top_n: 10}
score: {durations: [1.0], resamples: 200}
"""


@pytest.fixture(scope="module")
def speaker(house):
    """The recipe's directory, with the YAMLs of these tests."""
    recipe = house / "egs" / OF
    (recipe / "conf/ci").mkdir()
    (recipe / "conf/ci/corpus.yml").write_text(CORPUS)
    (recipe / "conf/ci/xvector.yaml").write_text(EXTRACTOR)
    (recipe / "conf/ci/ivector.yaml").write_text(IVECTOR)
    return recipe


@pytest.fixture(scope="module")
def grid(run, speaker):
    """What `run.sh --grid true` prints."""
    done = run(
        "--corpus", "mini", "--corpus-conf", "conf/ci/corpus.yml", "--conf", "conf/ci/xvector.yaml", "--grid", "true",
        of=OF, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def results(speaker, name):
    return json.loads((speaker / f"exp/grid_mini/{name}/results.json").read_text())


@pytest.mark.parametrize("name", ["xvector", "ivector"])
def test_voices_never_heard_in_training_are_told_apart(grid, speaker, name):
    found = results(speaker, name)
    systems = {system["name"]: system["metrics"] for system in found["systems"]}
    assert len(systems) == 13
    assert systems[found["chosen"]]["eer"]["value"] < 25  # chance is 50
    assert found["trials"] == {"models": 8, "tests": 55, "targets": 40, "nontargets": 400}
    assert found["open_set"][0]["unknown_tests"] >= 15  # speakers without a model among them
    plan = [json.loads(line) for line in (speaker / "download/mini/plan.jsonl").read_text().splitlines()]
    variants = [{item["voice"]["variant"] for item in plan if item["split"] == split} for split in ("train", "eval")]
    assert variants[0] and variants[1] and not variants[0] & variants[1]


def test_the_grid_is_one_table(grid, speaker):
    table = (speaker / "exp/grid_mini/RESULTS.md").read_text()
    assert table in grid
    for name in ("xvector", "ivector"):
        assert len(re.findall(rf"^\| {name} +\| {name} +\| mini", table, re.MULTILINE)) == 13


def test_a_second_run_does_nothing(grid, run):
    again = run(
        "--corpus", "mini", "--corpus-conf", "conf/ci/corpus.yml", "--conf", "conf/ci/xvector.yaml",
        "--exp", "exp/grid_mini/xvector", of=OF, timeout=60,
    )  # fmt: skip
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert "chosen on dev" in again.stdout


def verb(speaker, house, name, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(house), "PYTHONSAFEPATH": "1"}
    exp = "exp/grid_mini/xvector"
    command = [sys.executable, "-m", f"steps.{name}", "--checkpoint", f"{exp}/checkpoints/averaged.pt"]
    command += ["--backend", f"{exp}/score/backend", "--gallery", "gallery.npz", *arguments]
    done = subprocess.run(command, cwd=speaker, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_enrolled_speakers_are_found_again(grid, speaker, house):
    first = "download/mini/CN-Celeb_flac"
    owners, files = [], []
    for line in (speaker / first / "eval/lists/enroll.map").read_text().splitlines():
        model, *names = line.split()
        for name in names:
            owners.append(f"{name[:-4]} {model.removesuffix('-enroll')}")
            files.append(f"{name[:-4]} {first}/data/{name[:-4]}.flac")
    for file, lines in (("utt2spk", owners), ("wav.scp", files)):
        (speaker / file).write_text("\n".join(lines) + "\n")
    # A model of minutes cannot be sure of one voice in other rooms: the check is another test's.
    verb(speaker, house, "enroll_speakers", "--accept-mixed", "--utt2spk", "utt2spk", "--wav-scp", "wav.scp")
    tests = sorted((speaker / first / "eval/test").glob("*.flac"))
    enrolled = {line.split()[1] for line in owners}
    known = [test for test in tests if test.name.split("-")[0] in enrolled]
    printed = verb(speaker, house, "identify_speaker", "--far", "0.1", "--json", *map(str, known))
    found = [json.loads(line) for line in printed.splitlines()]
    right = sum(line["best"] == test.name.split("-")[0] for line, test in zip(found, known, strict=True))
    assert right > len(known) / 2  # chance is one in eight
