"""utils/stage.sh on a small recipe: what runs, what is skipped, what is remembered."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """#!/usr/bin/env bash
# A recipe for tests.
set -euo pipefail
cd "$(dirname "$0")"
nj=2      # parallel jobs
seed=1    # seed of chance
fail=none # the stage that fails
exp="exp/my 实验" # where the results go
. "{root}/utils/stage.sh"
stage_summary_file=$exp/summary.txt

if stage 0 "data" --out "data dir/raw.txt"; then
  mkdir -p "data dir"
  echo "raw $seed" >"data dir/raw.txt"
  echo ran 0
fi
if stage 1 "manifests" --in "data dir/raw.txt" --out "data dir"; then
  [ "$fail" != 1 ]
  cp "data dir/raw.txt" "data dir/manifest.txt"
  echo "ran 1 force=${{RECIPE_FORCE:-}}"
fi
if stage 3 "features" --in "data dir/manifest.txt" conf/x.yaml --out feats.txt; then
  [ "$fail" != 3 ]
  [ "$fail" = out ] || cat "data dir/manifest.txt" conf/x.yaml >feats.txt
  echo ran 3
fi
if stage 10 "score" --in feats.txt --out "$exp/score.txt"; then
  cp feats.txt "$exp/score.txt"
  echo "CER 1.5" >"$stage_summary_file"
  echo ran 10
fi
"""


class Recipe:
    """A directory with the recipe, and a way to run it from elsewhere."""

    def __init__(self, folder: Path, root: Path, text: str = RECIPE) -> None:
        self.folder = folder / "egs x"
        (self.folder / "conf").mkdir(parents=True)
        (self.folder / "conf" / "x.yaml").write_text("a: 1\n")
        self.write(text.replace("{root}", str(root)).replace("{{", "{").replace("}}", "}"))

    def write(self, text: str) -> None:
        (self.folder / "run.sh").write_text(text)

    def run(self, *words: str) -> subprocess.CompletedProcess:
        python = str(Path(sys.executable).parent)
        environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
        return subprocess.run(
            ["bash", "egs x/run.sh", *words],
            cwd=self.folder.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def record(self, number: int) -> dict:
        return json.loads((self.folder / "exp/my 实验/.stages" / f"{number:02d}.json").read_text())


@pytest.fixture
def recipe(tmp_path: Path, root: Path) -> Recipe:
    return Recipe(tmp_path, root)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory, root: Path) -> tuple[Recipe, subprocess.CompletedProcess]:
    recipe = Recipe(tmp_path_factory.mktemp("finished"), root)
    process = recipe.run()
    assert process.returncode == 0, process.stderr
    return recipe, process


@pytest.fixture
def finished(finished_once, recipe: Recipe) -> Recipe:
    """A copy of a recipe that has run through."""
    shutil.rmtree(recipe.folder)
    shutil.copytree(finished_once[0].folder, recipe.folder)
    return recipe


def ran(process: subprocess.CompletedProcess) -> list[int]:
    """The stages whose bodies ran to their end."""
    return [int(line.split()[1]) for line in process.stdout.splitlines() if line.startswith("ran ")]


def table(process: subprocess.CompletedProcess) -> dict[int, str]:
    """The results of the last table, by stage."""
    lines = process.stdout.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("stage  title"))
    rows = [line.split() for line in lines[start + 1 :] if line[:1].isdigit()]
    return {int(row[0]): row[2] for row in rows}


def states(recipe: Recipe) -> dict[int, str]:
    process = recipe.run("--list-stages")
    assert process.returncode == 0, process.stderr
    return table(process)


def test_a_run_makes_everything_and_a_second_one_has_nothing_to_do(finished_once, finished):
    first = finished_once[1]
    assert ran(first) == [0, 1, 3, 10]
    assert table(first) == {0: "ok", 1: "ok", 3: "ok", 10: "ok"}
    assert first.stdout.rstrip().endswith("CER 1.5")
    second = finished.run()
    assert second.returncode == 0
    assert ran(second) == []
    assert table(second) == dict.fromkeys((0, 1, 3, 10), "skipped")
    assert "nothing to do" in second.stdout
    assert "CER 1.5" in second.stdout
    assert second.stderr == ""


def test_the_record_says_when_where_and_from_what(finished):
    record = finished.record(3)
    assert record["state"] == "done"
    assert record["title"] == "features"
    assert record["start"] <= record["end"]
    assert 0 <= record["seconds"] < 60
    assert record["host"] == os.uname().nodename
    assert record["options"]["seed"] == "1"
    assert "nj" not in record["options"]  # it changes no result
    assert list(record["inputs"]) == ["data dir/manifest.txt", "conf/x.yaml"]
    assert record["outputs"] == ["feats.txt"]


@pytest.mark.parametrize("word", ["--list-stages", "--dry-run", "--help"])
def test_looking_creates_nothing(recipe, word):
    before = sorted(recipe.folder.rglob("*"))
    process = recipe.run(word)
    assert process.returncode == 0, process.stderr
    assert sorted(recipe.folder.rglob("*")) == before
    assert ran(process) == []


def test_help_has_the_common_options(recipe):
    text = recipe.run("--help").stdout
    common = ["--stage", "--stop-stage", "--skip-stages", "--resume", "--force", "--list-stages", "--dry-run"]
    for option in ["--nj", "--exp", *common, "--config", "--help"]:
        assert f"\n  {option} " in text


def test_dry_run_says_what_would_run_with_which_files(recipe):
    process = recipe.run("--dry-run")
    assert "stage 3 features: would run" in process.stdout
    assert "in   data dir/manifest.txt  (made by stage 1)" in process.stdout
    assert "out  feats.txt" in process.stdout
    alone = recipe.run("--dry-run", "--stage", "3", "--stop-stage", "3")
    assert alone.returncode == 1
    assert "in   data dir/manifest.txt  (made by stage 1, MISSING)" in alone.stdout
    assert "stage 1 manifests: left out" in alone.stdout


def test_states_of_stages(finished):
    assert states(finished) == dict.fromkeys((0, 1, 3, 10), "done")
    (finished.folder / "conf" / "x.yaml").write_text("a: 2\n")
    assert states(finished)[3] == "stale"
    assert finished.run("--stage", "3", "--fail", "3").returncode != 0
    assert states(finished) == {0: "done", 1: "done", 3: "failed", 10: "done"}
    (finished.folder / "data dir" / "raw.txt").unlink()
    assert states(finished)[0] == "stale"
    process = finished.run("--exp", "other", "--list-stages")
    assert table(process) == dict.fromkeys((0, 1, 3, 10), "never")


def test_a_failing_stage_stops_the_run_and_the_next_run_goes_on_there(recipe):
    process = recipe.run("--fail", "3")
    assert process.returncode == 1
    assert ran(process) == [0, 1]
    assert table(process) == {0: "ok", 1: "ok", 3: "FAILED", 10: "never"}
    assert 'stage 3 (features) failed with status 1: [ "$fail" != 3 ] (run.sh:' in process.stderr
    assert recipe.record(3)["state"] == "failed"
    assert recipe.record(3)["exit_status"] == "1"
    assert ran(recipe.run()) == [3, 10]


@pytest.mark.parametrize(
    "body", ["false", "x=$(false; echo y)", "false | cat", 'echo "$undefined"', "(exit 3)", "f() { false; echo y; }; f"]
)
def test_every_failing_command_of_a_body_stops_it(recipe, body):
    text = (recipe.folder / "run.sh").read_text().replace("echo ran 0", f"{body}\n  touch went-on")
    recipe.write(text)
    process = recipe.run()
    assert process.returncode != 0
    assert table(process)[0] == "FAILED"
    assert not (recipe.folder / "went-on").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--stage", "3"], [3, 10]),
        (["--stage", "1", "--stop-stage", "3"], [1, 3]),
        (["--stage=1", "--stop-stage=1"], [1]),
        (["--stage", "0", "--skip-stages", "1 3"], [0, 10]),
        (["--stage", "0", "--skip-stages", "1,10"], [0, 3]),
        (["--stop-stage", "3"], []),
        (["--force"], [0, 1, 3, 10]),
        (["--force", "--stop-stage", "1"], [0, 1]),
        (["--resume"], []),
    ],
)
def test_selection_in_a_finished_recipe(finished, words, wanted):
    process = finished.run(*words)
    assert process.returncode == 0, process.stderr
    assert ran(process) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "abc"], "--stage takes the number of a stage, not 'abc'"),
        (["--stage", "99"], "--stage 99: there is no such stage; the stages are 0 1 3 10"),
        (["--stop-stage", "2"], "--stop-stage 2: there is no such stage"),
        (["--skip-stages", "1 x"], "--skip-stages takes the number of a stage, not 'x'"),
        (["--stage", "3", "--stop-stage", "1"], "no stage is selected"),
        (["--skip-stages", "0 1 3 10"], "no stage is selected"),
        (["--stage", "3", "--resume"], "give --stage or --resume, not both"),
        (["--stage"], "--stage lacks its value"),
        (["--stgae", "3"], "the nearest is --stage"),
        (["--force", "yes"], "--force takes true or false"),
    ],
)
def test_a_wrong_selection_ends_with_status_2_before_anything_runs(recipe, words, message):
    process = recipe.run(*words)
    assert process.returncode == 2
    assert message in process.stderr
    assert not (recipe.folder / "exp").exists()


def test_force_tells_the_verbs(finished):
    assert "ran 1 force=true" in finished.run("--force").stdout
    assert "ran 1 force=\n" in finished.run("--stage", "1").stdout


def test_resume_runs_everything_from_the_first_stage_that_is_not_done(finished):
    assert finished.run("--stage", "1", "--stop-stage", "1", "--fail", "1").returncode == 1
    assert ran(finished.run("--resume")) == [1, 3, 10]


def test_a_changed_input_is_named_and_a_touched_one_is_not(finished):
    config = finished.folder / "conf" / "x.yaml"
    config.write_text(config.read_text())
    assert finished.run().stderr == ""
    config.write_text("a: 2\n")
    process = finished.run()
    assert process.returncode == 0
    assert ran(process) == []
    assert "inputs of stage 3 changed since it ran: conf/x.yaml; --stage 3 runs it again" in process.stderr
    assert ran(finished.run("--stage", "3")) == [3, 10]
    assert finished.run().stderr == ""


def test_what_this_run_has_changed_is_made_again_downstream(finished):
    (finished.folder / "conf" / "x.yaml").write_text("a: 2\n")
    (finished.folder / "feats.txt").unlink()
    process = finished.run()
    assert ran(process) == [3, 10]
    assert "stage 3 runs again: feats.txt is gone" in process.stderr
    assert "stage 10 runs again: this run has changed feats.txt" in process.stderr
    (finished.folder / "feats.txt").unlink()
    assert ran(finished.run()) == [3]  # it came out the same, so the score stands


def test_a_changed_option_is_said_once(finished):
    process = finished.run("--seed", "2", "--nj", "7")
    assert ran(process) == []
    assert process.stderr.count("options changed since: --seed '1' then, '2' now") == 1
    assert "--nj" not in process.stderr


def test_a_missing_input_names_the_stage_that_makes_it(recipe):
    process = recipe.run("--stage", "3")
    assert process.returncode == 1
    assert ran(process) == []
    assert "stage 3 needs data dir/manifest.txt, made by stage 1: --stage 1 runs it" in process.stderr
    assert table(process)[3] == "FAILED"
    (recipe.folder / "conf" / "x.yaml").unlink()
    assert "stage 3 needs conf/x.yaml, which no stage before it makes" in recipe.run().stderr


def test_a_missing_output_fails_the_stage(recipe):
    process = recipe.run("--fail", "out")
    assert process.returncode == 1
    assert ran(process) == [0, 1, 3]
    assert table(process)[3] == "FAILED"
    assert "stage 3 (features) failed with status 1: it ended without making feats.txt" in process.stderr
    text = (recipe.folder / "run.sh").read_text().replace('cp feats.txt "$exp/score.txt"', "true")
    recipe.write(text)
    last = recipe.run()
    assert last.returncode == 1
    assert table(last)[10] == "FAILED"


def test_a_record_that_cannot_be_read_means_failed(finished):
    (finished.folder / "exp/my 实验/.stages/01.json").write_text("{")
    assert states(finished)[1] == "failed"
    assert ran(finished.run()) == [1]


def test_mistakes_in_the_recipe_are_named(recipe):
    text = (recipe.folder / "run.sh").read_text()
    recipe.write(text.replace("stage 3 ", "stage 0 "))
    assert "stage 0 stands after stage 1" in recipe.run().stderr
    recipe.write(text.replace("if stage 3", "n=4\nif stage $n"))
    assert 'write in one line: if stage 4 "features"' in recipe.run().stderr
    recipe.write(text.replace("--out feats.txt", "").replace("--in feats.txt", "feats.txt"))
    assert "stage 10: 'feats.txt' stands before --in or --out" in recipe.run().stderr
    recipe.write(text.replace('exp="exp/my 实验"', "exp="))
    assert "set exp" in recipe.run().stderr
    recipe.write(text.replace("if stage", "if run_stage"))
    assert 'there is no line: if stage N "title"' in recipe.run().stderr


def test_options_named_like_inner_words_reach_the_record(recipe):
    """stage's own variables must not shadow the recipe's options."""
    text = (recipe.folder / "run.sh").read_text()
    recipe.write(text.replace("seed=1 ", "number=7\ntitle=t\nmode=m\ngroups=g\nname=n\nword=w\npath=p\nseed=1 "))
    assert recipe.run().returncode == 0
    wanted = {"number": "7", "title": "t", "mode": "m", "groups": "g", "name": "n", "word": "w", "path": "p"}
    options = recipe.record(10)["options"]
    assert {name: options[name] for name in wanted} == wanted
