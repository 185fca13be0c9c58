"""Recipes are run as a user runs them, in a copy of the tree's scripts that shares no data with it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

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
