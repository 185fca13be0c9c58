"""utils/requirements.py: what is pinned, what is installed, and the difference; and our own files hold to it."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from utils import requirements
from utils.requirements import Unmet


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An empty place that alone is on sys.path; returns a function that installs into it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    (tmp_path / "site").mkdir()

    def install(*names):
        for name in names:
            (tmp_path / "site" / name).mkdir()

    return install


def write(tmp_path, text):
    path = tmp_path / "requirements.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_pins_are_read(tmp_path):
    text = """
    # comment
    -c constraints.txt
    Kaldi_Decoder==0.3.2  # search
    torch==2.11.0
    old==1.0; python_version < "3.0"
    new==1.0 ; python_version >= "3.0"
    k2==1.23.4; python_version == "2.7" --hash=sha256:00
    k3==1.23.4 --hash=sha256:00 --hash=sha256:11
    """
    assert requirements.pins(write(tmp_path, text)) == {
        "kaldi-decoder": "0.3.2",
        "torch": "2.11.0",
        "new": "1.0",
        "k3": "1.23.4",
    }


@pytest.mark.parametrize("line", ["torch", "torch>=2", "torch == 2.11.0", "a==1; sys_platform == 'linux'", "-e ."])
def test_a_line_that_pins_nothing_is_named(tmp_path, line):
    with pytest.raises(
        ValueError, match=rf"requirements.txt, line 2: expected name==version, found '{re.escape(line)}'"
    ):
        requirements.pins(write(tmp_path, f"a==1\n{line}\n"))


def test_the_running_python_decides(tmp_path):
    major, minor = sys.version_info[:2]
    here = f'here==1; python_version == "{major}.{minor}"'
    before = f'before==1; python_version < "{major}.{minor}"'
    after = f'after==1; python_version >= "{major}.{minor + 1}"'
    assert requirements.pins(write(tmp_path, "\n".join([here, before, after]))) == {"here": "1"}


def test_installed_packages_are_found(packages):
    packages("torch-2.11.0+cu126.dist-info", "kaldi_decoder-0.3.2.dist-info", "six-1.17.0-py3.11.egg-info", "torch")
    assert requirements.installed() == {"torch": "2.11.0+cu126", "kaldi-decoder": "0.3.2", "six": "1.17.0"}


def test_the_first_on_the_path_counts(packages, tmp_path):
    packages("a-1.0.dist-info")
    (tmp_path / "later" / "a-2.0.dist-info").mkdir(parents=True)
    sys.path += ["", str(tmp_path / "nowhere"), str(tmp_path / "later")]
    assert requirements.installed()["a"] == "1.0"


def test_installed_agrees_with_the_metadata():
    """The reading of names must say what importlib says of the real environment, just sooner."""
    expected = {requirements.normalise(each.name): each.version for each in reversed(list(metadata.distributions()))}
    found = requirements.installed()
    assert found == expected
    assert "pytest" in found


def test_unmet(packages, tmp_path):
    packages("torch-2.11.0+cu126.dist-info", "numpy-2.4.5.dist-info", "lhotse-1.33.0.dist-info", "a-1.0rc1.dist-info")
    file = write(tmp_path, "torch==2.11.0\nnumpy==2.4.6\nlhotse==1.33.0\nscipy==1.17.1\na==1.0\n")
    lacking = requirements.unmet(file)
    assert lacking == [
        Unmet("numpy", "2.4.6", "2.4.5"),
        Unmet("scipy", "1.17.1", None),
        Unmet("a", "1.0", "1.0rc1"),
    ]
    assert [str(each) for each in lacking[:2]] == [
        "numpy==2.4.6: 2.4.5 is installed",
        "scipy==1.17.1: not installed",
    ]


def test_command_line(tmp_path):
    def ask(text):
        command = [sys.executable, requirements.__file__, str(write(tmp_path, text))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    here = metadata.version("pytest")
    assert ask(f"pytest=={here}") == (0, "")
    assert ask(f"pytest=={here}\nno-such==1") == (1, "no-such==1: not installed\n")


def test_asking_needs_no_package():
    """path.sh asks an interpreter that may have nothing, and at every start."""
    heavy = ("importlib.metadata", "omegaconf", "subprocess")
    code = f"import sys, utils.requirements; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("minor", range(10, 15))
def test_our_files_agree_for_every_python(monkeypatch, root, minor):
    """constraints.txt is generated from requirements.txt; whoever changes one has to make the other anew."""
    monkeypatch.setattr(requirements.sys, "version_info", (3, minor, 0))
    pinned = requirements.pins(root / "requirements.txt")
    assert {"torch", "torchaudio", "lhotse", "numpy", "pytest"} <= set(pinned)
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    locked = {}
    for line in lines:
        if not line.startswith("#"):
            locked.setdefault(requirements.normalise(line.partition("==")[0]), set()).add(
                line.partition("==")[2].split()[0]
            )
    assert {name: version for name, version in pinned.items() if version not in locked.get(name, ())} == {}


def test_our_k2_pins_a_file_for_each_python(root):
    lines = [line for line in (root / "requirements-k2.txt").read_text("utf-8").splitlines() if line.startswith("k2==")]
    hashes = {
        re.search(r'python_version == "(3\.\d+)"', line)[1]: line.partition("--hash=sha256:")[2] for line in lines
    }
    assert set(hashes) == {"3.10", "3.11"}
    assert len(set(hashes.values())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in hashes.values())
