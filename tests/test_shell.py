"""Every shell script: it parses, shellcheck has nothing to say, its form is shfmt's, and it stops at errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("", "utils", "tests", ".ci", "egs")  # "" is the top of the repository, not below


def scripts() -> list[Path]:
    found = []
    for place in PLACES:
        for folder, names, leaves in os.walk(ROOT / place):
            names[:] = [n for n in names if place and n not in {"data", "exp", "download", "__pycache__"}]
            paths = [Path(folder) / leaf for leaf in leaves]
            found += [path for path in paths if path.suffix == ".sh" or starts_with_bash(path)]
    return sorted(found)


def starts_with_bash(path: Path) -> bool:
    if path.suffix or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as stream:
        return b"bash" in stream.readline()


def tool(name: str) -> str:
    """A tool that requirements.txt brings, beside the Python that runs the tests or on the PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing; utils/setup_env.sh installs it"
    return found


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def run(*command: str) -> str:
    """Standard output and error of a command run at the top of the repository."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_scripts_are_found():
    assert {"path.sh", "utils/setup_env.sh", "tests/run.sh", ".ci/run"} <= set(names(scripts()))


def test_scripts_parse():
    assert {name: said for name in names(scripts()) if (said := run("bash", "-n", name))} == {}


def test_shellcheck_is_silent():
    assert (
        run(tool("shellcheck"), "--external-sources", "--source-path=SCRIPTDIR", "--severity=style", *names(scripts()))
        == ""
    )


def test_shfmt_changes_nothing():
    assert run(tool("shfmt"), "-d", "-i", "2", "-ci", *names(scripts())) == ""


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_that_run_are_strict(path):
    """A script may be executed and is strict from its first line; a file to be sourced is neither."""
    lines = path.read_text("utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if os.access(path, os.X_OK):
        assert lines[0] == "#!/usr/bin/env bash"
        assert code[0] == "set -euo pipefail"
    else:
        assert not lines[0].startswith("#!"), "has an interpreter line but may not be executed: chmod +x"


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("egs/*/*/run.sh")), ids=lambda path: path.parent.name)
def test_recipes_take_their_environment_from_path_sh(recipe):
    lines = recipe.read_text("utf-8").splitlines()
    assert os.access(recipe, os.X_OK)
    assert [line for line in lines if ". ../../../path.sh" in line]
    code = [line.split("#")[0].split() for line in lines]
    assert [words for words in code if {"eval", "awk", "perl"} & set(words)] == []
