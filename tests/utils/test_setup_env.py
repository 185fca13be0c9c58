"""utils/setup_env.sh, run for real on a small tree with packages of our own and no network."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV_VERSION = re.search(r"^uv_version=(\S+)$", (ROOT / "utils" / "setup_env.sh").read_text("utf-8"), re.MULTILINE)[1]

# Stands for uv: notes how it was called, fails or hangs when told to, and installs by unpacking.
FAKE_UV = """
import glob, os, sys, time, zipfile

def main():
    with open(os.environ["UV_LOG"], "a") as log:
        print(*sys.argv[1:], "index:", os.environ.get("UV_DEFAULT_INDEX"), file=log)
    if os.environ.get("UV_DOES") == "fail":
        sys.exit("uv: no index within reach")
    site = glob.glob(os.path.dirname(os.path.dirname(sys.argv[4])) + "/lib/*/site-packages")[0]
    for line in open(sys.argv[-1]):
        if "==" in line:
            name, version = line.replace(";", " ").split()[0].split("==")
            for old in glob.glob(f"{site}/{name}-*.dist-info"):
                os.rename(old, old + ".old")
            zipfile.ZipFile(f"{os.environ['PIP_FIND_LINKS']}/{name}-{version}-py3-none-any.whl").extractall(site)
    if os.environ.get("UV_DOES") == "hang":
        time.sleep(120)
"""


def wheel(folder: Path, name: str, version: str, text: str = "", script: str = "") -> None:
    """Writes a wheel with one module, and a command of that name if `script` says what it runs."""
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {script}\n"
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).rstrip(b'=').decode()},\n"
        for path, body in contents.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, body in {**contents, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(path, body)


# An interpreter whose `-m venv DIR` copies a ready environment: pip's own installation takes seconds each time.
QUICK_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then exec cp -al '{template}/.' "$3"; fi
exec '{python}' "$@"
"""


@pytest.fixture(scope="module")
def quick_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    template = folder / "template" / "bin" / "python3"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "template")], check=True)
    wheel(folder, "uv", UV_VERSION, FAKE_UV, script="uv:main")
    install = [template, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "-f", folder, f"uv=={UV_VERSION}"]
    subprocess.run(install, check=True)
    path = folder / "python3"
    path.write_text(QUICK_PYTHON.format(template=folder / "template", python=sys.executable))
    path.chmod(0o755)
    return path


class Tree:
    """A checkout with nothing but the scripts under test, and what they are run with."""

    def __init__(self, tmp_path: Path, python: Path) -> None:
        self.root = tmp_path / "克隆 a"
        self.venv = self.root / ".venv"
        self.wheels = tmp_path / "wheels"
        self.log = tmp_path / "uv.log"
        (self.root / "utils").mkdir(parents=True)
        self.wheels.mkdir()
        for name in ("setup_env.sh", "requirements.py"):
            shutil.copy(ROOT / "utils" / name, self.root / "utils" / name)
        wheel(self.wheels, "uv", UV_VERSION, FAKE_UV, script="uv:main")
        for name, version in (("alpha", "1.0"), ("alpha", "2.0"), ("beta", "1.0")):
            wheel(self.wheels, name, version)
        self.write("alpha==1.0\n")
        (self.root / "constraints.txt").write_text("alpha<3\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "VIRTUAL", "PYTHON"))}
        quiet = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.environment = {**kept, **quiet, "PIP_FIND_LINKS": str(self.wheels), "UV_LOG": str(self.log)}
        self.environment["PYTHON"] = str(python)

    def write(self, requirements: str) -> None:
        (self.root / "requirements.txt").write_text(requirements)

    def command(self, *arguments: str) -> list[str]:
        return ["bash", str(self.root / "utils" / "setup_env.sh"), *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        both = {**self.environment, **environment}
        return subprocess.run(self.command(*arguments), env=both, capture_output=True, text=True, check=False, cwd="/")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        both = {**self.environment, **environment}
        return subprocess.Popen(self.command(*arguments), env=both, stderr=subprocess.PIPE, start_new_session=True)

    def has(self, name: str) -> str | None:
        """The installed version of a package."""
        found = list(self.venv.glob(f"lib/*/site-packages/{name}-*.dist-info"))
        return found[0].name.split("-")[1].removesuffix(".dist") if found else None

    def calls(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def tree(tmp_path, quick_python):
    return Tree(tmp_path, quick_python)


def test_made_once_and_brought_up_to_date(tree):
    assert tree.run("--check").returncode == 1
    assert not tree.venv.exists()

    first = tree.run(PYTHON=sys.executable)
    assert first.returncode == 0, first.stderr
    assert f"making {tree.venv}" in first.stderr and "is ready" in first.stderr
    assert (tree.has("alpha"), tree.has("beta")) == ("1.0", None)
    assert tree.calls() == 1
    assert tree.run("--check").returncode == 0

    again = tree.run()
    assert again.stderr == f"setup_env: {tree.venv} is up to date\n"
    assert tree.calls() == 1

    tree.write("alpha==2.0\nbeta==1.0  # more\n")
    assert tree.run("--check").returncode == 1
    (tree.venv / "mine").write_text("kept")
    changed = tree.run(PATH=f"{tree.venv / 'bin'}:{os.environ['PATH']}", PYTHON="")  # activated
    assert changed.returncode == 0, changed.stderr
    assert "requirements.txt has changed" in changed.stderr
    assert (tree.has("alpha"), tree.has("beta")) == ("2.0", "1.0")
    assert (tree.venv / "mine").exists()

    (tree.root / "constraints.txt").write_text("alpha<4\n")
    assert tree.run("--check").returncode == 1

    moved = tree.root.with_name("moved")
    tree.root.rename(moved)
    tree.root, tree.venv = moved, moved / ".venv"
    assert tree.run("--check").returncode == 1  # bin/ still names the old place
    assert f"making {tree.venv}" in tree.run().stderr
    assert tree.run("--check").returncode == 0
    assert not (tree.venv / "mine").exists()


def test_without_uv_pip_installs(tree):
    (tree.wheels / f"uv-{UV_VERSION}-py3-none-any.whl").unlink()
    done = tree.run(PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert f"uv {UV_VERSION} cannot be had" in done.stderr
    assert tree.has("alpha") == "1.0"


def test_when_uv_fails_pip_is_tried_and_then_the_user_told(tree):
    done = tree.run(UV_DOES="fail", PIP_INDEX_URL="https://mirror.invalid/index")
    assert done.returncode == 0, done.stderr
    assert "trying pip" in done.stderr
    assert tree.has("alpha") == "1.0"
    assert "index: https://mirror.invalid/index" in tree.log.read_text()  # uv does not read pip's settings

    tree.write("alpha==2.0\ngamma==1.0\n")
    done = tree.run(UV_DOES="fail")
    assert done.returncode == 1
    assert "gamma" in done.stderr and "cannot install" in done.stderr and "PIP_INDEX_URL" in done.stderr
    assert tree.run("--check").returncode == 1


def test_killed_while_installing_it_starts_anew(tree):
    """What a killed installer leaves looks installed by its metadata, yet files may be missing."""
    running = tree.start(UV_DOES="hang")
    wait_for(lambda: tree.has("alpha"), running)
    os.killpg(running.pid, 9)
    running.communicate()
    next(tree.venv.glob("lib/*/site-packages/alpha.py")).unlink()
    assert tree.run("--check").returncode == 1
    done = tree.run()
    assert done.returncode == 0, done.stderr
    assert f"making {tree.venv}" in done.stderr
    assert next(tree.venv.glob("lib/*/site-packages/alpha.py")).exists()


def test_two_starts_make_one_environment(tree):
    first = tree.start(UV_DOES="hang")
    wait_for(lambda: tree.has("alpha"), first)
    second = tree.start()
    assert b"another setup_env.sh is making" in second.stderr.readline()
    assert second.poll() is None
    os.killpg(first.pid, 9)
    first.communicate()
    said = second.communicate()[1].decode()
    assert second.returncode == 0 and "is ready" in said, said
    assert tree.has("alpha") == "1.0"


def test_an_environment_of_the_users_own_is_kept(tree):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tree.venv)], check=True)
    done = tree.run()
    assert done.returncode == 1
    assert "alpha==1.0: not installed" in done.stderr
    assert "this script did not make it" in done.stderr and "pip install -r requirements.txt" in done.stderr
    assert (tree.venv / "bin" / "python3").exists()

    (next(tree.venv.glob("lib/*/site-packages")) / "alpha-1.0.dist-info").mkdir()
    done = tree.run()
    assert done.returncode == 0, done.stderr
    assert "taken as it is" in done.stderr
    assert tree.calls() == 0
    assert tree.run("--check").returncode == 0


def fake_python(folder: Path, version: str, body: str) -> Path:
    """An interpreter that says it is `version`, and answers to `-c CODE` as the shell code `body` does."""
    path = folder / "python3"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo Python {version}; exit 0; fi\n{body}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "option"), [("3.9.2", ""), ("3.15.0", ""), ("3.12.1", "--k2")])
def test_a_python_of_another_age_is_refused(tree, tmp_path, version, option):
    major, minor = version.split(".")[:2]
    body = f'exec "{sys.executable}" -c "import sys; sys.version_info = ({major}, {minor}); $2"'
    python = fake_python(tmp_path, version, body)
    done = tree.run(*option.split(), PYTHON=str(python))
    assert done.returncode == 1
    newest = 11 if option else 14
    assert f"needs Python 3.10 to 3.{newest}; {python} is: Python {version}." in done.stderr
    assert ("utils/doctor.py" if option else "PYTHON=/path/to/python3") in done.stderr
    assert not tree.venv.exists()


def test_no_python_at_all(tree):
    done = tree.run(PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "/nowhere/python3 is: none." in done.stderr


def test_a_debian_python_without_venv_is_told_the_package(tree, tmp_path):
    body = f'case "$2" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"'
    done = tree.run(PYTHON=str(fake_python(tmp_path, "3.11.2", body)))
    assert done.returncode == 1
    assert f"apt install python3.{sys.version_info.minor}-venv" in done.stderr
    assert not tree.venv.exists()


def test_k2_is_installed_alone_first_and_must_import(tree):
    wheel(tree.wheels, "k2", "1.23.4", "raise ImportError('binary of another Python')")
    here = "{}.{}".format(*sys.version_info[:2])
    if not here.startswith(("3.10", "3.11")):
        pytest.skip("the package index has k2 for Python 3.10 and 3.11 alone")
    (tree.root / "requirements-k2.txt").write_text(f'# k2\nk2==1.23.4; python_version == "{here}"\nbeta==1.0\n')
    broken = tree.run("--k2")
    assert broken.returncode == 1
    assert "binary of another Python" in broken.stderr and "does not import" in broken.stderr
    first, second = (line.split("install ")[1] for line in tree.log.read_text().splitlines())
    assert "--no-deps" in first and "/k2.txt" in first
    assert "--no-deps" not in second and "/others.txt" in second
    assert tree.run("--k2", "--check").returncode == 1

    wheel(tree.wheels, "k2", "1.23.4")
    assert tree.run("--k2").returncode == 0
    assert tree.run("--k2", "--check").returncode == 0
    assert not tree.venv.exists()


def test_options(tree):
    help_text = tree.run("--help")
    assert help_text.returncode == 0
    assert {"--k2", "--check"} <= set(help_text.stdout.split())
    wrong = tree.run("--k3")
    assert wrong.returncode == 2 and "unknown option '--k3'; known: --k2 --check" in wrong.stderr


def wait_for(condition, process, seconds: float = 60.0) -> None:
    for _ in range(int(seconds * 20)):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1].decode()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("nothing happened")
