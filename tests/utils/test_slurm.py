"""utils/slurm.py: what it asks of Slurm, and what it makes of the answers (the contract itself: test_run.py)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils import jobs, slurm


@pytest.fixture
def cluster(tmp_path: Path, root: Path, monkeypatch) -> Path:
    """The stand-in cluster on PATH, the working directory an empty one; returns where the cluster keeps its notes."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FAKE_CLUSTER", str(folder))
    path = [root / "utils", Path(sys.executable).parent, root / "tests/utils/fake_cluster", os.environ["PATH"]]
    monkeypatch.setenv("PATH", ":".join(map(str, path)))
    return folder


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["slurm.py", *words], capture_output=True, text=True, timeout=60, check=False)


def run_here(monkeypatch, *words: str) -> tuple[slurm.Slurm, dict[int, int | str]]:
    """Runs a job in this process, not waiting long for the status of a task that is gone."""
    monkeypatch.setattr(slurm.Slurm, "settle", 0.3)
    job = jobs.read_command_line("slurm.py", list(words))
    backend = slurm.Slurm(job, jobs.write_script(job))
    return backend, jobs.run_tasks(job, backend, job.tasks, 1)


def test_what_is_asked_for_reaches_sbatch(cluster):
    words = ["--mem", "4G", "--time", "1:00:30", "--num-threads", "2", "--gpu", "1", "--max-jobs-run", "5"]
    process = run(*words, "--native=--partition=gpu", "--native=--account=a b", "JOB=2:4", "x%.JOB.log", "true")
    assert process.returncode == 0, process.stderr
    arguments = (cluster / "arguments").read_text().splitlines()
    wanted = ["--parsable", "--export=ALL", "--open-mode=append", "--job-name=x%", "--array=2-4%5", "--mem=4G"]
    wanted += ["--time=61", "--cpus-per-task=2", "--gres=gpu:1", "--partition=gpu", "--account=a b"]
    wanted += [f"--output={Path.cwd()}/q/x%%.out", f"{Path.cwd()}/q/x%.sh", "1", "0"]
    assert sorted(arguments) == sorted(wanted)


def test_a_refusal_is_passed_on(cluster):
    process = run("--native=--partition=nowhere", "x.log", "true")
    assert process.returncode == 1
    assert "slurm.py: sbatch refused the job: sbatch: error: invalid partition specified: nowhere" in process.stderr
    assert not list(Path("q").glob("x.run.*"))


def test_submission_waits_for_the_controller(cluster):
    (cluster / "away").touch()  # the stand-in comes back after one refusal
    process = run("x.log", "true")
    assert process.returncode == 0
    assert "trying again in 1 s" in process.stderr


def test_a_controller_that_is_away_decides_nothing(cluster):
    process = run("x.log", "bash", "-c", f"touch {cluster}/away; sleep 1.5; exit 3")
    assert process.returncode == 1
    assert "Unable to contact slurm controller" in process.stderr
    assert process.stderr.count("the jobs may well run, waiting") == 1
    assert "x.log (exit status 3) ends with" in process.stderr


def test_a_task_that_slurm_says_has_failed_counts_as_failed(cluster, monkeypatch):
    _, results = run_here(monkeypatch, "JOB=1:2", "x.JOB.log", "bash", "-c", "[ $JOB = 1 ] || kill -9 $PPID")
    assert results == {1: 0, 2: "FAILED, NonZeroExitCode"}


def test_a_task_that_slurm_no_longer_knows_counts_as_failed(cluster, monkeypatch):
    words = ["x.log", "bash", "-c", f"touch {cluster}/forgotten; kill -9 $PPID"]
    _, results = run_here(monkeypatch, *words)
    assert results == {1: "no longer known to Slurm"}


def test_a_task_that_was_ended_by_a_signal_may_be_started_again(cluster, monkeypatch):
    """After a preemption the task has left status 143, but Slurm still has it: only its second end counts."""
    answers = iter([{}, {}, {}])
    job = jobs.read_command_line("slurm.py", ["x.log", "true"])
    backend = slurm.Slurm(job, jobs.write_script(job))
    monkeypatch.setattr(backend, "submit", lambda tasks, attempt: (job.status_dir / "1.1").write_text("143\n"))

    def gone(tasks: set[int]) -> dict[int, str]:
        if next(answers, None) is None:
            (job.status_dir / "1.1").write_text("0\n")
        return {}

    monkeypatch.setattr(backend, "gone", gone)
    assert jobs.run_tasks(job, backend, [1], 1) == {1: 0}


def test_long_arrays_are_split(cluster, monkeypatch):
    """Slurm's indices end at 1000; what a task is called does not."""
    submitted = []
    monkeypatch.setattr(jobs, "submit", lambda *words: submitted.append(words) or f"{len(submitted)};cluster")
    job = jobs.read_command_line("slurm.py", ["JOB=1:2500", "x.JOB.log", "true"])
    backend = slurm.Slurm(job, Path("x.sh"))
    backend.submit([1, 2, 3, 1000, 1001, 2500], attempt=2)
    arrays = [next(word for word in words if word.startswith("--array")) for words in submitted]
    assert arrays == ["--array=1-3,1000", "--array=1", "--array=500"]
    assert [words[-3:] for words in submitted] == [("x.sh", "2", "0"), ("x.sh", "2", "1000"), ("x.sh", "2", "2000")]
    answer = subprocess.CompletedProcess([], 0, "1|1000|RUNNING|None\n2|1|PENDING|Priority\n3|500|TIMEOUT|None\n", "")
    monkeypatch.setattr(jobs, "ask", lambda *words, patience: answer)
    assert backend.gone({1000, 1001, 2500}) == {2500: "TIMEOUT, None"}


def test_without_slurm_the_message_says_what_to_do(tmp_path, root):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    if shutil.which("sbatch", path=environment["PATH"]):
        pytest.skip("Slurm is installed here")
    process = subprocess.run(
        [root / "utils/slurm.py", "x.log", "true"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 1
    assert "there is no sbatch on this machine (cmd_backend=local runs jobs on this one)" in process.stderr


def test_a_real_cluster(tmp_path, root):
    """Runs only where SLURM_CONF names a cluster that answers."""
    if not os.environ.get("SLURM_CONF") or not shutil.which("sinfo"):
        pytest.skip("no cluster: SLURM_CONF is not set")
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the cluster does not answer")
    words = ["JOB=1:3", "--retries", "1", "--time", "2", "log/x.JOB.log", "bash", "-c", "[ $JOB != 2 ]"]
    process = subprocess.run(
        [root / "utils/slurm.py", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 1
    assert "1 / 3 jobs failed (2), log is in log/x.2.log" in process.stderr
    assert "# Ended (code 0)" in (tmp_path / "log/x.3.log").read_text()
