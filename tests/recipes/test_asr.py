"""egs/aishell/asr from data to report, as a user meets it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = ["--corpus", "mini", "--corpus-conf", "conf/small_corpus.yaml"]
SMALL += ["--overrides", "training.epochs=2 training.save_every=5 average.last_epochs=[1,2] loss.flat_start_steps=20"]


@pytest.fixture(scope="module")
def mini(run, recipe: Path) -> str:
    """What the command of the README's first screen prints."""
    done = run("--corpus", "mini", timeout=1500)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def systems(recipe: Path, exp: str) -> dict[str, dict]:
    found = json.loads((recipe / exp / "results.json").read_text())
    return {system["name"]: system["metrics"] for system in found["systems"]}


def test_mini_reaches_its_error_rates_on_unseen_voices_and_sentences(mini, recipe):
    found = systems(recipe, "exp/mini")
    greedy, graph = found["ctc_greedy"]["cer"], found["graph_nbest"]["cer"]
    assert greedy["value"] <= 2.0
    assert graph["value"] < greedy["value"]
    assert greedy["low"] <= greedy["value"] <= greedy["high"]
    assert f"{greedy['value']:.2f}" in mini and "exp/mini/results.json" in mini
    texts = {}
    for split in ("train", "dev", "test"):
        lines = (recipe / "download/mini/plan.jsonl").read_text().splitlines()
        plan = [json.loads(line) for line in lines]
        texts[split] = {(item["text"], item["speaker"]) for item in plan if item["split"] == split}
    for which in (0, 1):  # sentences, then voices
        seen, unseen = ({pair[which] for pair in texts[split]} for split in ("train", "test"))
        assert seen and unseen and not seen & unseen


def test_the_report_is_one_page(mini, recipe):
    page = (recipe / "exp/mini/report.html").read_text()
    assert "ctc_greedy" in page and "<audio" in page and 'src="http' not in page


def test_a_second_run_does_nothing_and_says_so(mini, run, recipe):
    before = {path: path.stat().st_mtime_ns for path in (recipe / "data").rglob("*.gz")}
    again = run("--corpus", "mini", timeout=60)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert "ctc_greedy" in again.stdout, "it shows the scores all the same"
    assert before == {path: path.stat().st_mtime_ns for path in (recipe / "data").rglob("*.gz")}


def test_posteriors_for_the_other_engine(mini, recipe, house):
    """Left where tests/run.sh tells the tests of k2 to look."""
    folder = Path(os.environ.get("RECIPE_K2_FIXTURE") or recipe / "fixture")
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--checkpoint", "exp/mini/checkpoints/averaged.pt", "--cuts", "data/mini/cuts_test.jsonl.gz"]
    options += ["--lang", "exp/mini/lang", "--graph", "exp/mini/graph/HLG.fst", "--out", "exp/fixture/1"]
    options += ["--engine", "openfst", "--save-posteriors", str(folder / "posteriors.npz")]
    command = [sys.executable, "-m", "steps.decode_asr", *options, "decode.methods=[graph_1best]"]
    environment = {**os.environ, "PYTHONPATH": str(house), "PYTHONSAFEPATH": "1"}
    subprocess.run(command, cwd=recipe, env=environment, check=True, timeout=300)
    for name in ("HLG.fst", "words.txt"):
        shutil.copy(recipe / "exp/mini/graph" / name, folder / name)
    assert (folder / "posteriors.npz").stat().st_size > 1_000_000


def test_the_stages_are_listed_with_their_states(mini, run):
    listed = run("--corpus", "mini", "--list-stages", timeout=60).stdout
    assert "features" in listed and listed.count("done") == 9
    planned = run("--corpus", "mini", "--exp", "exp/other", "--dry-run", timeout=60)
    assert planned.returncode == 0 and "stage 4 train: would run" in planned.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "abc"], "abc"),
        (["--stage", "42"], "no such stage"),
        (["--corpsu", "mini"], "--corpus"),
        (["--nj"], "--nj"),
        (["--corpus", "mini", "--conf", "conf/nothing.yaml", "--stage", "3"], "conf/nothing.yaml"),
    ],
)
def test_wrong_words_are_refused(run, arguments, message):
    refused = run(*arguments, timeout=60)
    assert refused.returncode != 0 and message in refused.stdout


def test_a_wrong_key_is_named_with_the_nearest(mini, run):
    wrong = run("--corpus", "mini", "--exp", "exp/typo", "--overrides", "model.dims=5", "--stage", "3", timeout=60)
    assert wrong.returncode != 0 and "did you mean 'model.dim'?" in wrong.stdout


def start_and_kill(recipe: Path, arguments: list[str], seconds: float) -> None:
    """Starts a run, waits, and kills all its processes without a chance to tidy up."""
    environment = {**os.environ, "RECIPE_ENV": "active", "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(
        ["./run.sh", *arguments], cwd=recipe, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(seconds)
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def descendants(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def test_a_run_killed_again_and_again_ends_as_one_that_never_was(run, recipe):
    import torch

    whole = run(*SMALL, "--exp", "exp/whole", "--data", "data/whole", "--corpus-dir", "download/small", timeout=600)
    assert whole.returncode == 0, whole.stdout[-4000:]
    killed = [*SMALL, "--exp", "exp/killed", "--data", "data/killed", "--corpus-dir", "download/killed"]
    for seconds in (2, 5, 9, 14, 14, 6):
        start_and_kill(recipe, killed, seconds)
    last = run(*killed, timeout=600)
    assert last.returncode == 0, last.stdout[-4000:]
    weights = [
        torch.load(recipe / exp / "checkpoints/averaged.pt", weights_only=True)["model"]
        for exp in ("exp/whole", "exp/killed")
    ]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    rates = [
        {name: metrics["cer"] for name, metrics in systems(recipe, exp).items()} for exp in ("exp/whole", "exp/killed")
    ]
    assert rates[0] == rates[1]
