#!/usr/bin/env python3
"""Says what the environment is, which graph search engine is in use, and what is wrong with either.

Run it as `python3 -m utils.doctor`, or by its path with any Python 3: it needs nothing but the standard
library, and looks at every other package from a process of its own, since a broken one may crash. Lines
marked `!!` are wrong and make the exit status 1; lines marked `!` are worth knowing. What to do is below them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):  # run by its path
    sys.path.insert(0, str(ROOT))

from utils import k2_wheels, requirements  # noqa: E402

OLDEST, NEWEST = (3, 10), (3, 14)

# What each package is asked in a process of its own; the answer is the last line printed, as JSON.
PROBES = {
    "torch": "dict(version=m.__version__, cuda=m.version.cuda, hip=getattr(m.version, 'hip', None), "
    "devices=[m.cuda.get_device_name(i) for i in range(m.cuda.device_count())], "
    "usable=m.cuda.is_available())",
    "torchaudio": "dict(version=m.__version__)",
    "lhotse": "dict(version=m.__version__)",
    "kaldifst": "dict()",
    "kaldi_decoder": "dict()",
    "k2": "dict(cuda=m.with_cuda)",
}


class Line(NamedTuple):
    """One line of the report. `mark` is "" (as it should be), "!" (worth knowing) or "!!" (wrong)."""

    topic: str
    text: str
    mark: str = ""
    remedy: str = ""


class Probe(NamedTuple):
    """What a package said of itself; `error` is the last line of what came instead."""

    answer: dict
    error: str = ""


def probe(module: str, expression: str, python: str = sys.executable) -> Probe:
    """Imports `module` in a new process of `python` and evaluates `expression` with it as `m`."""
    code = f"import json, {module} as m; print(json.dumps({expression}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe({}, str(error))
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return Probe({}, said[-1] if said else f"the process ended with status {done.returncode}")
    return Probe(json.loads(done.stdout.strip().splitlines()[-1]))


def version_of(package: str) -> str | None:
    """The installed version according to the package's metadata, None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_python() -> Line:
    version = sys.version_info[:2]
    text = f"{platform.python_version()} ({sys.executable})"
    if OLDEST <= version <= NEWEST:
        return Line("Python", text)
    wanted = "{}.{} to {}.{}".format(*OLDEST, *NEWEST)
    return Line("Python", text, "!!", f"use Python {wanted}: PYTHON=/path/to/python3 utils/setup_env.sh")


def check_platform() -> Line:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Line("platform", f"{platform.platform()}, {cores} CPU cores")


def check_requirements(file: Path | str = requirements.DEFAULT_FILE) -> Line:
    lacking = requirements.unmet(file)
    pinned = len(requirements.pins(file))
    text = f"{pinned - len(lacking)} of {pinned} packages as pinned in {Path(file).name}"
    if not lacking:
        return Line("packages", text)
    text += "".join(f"\n{each}" for each in lacking)
    return Line("packages", text, "!!", way_out())


def way_out() -> str:
    """How to get at an environment that has everything, which may be there without being this one."""
    if (ROOT / ".venv").exists() and Path(sys.prefix).resolve() != ROOT / ".venv":
        return "this Python is not that of .venv, which the recipes take; ask again with: . ./path.sh; doctor.py"
    return "utils/setup_env.sh makes .venv, which the recipes take when the active environment lacks anything"


def check_import(topic: str, result: Probe) -> Line:
    if result.error:
        return Line(topic, f"does not import: {result.error}", "!!", way_out())
    return Line(topic, f"{result.answer.get('version') or version_of(topic) or 'of unknown version'}")


def check_torch(result: Probe) -> Line:
    line = check_import("torch", result)
    if line.mark:
        return line
    cuda, hip = result.answer["cuda"], result.answer["hip"]
    return line._replace(
        text=f"{line.text}, built for {f'CUDA {cuda}' if cuda else f'ROCm {hip}' if hip else 'the CPU'}"
    )


def check_gpu(torch: Probe, driver: str | None) -> Line:
    """`driver` is what nvidia-smi says, None without it."""
    devices = torch.answer.get("devices", [])
    if torch.answer.get("usable"):
        return Line("GPU", f"{len(devices)}: {', '.join(devices)}" + (f" (driver {driver})" if driver else ""))
    if not driver:
        return Line("GPU", "none that a driver answers for; training runs on the CPU")
    built = torch.answer.get("cuda")
    why = (
        f"torch is built for CUDA {built}, which this driver may be too old for"
        if built
        else "torch is built for the CPU"
    )
    remedy = (
        "update the NVIDIA driver (CUDA 13 needs 580 or later), or install the same torch and torchaudio built for "
        "an older CUDA, from PyTorch's own index, into .venv: 2.11.0+cu126 counts as 2.11.0 here"
    )
    return Line("GPU", f"there is one (driver {driver}), but torch cannot use it: {why}", "!", remedy)


def nvidia_driver() -> str | None:
    """The driver's version according to nvidia-smi, None if there is none or it sees no GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.strip() else None


def check_engine(probes: dict[str, Probe]) -> Line:
    """Graph search needs one engine: k2 when it imports, kaldi-decoder with kaldifst otherwise."""
    if not probes["k2"].error:
        return Line("engine", f"k2 {version_of('k2')}")
    broken = [f"{name}: {probes[name].error}" for name in ("kaldifst", "kaldi_decoder") if probes[name].error]
    if broken:
        return Line("engine", "none; " + "; ".join(broken), "!!", way_out())
    return Line("engine", f"kaldi-decoder {version_of('kaldi-decoder')} with kaldifst {version_of('kaldifst')}")


def check_k2(k2: Probe, torch: Probe) -> Line:
    """Why k2 is not in use, and the wheel that fits. k2 is no requirement, so nothing here is marked `!!`."""
    version = version_of("k2")
    if not k2.error:
        return Line("k2", f"{version} imports")
    remedy = k2_wheels.advice(torch.answer) if not torch.error else ""
    if version is None:
        return Line("k2", "not installed; the engine above needs none", "", remedy)
    files = [str(file) for file in metadata.files("k2") or []]
    why = k2_wheels.what_is_wrong(version, files, torch.answer) or k2.error
    return Line("k2", f"{version} is installed, but does not import: {why}", "!", remedy)


def check_k2_environment(python: Path) -> Line:
    """The second environment, in which tests/run.sh runs the tests marked k2."""
    if not python.exists():
        return Line(".venv-k2", "not made (only tests use it: utils/setup_env.sh --k2)")
    result = probe("k2", PROBES["k2"], str(python))
    if result.error:
        return Line(".venv-k2", f"k2 does not import: {result.error}", "!", "utils/setup_env.sh --k2")
    return Line(".venv-k2", "k2 imports; tests/run.sh runs the tests marked k2 in it")


def examine(root: Path = ROOT) -> list[Line]:
    """All lines of the report, in order."""
    with ThreadPoolExecutor(len(PROBES)) as pool:
        second = pool.submit(check_k2_environment, root / ".venv-k2" / "bin" / "python3")
        answers = {name: pool.submit(probe, name, expression) for name, expression in PROBES.items()}
        probes = {name: answer.result() for name, answer in answers.items()}
    checks: list[Callable[[], Line]] = [
        check_python,
        check_platform,
        check_requirements,
        lambda: check_torch(probes["torch"]),
        lambda: check_gpu(probes["torch"], nvidia_driver()),
        lambda: check_import("torchaudio", probes["torchaudio"]),
        lambda: check_import("lhotse", probes["lhotse"]),
        lambda: check_engine(probes),
        lambda: check_k2(probes["k2"], probes["torch"]),
        second.result,
    ]
    return [check() for check in checks]


def render(lines: list[Line]) -> str:
    """The report as text: mark, topic and text in columns, the remedy below."""
    out = []
    for line in lines:
        first, *rest = line.text.splitlines()
        out.append(f"{line.mark:2} {line.topic:11} {first}")
        out += [f"{'':14} {more}" for more in [*rest, *line.remedy.splitlines()]]
    wrong = [line.topic for line in lines if line.mark == "!!"]
    out.append(f"\nwrong: {', '.join(wrong)}" if wrong else "\nnothing is wrong")
    return "\n".join(out)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    lines = examine()
    print(render(lines))
    sys.exit(1 if any(line.mark == "!!" for line in lines) else 0)


if __name__ == "__main__":
    main()
