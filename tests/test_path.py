"""path.sh: it takes the active environment if that will do, else .venv, and makes that when need be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Stands for utils/setup_env.sh (which has tests of its own): notes each call; --check succeeds once it has made .venv.
SETUP = """#!/usr/bin/env bash
set -euo pipefail
root=$(dirname -- "$(dirname -- "$0")")
echo "$*" >>"$root/calls"
if [[ ${1:-} == --check ]]; then
  [[ -e $root/.venv/made ]]
else
  [[ -z ${SETUP_FAILS:-} ]] || exit 1
  mkdir -p "$root/.venv/bin"
  cp "$root/python3" "$root/.venv/bin/python3"
  : >"$root/.venv/made"
fi
"""


class Tree:
    """A checkout with path.sh, and an active environment whose `python3` is that of the tests."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "克隆 a"
        self.active = tmp_path / "active" / "bin"
        self.recipe = self.root / "egs" / "x" / "y"
        for folder in (self.root / "utils", self.active, self.recipe):
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "path.sh", self.root)
        shutil.copy(ROOT / "utils" / "requirements.py", self.root / "utils")
        for path, text in (
            (self.root / "utils" / "setup_env.sh", SETUP),
            (self.root / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
            (self.active / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
        ):
            path.write_text(text)
            path.chmod(0o755)
        self.requires(pytest.__version__)
        self.environment = {"PATH": f"{self.active}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def requires(self, version: str) -> None:
        (self.root / "requirements.txt").write_text(f"pytest=={version}\n")

    def source(self, code: str = "", folder: Path | None = None, file: str = "../../../path.sh", **environment: str):
        """Sources path.sh as a recipe does, runs `code`, and returns what the shell then has."""
        show = 'printf "%s\\n" "$(command -v python3)" "$RECIPE_ROOT" "$PATH" "$PYTHONPATH" "$PYTHONSAFEPATH"'
        script = f'set -euo pipefail\n. "{file}"\n{code}\n{show}'
        both = {**self.environment, **environment}
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder or self.recipe,
            env=both,
            capture_output=True,
            text=True,
            check=False,
        )
        names = ("python", "RECIPE_ROOT", "PATH", "PYTHONPATH", "PYTHONSAFEPATH")
        shell = dict(zip(names, done.stdout.splitlines()[-5:], strict=False)) if done.returncode == 0 else {}
        return done, shell

    def calls(self) -> list[str]:
        log = self.root / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_an_active_environment_that_will_do_is_taken(tree):
    done, shell = tree.source(VIRTUAL_ENV="/somewhere")
    assert done.returncode == 0, done.stderr
    assert shell["python"] == str(tree.active / "python3")
    assert shell["RECIPE_ROOT"] == shell["PYTHONPATH"] == str(tree.root)
    assert shell["PATH"] == f"{tree.root}/utils:{tree.environment['PATH']}"
    assert shell["PYTHONSAFEPATH"] == "1"
    assert (done.stderr, tree.calls()) == ("", [])


def test_without_one_the_python_on_the_path_will_do(tree):
    _, shell = tree.source()
    assert shell["python"] == str(tree.active / "python3")
    assert tree.calls() == ["--check"]  # there is no .venv; none is made


@pytest.mark.parametrize("variable", [{}, {"VIRTUAL_ENV": "/somewhere"}, {"CONDA_PREFIX": "/somewhere"}])
def test_otherwise_a_venv_is_made_once(tree, variable):
    tree.requires("0.0.1")
    done, shell = tree.source(**variable)
    assert done.returncode == 0, done.stderr
    assert shell["python"] == f"{tree.root}/.venv/bin/python3"
    assert shell["PATH"].startswith(f"{tree.root}/utils:{tree.root}/.venv/bin:")
    assert tree.calls().count("") == 1
    tree.source(**variable)
    assert tree.calls().count("") == 1


def test_a_finished_venv_is_taken_without_asking_python(tree):
    tree.requires("0.0.1")
    tree.source()
    for python in (tree.active / "python3", tree.root / ".venv" / "bin" / "python3"):
        python.write_text("#!/bin/sh\necho asked >&2\n")
    done, shell = tree.source()
    assert shell["python"] == f"{tree.root}/.venv/bin/python3"
    assert done.stderr == ""


def test_a_failing_setup_stops_the_recipe(tree):
    tree.requires("0.0.1")
    done, _ = tree.source("echo went on >&2", SETUP_FAILS="1")
    assert done.returncode == 1
    assert "went on" not in done.stderr


def test_no_python_at_all_still_reaches_setup(tree):
    (tree.active / "python3").unlink()
    tools = tree.active
    for name in ("bash", "dirname", "mkdir", "cp", "env"):
        (tools / name).symlink_to(shutil.which(name))
    done, shell = tree.source(PATH=str(tools))
    assert done.returncode == 0, done.stderr
    assert shell["python"] == f"{tree.root}/.venv/bin/python3"


def test_the_active_environment_can_be_insisted_on(tree):
    tree.requires("0.0.1")
    _, shell = tree.source(RECIPE_ENV="active")
    assert shell["python"] == str(tree.active / "python3")
    assert tree.calls() == []


def test_sourcing_twice_changes_nothing(tree):
    tree.requires("0.0.1")
    once = tree.source(PYTHONPATH="/mine")[1]
    twice = tree.source('. "../../../path.sh"; . "../../../path.sh"', PYTHONPATH="/mine")[1]
    assert once == twice
    assert once["PYTHONPATH"] == f"{tree.root}:/mine"


@pytest.mark.parametrize("cdpath", ["", "..:/usr"])
def test_it_can_be_sourced_from_anywhere(tree, tmp_path, cdpath):
    linked = tmp_path / "linked"
    linked.symlink_to(tree.root)
    for folder, file in (
        (Path("/"), f"{tree.root}/path.sh"),
        (tree.root, "path.sh"),
        (tree.root, "./path.sh"),
        (tree.root.parent, f"{tree.root.name}/path.sh"),
        (linked, "./path.sh"),
    ):
        _, shell = tree.source(folder=folder, file=file, CDPATH=cdpath)
        assert shell.get("RECIPE_ROOT") == str(tree.root), (folder, file)


def test_icefall_comes_behind_our_own_packages(tree, tmp_path):
    icefall = tmp_path / "ice fall"
    icefall.mkdir()
    _, shell = tree.source(ICEFALL=str(icefall))
    assert shell["PYTHONPATH"] == f"{tree.root}:{icefall}"
    done, _ = tree.source(ICEFALL=str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "nowhere is not a directory; expected a checkout of icefall" in done.stderr


def test_a_recipes_own_folder_does_not_shadow_the_packages(root, tmp_path):
    """PYTHONSAFEPATH keeps the working directory off the path: a recipe may have a local/ of its own."""
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "__init__.py").write_text("")
    code = f'. "{root}/path.sh"; python3 -c "import local; print(local.__file__)"'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "RECIPE_ENV": "active", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    if sys.version_info >= (3, 11):  # which has PYTHONSAFEPATH
        assert done.stdout.strip() == str(root / "local" / "__init__.py")
