"""utils/sge.py: what it asks of Grid Engine, and what it makes of the answers (the contract itself: test_run.py)."""

import os
import sys
import time
from pathlib import Path

import pytest

from utils import jobs, sge


@pytest.fixture
def notes(tmp_path: Path, root: Path, monkeypatch) -> Path:
    """Where the stand-in cluster, put on PATH, keeps its notes."""
    monkeypatch.setenv("FAKE_CLUSTER", str(tmp_path))
    monkeypatch.setenv(
        "PATH", f"{root / 'tests/utils/fake_cluster'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sge.GridEngine, "settle", 0.3)
    return tmp_path


def run(*words: str) -> dict[int, int | str]:
    job = jobs.read_command_line("sge.py", list(words))
    backend = sge.GridEngine(job, jobs.write_script(job))
    return jobs.run_tasks(job, backend, job.tasks, 1)


def test_what_is_asked_for_reaches_qsub(notes):
    words = ["--mem", "4G", "--time", "90", "--num-threads", "2", "--gpu", "1", "--max-jobs-run", "5"]
    assert run(*words, "--native=-q", "--native=all.q", "JOB=2:4", "2x.JOB.log", "true") == {2: 0, 3: 0, 4: 0}
    text = (notes / "arguments").read_text().replace("\n", " ")
    for wanted in (
        *("-terse", "-V", "-cwd", "-S /bin/bash", "-N j2x ", "-j y", "-t 2-4", "-tc 5", "-q all.q"),
        *("-l mem_free=4G", "-l h_rt=5400", "-pe smp 2", "-l gpu=1", f"-o {notes}/q/2x.out", f"{notes}/q/2x.sh 1 0"),
    ):
        assert wanted in text


def test_tasks_that_are_not_in_a_row_are_several_arrays(notes):
    job = jobs.read_command_line("sge.py", ["JOB=1:9", "x.JOB.log", "true"])
    backend = sge.GridEngine(job, jobs.write_script(job))
    assert set(jobs.run_tasks(job, backend, [1, 2, 7], 2)) == {1, 2, 7}
    assert backend.arrays == ["101", "102"]


def test_a_task_that_left_no_status_counts_as_failed(notes):
    results = run("JOB=1:2", "x.JOB.log", "bash", "-c", "[ $JOB = 1 ] || kill -9 $PPID")
    assert results == {1: 0, 2: "no longer known to Grid Engine"}


def test_a_task_in_an_error_state_counts_as_failed_and_is_deleted(notes):
    results = run(
        "JOB=1:2", "x.JOB.log", "bash", "-c", f"[ $JOB = 1 ] || touch {notes}/101.2.error; sleep $JOB; touch slept.$JOB"
    )
    assert results == {1: 0, 2: "in state Eqw: qstat -j 101 -explain E says why"}
    time.sleep(1.2)
    assert [path.name for path in notes.glob("slept.*")] == ["slept.1"]


def test_a_qmaster_that_is_away_decides_nothing(notes, capsys):
    program = f"touch {notes}/away; sleep 1.2; exit 3"
    assert run("x.log", "bash", "-c", program) == {1: 3}
    assert capsys.readouterr().err.count("unable to contact qmaster") == 1


@pytest.mark.parametrize(
    ("text", "wanted"), [("3", {3}), ("1,4", {1, 4}), ("5-9:2", {5, 7, 9}), ("2-4:1,8", {2, 3, 4, 8})]
)
def test_the_last_column_of_qstat(text, wanted):
    assert sge.read_tasks(text) == wanted
