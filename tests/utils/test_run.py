"""The job runners: one contract, held by run.py and, on a stand-in for a cluster, by slurm.py and sge.py."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import job_logs, jobs

RUNNERS = ["run.py", "slurm.py", "sge.py"]


class Runner:
    """A runner in a directory with a space, with the fake cluster on PATH."""

    def __init__(self, name: str, folder: Path, root: Path) -> None:
        self.name = name
        self.folder = folder / "work dir"
        self.cluster = folder / "cluster"
        self.folder.mkdir()
        self.cluster.mkdir()
        path = [root / "utils", Path(sys.executable).parent, root / "tests/utils/fake_cluster", os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": ":".join(map(str, path)), "FAKE_CLUSTER": str(self.cluster)}
        self.environment.pop("CUDA_VISIBLE_DEVICES", None)

    def start(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.name, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess:
        process = self.start(*words)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def log(self, name: str) -> list[str]:
        """What the job itself wrote."""
        lines = (self.folder / name).read_text().splitlines()
        return lines[lines.index("#") + 1 : -2]


@pytest.fixture(params=RUNNERS)
def runner(request, tmp_path: Path, root: Path) -> Runner:
    return Runner(request.param, tmp_path, root)


@pytest.fixture
def local(tmp_path: Path, root: Path) -> Runner:
    return Runner("run.py", tmp_path, root)


def test_an_array_runs_and_each_job_has_its_log(runner):
    process = runner.run("JOB=2:4", "exp/a b/log/x.JOB.log", "bash", "-c", "echo out $0 $JOB; echo err >&2", "JOB")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    for task in (2, 3, 4):
        text = (runner.folder / f"exp/a b/log/x.{task}.log").read_text()
        date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(
            rf"# bash -c 'echo out \$0 \$JOB; echo err >&2' {task}\n# Host {os.uname().nodename} \(attempt 1\)\n"
            rf"# Started at {date}\n#\nout {task} {task}\nerr\n# Accounting: time=\d+ threads=1\n"
            rf"# Ended \(code 0\) at {date}, elapsed time \d+ seconds\n",
            text,
        )
    assert not list((runner.folder / "exp/a b/q").glob("x.run.*"))


def test_a_failing_job_is_named_with_the_end_of_its_log(runner):
    process = runner.run("JOB=1:4", "log/x.JOB.log", "bash", "-c", "echo I am $JOB; exit $((JOB == 3 ? 7 : 0))")
    assert process.returncode == 1
    assert f"{runner.name}: 1 / 4 jobs failed (3), log is in log/x.3.log" in process.stderr
    assert "--- log/x.3.log (exit status 7) ends with:" in process.stderr
    assert "\nI am 3\n" in process.stderr
    assert "I am 2" not in process.stderr
    assert runner.log("log/x.4.log") == ["I am 4"]  # the others ran to their end


def test_a_single_job_without_JOB(runner):
    process = runner.run("log/JOB.log", "false")
    assert process.returncode == 1
    assert "job failed, log is in log/JOB.log" in process.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_jobs_with_all_that_they_started(runner, number):
    nap = str(20_000 + time.time() % 1000)
    (runner.folder / "nap.sh").write_text(f"sleep {nap} &\n(sleep {nap}; touch wrong)\ntouch wrong\n")

    def naps() -> bool:
        commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        with contextlib.suppress(OSError):  # gone between the look and the reading
            return f"sleep\0{nap}\0".encode() in list(commands)
        return True

    process = runner.start("JOB=1:3", "--max-jobs-run", "2", "log/x.JOB.log", "bash", "nap.sh")
    deadline = time.monotonic() + 20
    while not naps():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"{signal.Signals(number).name} came, the jobs of log/x.JOB.log were ended" in errors
    while naps():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (runner.folder / "wrong").exists()


def test_retries_run_only_what_failed_and_append_to_the_log(runner):
    script = 'echo try $JOB; [ $JOB = 1 ] || [ -e "again $JOB" ] || { touch "again $JOB"; exit 1; }'
    process = runner.run("JOB=1:3", "--retries", "2", "x.JOB.log", "bash", "-c", script)
    assert process.returncode == 0, process.stderr
    assert "2-3 failed, attempt 2" in process.stderr
    counts = [(runner.folder / f"x.{task}.log").read_text().count("\ntry") for task in (1, 2, 3)]
    assert counts == [1, 2, 2]
    assert "(attempt 2)" in (runner.folder / "x.2.log").read_text()
    assert runner.run("x.1.log", "true").returncode == 0
    assert "try" not in (runner.folder / "x.1.log").read_text()  # a new run starts a new log


def test_show_output_copies_the_log(runner):
    process = runner.run("--show-output", "x.log", "bash", "-c", "echo hello; echo world >&2")
    assert process.returncode == 0
    assert process.stderr == (runner.folder / "x.log").read_text()
    assert "hello\nworld\n" in process.stderr


def test_num_threads_reaches_the_program(runner):
    assert runner.run("--num-threads", "3", "x.log", "bash", "-c", "echo $OMP_NUM_THREADS").returncode == 0
    assert runner.log("x.log") == ["3"]
    assert "threads=3" in (runner.folder / "x.log").read_text()


ARGUMENTS = ["a b", "", "$HOME", "$HOME x", "*.sh", "`date`", "x;y", "{print $1, $2}", "e'f", 'c"d', 'it\'s "so"']
ARGUMENTS += [
    "new\nline",
    "\\",
    "a|b",
    "a>b",
    "&",
    "(",
    "~",
    "!x",
    "汉字",
    "#x",
    "%s",
    "{a,b}",
    "--opt=v w",
    "gunzip -c x|",
]


def test_arguments_arrive_as_they_are(local):
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert local.run("x.log", sys.executable, "-c", program, *ARGUMENTS).returncode == 0
    (line,) = local.log("x.log")
    assert json.loads(line) == ARGUMENTS


def test_operators_keep_their_meaning(local):
    words = ["printf", r"b\na\n", "|", "sort", ">", "out JOB", "&&", "cat", "<", "out JOB", ";", "cat", "gone", "2>&1"]
    process = local.run("JOB=1:1", "x.JOB.log", *words)
    assert process.returncode == 1  # of the last
    assert (local.folder / "out 1").read_text() == "a\nb\n"
    lines = local.log("x.1.log")
    assert lines[:2] == ["a", "b"]
    assert "gone" in lines[2]


@pytest.mark.parametrize("words", [["false", "|", "true"], ["false", ";", "true"]])
def test_a_failure_anywhere_fails_the_job(local, words):
    assert local.run("x.log", *words).returncode == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("JOB", "7"),
        ("x.JOB.gz", "x.7.gz"),
        ("wav_JOB.scp", "wav_7.scp"),
        ("split8/JOB/text", "split8/7/text"),
        ("--rank=JOB", "--rank=7"),
        ("a{JOB}b", "a7b"),
        ("JOB JOB", "7 7"),
        ("JOBS", "JOBS"),
        ("exp/JOBdir", "exp/JOBdir"),
        ("MYJOB", "MYJOB"),
        ("JOB_ID", "JOB_ID"),
        ("$SLURM_JOB_ID", "$SLURM_JOB_ID"),
        ("$JOB ${JOB}", "$JOB ${JOB}"),
    ],
)
def test_where_the_number_goes(text, wanted):
    assert jobs.replace(text, "JOB", "7") == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.log"], "a log file and a command are needed"),
        ([], "a log file and a command are needed"),
        (["JOB=1:4", "x.log", "true"], "4 jobs cannot share the log x.log: put JOB into its name"),
        (["JOB=0:4", "x.JOB.log", "true"], "JOB=0:4: expected JOB=FIRST:LAST with 1 <= FIRST <= LAST"),
        (["JOB=4:1", "x.JOB.log", "true"], "JOB=4:1: expected"),
        (["JOB=a:b", "x.JOB.log", "true"], "JOB=a:b: expected"),
        (["--mem", "lots", "x.log", "true"], "--mem takes an amount like 500M or 4G, not 'lots'"),
        (["--time", "soon", "x.log", "true"], "--time takes minutes, H:MM:SS or D-HH:MM:SS, not 'soon'"),
        (["--gpu", "one", "x.log", "true"], "--gpu takes a number of at least 0, not 'one'"),
        (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run takes a number of at least 1"),
        (["--partition", "x", "x.log", "true"], "unknown option --partition (--native=--partition=x"),
        (["--gpu", "--mem", "4G", "x.log", "true"], "--gpu lacks its value"),
        (["--mem"], "--mem lacks its value"),
    ],
)
def test_a_wrong_command_line_runs_nothing(local, words, message):
    process = local.run(*words)
    assert process.returncode == 255
    assert message in process.stderr
    assert list(local.folder.iterdir()) == []


def test_options_may_follow_the_array_and_other_names_stand_for_the_number():
    job = jobs.read_command_line("run.py", ["SPK=3", "--mem=4G", "--gpu", "1", "--time", "1-02:03:04", "SPK.log", "c"])
    assert (job.variable, job.tasks, job.mem, job.gpu, job.seconds) == ("SPK", [3], "4G", 1, 93784)
    assert jobs.read_command_line("run.py", ["--time", "90", "x", "c"]).seconds == 5400


def test_no_more_jobs_at_a_time_than_allowed(local):
    program = "touch run.$JOB; ls run.* | wc -l; sleep 0.2; rm run.$JOB"
    assert local.run("JOB=1:6", "--max-jobs-run", "2", "x.JOB.log", "bash", "-c", program).returncode == 0
    assert max(int(local.log(f"x.{task}.log")[0]) for task in range(1, 7)) == 2


def test_a_job_that_is_killed_with_its_shell_counts_as_failed(local):
    process = local.run("x.log", "bash", "-c", "echo before; kill -9 $PPID; sleep 0.1")
    assert process.returncode == 1
    assert "x.log (killed by signal 9) ends with:" in process.stderr


def test_without_a_gpu_the_option_does_nothing_but_say_so(local):
    tools = local.folder.parent / "tools"  # no nvidia-smi among them
    tools.mkdir()
    for name in ("bash", "tail", "mv", "env", "python3"):
        found = subprocess.run(["which", name], env=local.environment, capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    local.environment["PATH"] = f"{Path(local.environment['PATH'].split(':')[0])}:{tools}"
    process = local.run("--gpu", "1", "x.log", "bash", "-c", "echo [$CUDA_VISIBLE_DEVICES]")
    assert process.returncode == 0
    assert process.stderr == "run.py: no GPU here, --gpu 1 has no effect\n"
    assert local.log("x.log") == ["[]"]


@pytest.fixture
def with_gpus(local):
    """Three GPUs, of which the middle one is the least busy."""
    tools = local.folder.parent / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\nprintf '0, GPU-a, 900\\n1, GPU-b, 3\\n2, GPU-c, 40\\n'\n")
    (tools / "nvidia-smi").chmod(0o755)
    local.environment["PATH"] = f"{tools}:{local.environment['PATH']}"
    return local


def test_each_job_gets_gpus_of_its_own(with_gpus):
    program = "echo $CUDA_VISIBLE_DEVICES; sleep 0.3"
    assert with_gpus.run("--gpu", "1", "JOB=1:3", "x.JOB.log", "bash", "-c", program).returncode == 0
    assert [with_gpus.log(f"x.{task}.log") for task in (1, 2, 3)] == [["1"], ["2"], ["0"]]
    assert with_gpus.run("--gpu", "2", "JOB=1:2", "y.JOB.log", "bash", "-c", program).returncode == 0
    assert sorted(with_gpus.log("y.1.log") + with_gpus.log("y.2.log")) != [["1,2"]] * 2
    for task in (1, 2):  # one after the other, each with two
        assert len(set(with_gpus.log(f"y.{task}.log")[0].split(","))) == 2


def test_gpus_are_taken_from_those_allowed(with_gpus):
    with_gpus.environment["CUDA_VISIBLE_DEVICES"] = "0,2"
    assert with_gpus.run("--gpu", "1", "x.log", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES").returncode == 0
    assert with_gpus.log("x.log") == ["2"]
    process = with_gpus.run("--gpu", "3", "x.log", "true")
    assert process.returncode == 255
    assert "--gpu 3, but there are only 2: 2 0" in process.stderr


def test_help_is_the_contract(local):
    process = local.run("--help")
    assert process.returncode == 0
    assert "run.py [OPTION...] [JOB=1:N] LOG COMMAND" in process.stdout
    assert "--max-jobs-run" in process.stdout


def test_only_the_last_state_of_a_progress_bar_is_quoted(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b"first\n" * 50 + b"1%\r50%\r99%\nlast\n")
    assert job_logs.tail(log)[-3:] == ["first", "99%", "last"]
    assert len(job_logs.tail(log)) == job_logs.TAIL_LINES


@pytest.mark.parametrize(("tasks", "text"), [([3], "3"), ([1, 2, 3, 7], "1-3,7"), ([9, 1, 8, 5], "1,5,8-9")])
def test_ranges(tasks, text):
    assert job_logs.format_ranges(tasks) == text


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [("", "run.py"), ("local", "run.py"), ("slurm", "slurm.py --mem 4G"), ("sge", "sge.py --mem 4G")],
)
def test_cmd_sh_chooses_the_runner(root, backend, wanted):
    command = ["bash", "-euc", '. ./cmd.sh; echo "$train_cmd|$decode_cmd|$cuda_cmd"']
    process = subprocess.run(
        command, cwd=root, env={**os.environ, "cmd_backend": backend}, capture_output=True, text=True, check=True
    )
    assert process.stdout.split("|")[:2] == [wanted, wanted]


def test_cmd_sh_refuses_another_backend(root):
    command = ["bash", "-c", "cmd_backend=pbs; . ./cmd.sh; echo on"]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "cmd_backend is local, slurm or sge, not 'pbs'" in process.stderr
