"""utils/cli.py and utils/log.py: how a verb ends, and what its log looks like."""

import logging
import os
import re
import subprocess
import sys

import pytest

from utils import cli, log


@pytest.fixture(autouse=True)
def own_handlers():
    """Logging is of the whole process; hand it back to pytest as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def fails(error):
    def main():
        raise error

    return main


def verb(root, body, **environment):
    """Runs a verb with this body in a process of its own."""
    code = f"from utils import cli\ndef main(argv=None):\n    {body}\ncli.run(main)"
    environment = {**os.environ, "PYTHONPATH": str(root), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_success_is_silent(root):
    done = verb(root, "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('data/語料/text: line 3 is empty')", "data/語料/text: line 3 is empty"),
        ("open('nowhere/wav.scp')", "nowhere/wav.scp"),
    ],
)
def test_a_users_mistake_is_one_line(root, body, message):
    done = verb(root, body)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert message in lines[0] and " ERROR " in lines[0]
    assert not [line for line in lines if line.startswith(("Traceback", "  File"))]


def test_a_users_mistake_can_be_traced(root):
    done = verb(root, "raise ValueError('bad')", RECIPE_TRACEBACK="true")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and done.stderr.strip().endswith("ValueError: bad")


@pytest.mark.parametrize("body", ["assert False, 'ours'", "raise KeyError('ours')", "raise RuntimeError('ours')"])
def test_a_defect_of_ours_keeps_its_traceback(root, body):
    done = verb(root, body)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ours" in done.stderr


def test_an_exit_status_passes():
    with pytest.raises(SystemExit) as end:
        cli.run(fails(SystemExit(2)))
    assert end.value.code == 2


def test_lines_have_time_level_and_message(capsys):
    log.setup()
    logging.info("%d 句", 3)
    logging.warning("careful")
    logging.debug("not shown")
    out, err = capsys.readouterr()
    assert out == ""
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(f"{stamp} INFO 3 句\n{stamp} WARNING careful\n", err)


def test_a_log_file_gets_the_same_lines_and_keeps_the_old(tmp_path, capsys):
    path = tmp_path / "exp 一" / "train.log"
    for message in ("first", "第二"):
        log.setup(path)
        logging.info(message)
    assert capsys.readouterr().err == path.read_text("utf-8")
    assert [line.split(" ", 3)[3] for line in path.read_text("utf-8").splitlines()] == ["first", "第二"]


def test_setting_up_twice_writes_once(capsys):
    log.setup()
    assert log.setup() is logging.getLogger()
    logging.info("once")
    assert capsys.readouterr().err.count("once") == 1
