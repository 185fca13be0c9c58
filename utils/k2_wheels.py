"""Which k2 wheel fits a Python, a torch and a CUDA, and why one that is installed does not import.

k2 is compiled against one torch and one CUDA. The package index has 1.23.4 for torch 1.13.1 only, under tags
that let installers take the file of another Python. The k2 project publishes one wheel for each combination
itself; its documentation lists them by torch version, and its wheels are named like
k2-1.24.4.dev20260423+cuda13.0.torch2.11.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl.
"""

from __future__ import annotations

import platform
import re
import sys
from typing import Any

RELEASE = "1.24.4"
# Builds seen in use for the torch of requirements.txt. They are made anew now and then, so for any other
# combination the date is left open rather than guessed.
DATES = {
    "cuda13.0.torch2.11.0": "20260423",
    "cuda12.8.torch2.11.0": "20260423",
    "cuda12.6.torch2.11.0": "20260625",
}


def build_tag(torch: dict[str, Any]) -> str:
    """The part of a wheel's version behind the `+`, for a torch with these `version`, `cuda` and `hip`.

    >>> build_tag({"version": "2.11.0+cu130", "cuda": "13.0", "hip": None})
    'cuda13.0.torch2.11.0'
    """
    release = torch["version"].partition("+")[0]
    if torch.get("cuda"):
        kind = f"cuda{torch['cuda']}"
    elif torch.get("hip"):
        kind = "rocm" + ".".join(torch["hip"].split(".")[:2])
    else:
        kind = "cpu"
    return f"{kind}.torch{release}"


def wheel_name(torch: dict[str, Any], python: tuple[int, int] = sys.version_info[:2], machine: str = "") -> str:
    """The file name of the fitting wheel for Linux; <date> stands in it where no build is known to us."""
    tag, machine = build_tag(torch), machine or platform.machine()
    version = f"{RELEASE}.dev{DATES.get(tag, '<date>')}+{tag}"
    cp = "cp{}{}".format(*python)
    return f"k2-{version}-{cp}-{cp}-manylinux_2_27_{machine}.manylinux_2_28_{machine}.whl"


def advice(torch: dict[str, Any], machine: str = "") -> str:
    """What to install for k2 beside this torch, in words for a terminal."""
    machine, kind = machine or platform.machine(), build_tag(torch).split(".torch")[0]
    if platform.system() != "Linux" or (machine != "x86_64" and kind != "cpu"):
        return (
            f"for k2 here ({platform.system()}, {machine}, torch for {kind}) see k2's documentation, "
            "'Installation'; it publishes no such wheel for Linux that we know of"
        )
    name, page = wheel_name(torch, machine=machine), kind.rstrip("0123456789.").upper().replace("ROCM", "ROCm")
    newest = "" if "<date>" not in name else " (the newest <date> there)"
    return (
        f"k2, should you want it, for this Python, torch and {page}:\n  {name}{newest}\n"
        f"listed in k2's documentation, 'Installation', 'Pre-compiled {page} wheels (Linux)', "
        f"'torch {torch['version'].partition('+')[0]}'.\n"
        "Install the file with: python3 -m pip install --no-deps FILE, then: python3 -m pip install graphviz.\n"
        "`pip install k2` by name gets 1.23.4 for torch 1.13.1, which does not import here."
    )


def what_is_wrong(version: str, files: list[str], torch: dict[str, Any]) -> str:
    """Why k2 `version`, installed as these `files`, cannot import beside this torch; "" if there is no telling."""
    binaries = [re.search(r"_k2\.cpython-3(\d+)-", file) for file in files]
    minors = [int(match[1]) for match in binaries if match]
    if minors and sys.version_info.minor not in minors:
        return (
            f"its binary is for Python 3.{minors[0]}, and this is Python 3.{sys.version_info.minor}. The package "
            "index's k2 has one file per Python under tags that do not tell them apart; remove it: "
            "python3 -m pip uninstall k2"
        )
    built, here = version.partition("+")[2], build_tag(torch) if torch else ""
    if version == "1.23.4":
        built, here = "torch1.13.1", "".join(here.partition("torch")[1:])
    if built and here and built != here:
        return f"it was built for {built}, and here is {here}"
    return ""
