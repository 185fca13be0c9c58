"""utils/doctor.py and utils/k2_wheels.py: what is said of environments that are whole, bare or broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils import doctor, k2_wheels
from utils.doctor import Line, Probe

TORCH = {"version": "2.11.0+cu130", "cuda": "13.0", "hip": None, "devices": [], "usable": False}
PYTHON = f"cp3{sys.version_info.minor}"
STUBS = {
    "torch": "class version: cuda = '13.0'; hip = None\n"
    "class cuda: device_count = is_available = staticmethod(lambda: 0)\n__version__ = '2.11.0+cu130'",
    "torchaudio": "__version__ = '2.11.0'",
    "lhotse": "__version__ = '1.33.0'",
    "kaldifst": "",
    "kaldi_decoder": "",
}


@pytest.fixture
def site(tmp_path):
    """A place in front of the real packages, with small ones under the names that the doctor looks for."""
    folder = tmp_path / "site 一"
    folder.mkdir()
    for name, text in STUBS.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def examine(site: Path, root: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": f"{site}:{root}", "PYTHONSAFEPATH": "1"}
    environment["PATH"] = "/usr/bin:/bin"
    command = command or ("-m", "utils.doctor")
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


def install(site: Path, name: str, version: str, *files: str) -> None:
    """Leaves in `site` what an installer records of a package."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_run_by_its_path_or_its_name(site, root):
    by_path = examine(site, root, str(root / "utils" / "doctor.py"))
    by_name = examine(site, root)
    assert by_path.stdout == by_name.stdout
    for topic in ("Python", "packages", "torch", "GPU", "lhotse", "engine", "k2"):
        assert f" {topic} " in by_path.stdout
    assert examine(site, root, "-m", "utils.doctor", "--help").stdout.startswith("usage: ")


def test_a_broken_package_is_named_and_fails(site, root):
    (site / "torchaudio.py").write_text("raise OSError('libtorchaudio.so: undefined symbol')")
    (site / "kaldifst.py").write_text("import os; os.abort()")  # a crash must not take the doctor along
    done = examine(site, root)
    assert done.returncode == 1
    assert "!! torchaudio  does not import: OSError: libtorchaudio.so: undefined symbol" in done.stdout
    assert "!! engine      none; kaldifst: the process ended with status -6" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("wrong: ")
    assert {"torchaudio", "engine"} <= set(done.stdout.splitlines()[-1][len("wrong: ") :].split(", "))


def test_k2_for_another_python_is_recognised(site, root):
    """What every installer does on Python 3.11 with the index's k2: the binary of Python 3.10 arrives."""
    binary = f"_k2.cpython-3{sys.version_info.minor - 1}-x86_64-linux-gnu.so"
    install(site, "k2", "1.23.4", binary, "k2/__init__.py")
    (site / "k2.py").write_text("import _k2")
    said = examine(site, root).stdout
    assert "!  k2          1.23.4 is installed, but does not import" in said
    assert (
        f"its binary is for Python 3.{sys.version_info.minor - 1}, and this is Python 3.{sys.version_info.minor}"
        in said
    )
    assert "pip uninstall k2" in said
    assert f"+cuda13.0.torch2.11.0-{PYTHON}-{PYTHON}-" in said
    assert "   engine      kaldi-decoder" in said  # nothing is lost without k2


def test_k2_is_the_engine_when_it_imports(site, root):
    version = "1.24.4.dev20260423+cuda13.0.torch2.11.0"
    install(site, "k2", version, "k2.py")
    (site / "k2.py").write_text("with_cuda = True")
    said = examine(site, root).stdout
    assert f"   engine      k2 {version}" in said
    assert f"   k2          {version} imports" in said


def test_a_probe_says_what_came_instead():
    assert doctor.probe("json", "dict(name=m.__name__)") == Probe({"name": "json"})
    assert doctor.probe("no_such_module", "dict()").error == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "nowhere" in doctor.probe("json", "dict()", python="/nowhere/python3").error


@pytest.mark.parametrize(
    ("version", "mark"), [((3, 9), "!!"), ((3, 10), ""), ((3, 14), ""), ((3, 15), "!!")], ids=lambda v: str(v)
)
def test_python_has_to_be_of_the_supported_versions(monkeypatch, version, mark):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    line = doctor.check_python()
    assert line.mark == mark
    assert ("3.10 to 3.14" in line.remedy) == bool(mark)


def test_every_unmet_requirement_is_listed(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("pytest==0.0.1\nno-such==1\n")
    line = doctor.check_requirements(file)
    assert line.mark == "!!"
    first, *rest = line.text.splitlines()
    assert first == "0 of 2 packages as pinned in requirements.txt"
    assert rest == [f"pytest==0.0.1: {pytest.__version__} is installed", "no-such==1: not installed"]
    file.write_text(f"pytest=={pytest.__version__}\n")
    assert doctor.check_requirements(file) == Line("packages", "1 of 1 packages as pinned in requirements.txt")


@pytest.mark.parametrize(
    ("answer", "driver", "mark", "words"),
    [
        ({"devices": ["H200", "H200"], "usable": True, "cuda": "13.0"}, "580.65", "", "2: H200, H200 (driver 580.65)"),
        ({"devices": [], "usable": False, "cuda": "13.0"}, None, "", "none that a driver answers for"),
        (
            {"devices": [], "usable": False, "cuda": "13.0"},
            "535.1",
            "!",
            "built for CUDA 13.0, which this driver may be",
        ),
        ({"devices": [], "usable": False, "cuda": None}, "580.65", "!", "torch is built for the CPU"),
    ],
)
def test_gpu(answer, driver, mark, words):
    line = doctor.check_gpu(Probe(answer), driver)
    assert line.mark == mark
    assert words in line.text
    assert ("580 or later" in line.remedy) == bool(mark)


@pytest.mark.parametrize(
    ("torch", "tag"),
    [
        ({"version": "2.11.0+cu130", "cuda": "13.0"}, "cuda13.0.torch2.11.0"),
        ({"version": "2.6.0+cu124", "cuda": "12.4", "hip": None}, "cuda12.4.torch2.6.0"),
        ({"version": "2.11.0", "cuda": None, "hip": "7.1.25424-4179531dcd"}, "rocm7.1.torch2.11.0"),
        ({"version": "2.13.0+cpu", "cuda": None, "hip": None}, "cpu.torch2.13.0"),
    ],
)
def test_build_tags_are_those_of_the_k2_project(torch, tag):
    assert k2_wheels.build_tag(torch) == tag


def test_a_known_build_has_its_date_and_another_has_none():
    tags = "manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    known = k2_wheels.wheel_name(TORCH, (3, 12), "x86_64")
    assert known == f"k2-1.24.4.dev20260423+cuda13.0.torch2.11.0-cp312-cp312-{tags}"
    unknown = k2_wheels.wheel_name({"version": "2.9.1+cpu", "cuda": None}, (3, 11), "x86_64")
    assert unknown == f"k2-1.24.4.dev<date>+cpu.torch2.9.1-cp311-cp311-{tags}"


@pytest.mark.parametrize(
    ("torch", "machine", "words"),
    [
        (TORCH, "x86_64", ["'Pre-compiled CUDA wheels (Linux)', 'torch 2.11.0'", "+cuda13.0.torch2.11.0-"]),
        (
            {"version": "2.9.1", "cuda": None},
            "aarch64",
            ["'Pre-compiled CPU wheels (Linux)'", "newest <date>", "aarch64"],
        ),
        ({"version": "2.11.0", "cuda": None, "hip": "7.2.0"}, "x86_64", ["'Pre-compiled ROCm wheels (Linux)'"]),
        (TORCH, "aarch64", ["Linux, aarch64, torch for cuda13.0", "no such wheel"]),
    ],
)
def test_advice_names_the_wheel_and_where_it_is_listed(monkeypatch, torch, machine, words):
    monkeypatch.setattr(k2_wheels.platform, "system", lambda: "Linux")
    said = k2_wheels.advice(torch, machine)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("version", "files", "torch", "words"),
    [
        ("1.24.4.dev20260423+cuda13.0.torch2.10.0", [], TORCH, "built for cuda13.0.torch2.10.0, and here is cuda13.0"),
        ("1.24.4.dev20260423+cuda12.8.torch2.11.0", [], TORCH, "built for cuda12.8.torch2.11.0, and here is cuda13.0"),
        ("1.24.4.dev20260423+cuda13.0.torch2.11.0", [], TORCH, ""),
        ("1.23.4", [f"_k2.cpython-3{sys.version_info.minor}-x86_64.so"], TORCH, "torch1.13.1, and here is torch2.11.0"),
        ("1.23.4", [], {"version": "1.13.1+cu117", "cuda": "11.7"}, ""),
        ("1.23.4", [], {}, ""),
        ("2.0", [], TORCH, ""),
    ],
)
def test_why_k2_does_not_import(version, files, torch, words):
    said = k2_wheels.what_is_wrong(version, files, torch)
    assert words in said
    assert bool(words) == bool(said)


def test_the_second_environment(tmp_path):
    assert "not made" in doctor.check_k2_environment(tmp_path / "python3").text
    line = doctor.check_k2_environment(Path(sys.executable))
    assert line.mark in ("", "!") and "!!" not in line.mark
