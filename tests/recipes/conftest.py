"""Recipes are run as a user runs them, in a copy of the tree's scripts that shares no data with it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL_CORPUS = """
t60: [0.1, 0.35]
direct_to_reverb: [12.0, 24.0]
train: {voices: 40, sentences: 10}
dev: {voices: 5, sentences: 6}
test: {voices: 6, sentences: 6}
noises: 1
"""


@pytest.fixture(scope="session")
def house(tmp_path_factory, root: Path) -> Path:
    """The repository's code and recipes in a path with a space, using the environment that runs the tests."""
    house = tmp_path_factory.mktemp("recipes") / "a house"
    for name in ("utils", "local", "steps"):
        shutil.copytree(root / name, house / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "egs", house / "egs", ignore=shutil.ignore_patterns("data", "exp", "download"))
    for name in ("path.sh", "cmd.sh", "requirements.txt", "constraints.txt"):
        shutil.copy(root / name, house / name)
    (house / "egs/aishell/asr/conf/small_corpus.yaml").write_text(SMALL_CORPUS)
    return house


@pytest.fixture(scope="session")
def run(house: Path) -> Run:
    """Runs a recipe's run.sh (egs/aishell/asr unless `of` says) with arguments; returns the completed process."""
    environment = {**os.environ, "RECIPE_ENV": "active", "OMP_NUM_THREADS": "2"}

    def start(*arguments: str, of: str = "aishell/asr", **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"egs/{of}/run.sh", *arguments],
            cwd=house, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def recipe(house: Path) -> Path:
    """The directory that the recipe runs in."""
    return house / "egs/aishell/asr"


SMALL_WORDS = ("--corpus", "mini", "--corpus-conf", "conf/ci_corpus.yaml", "--conf", "conf/ci.yaml")


@dataclass(frozen=True)
class SmallRun:
    """A recipe run as a whole on a small mini corpus: its `folder`, its run's, and what was `printed`."""

    folder: Path
    printed: str
    again: Callable[[], subprocess.CompletedProcess[str]]

    @property
    def exp(self) -> Path:
        """exp/mini_ci."""
        return self.folder / "exp/mini_ci"

    def results(self) -> dict[str, Any]:
        """results.json."""
        return json.loads((self.exp / "results.json").read_text())

    def check_that_a_second_run_has_nothing_to_do(self) -> None:
        """All stages are done, and the results stay as they are."""
        before = (self.exp / "results.json").read_bytes()
        done = self.again()
        assert done.returncode == 0
        assert "done before" in done.stdout or "skip" in done.stdout
        assert (self.exp / "results.json").read_bytes() == before


@pytest.fixture(scope="session")
def run_small(house: Path, run: Run) -> Callable[[str, str, str], SmallRun]:
    """A function that writes the YAMLs of an experiment and of a corpus into a recipe, and runs it from end to end."""

    def start(of: str, conf: str, corpus: str) -> SmallRun:
        folder = house / "egs" / of
        (folder / "conf/ci.yaml").write_text(conf)
        (folder / "conf/ci_corpus.yaml").write_text(corpus)
        done = run(*SMALL_WORDS, of=of, timeout=900)
        assert done.returncode == 0, done.stdout[-4000:]
        return SmallRun(folder, done.stdout, lambda: run(*SMALL_WORDS, of=of, timeout=60))

    return start
