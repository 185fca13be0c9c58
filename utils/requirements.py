"""What a requirements file pins, and what of it the running Python lacks.

Run as `python3 utils/requirements.py [FILE]` it prints a line for each package that is missing or there in
another version, and exits with 1 if there is any. `path.sh` asks this at every start: it imports next to
nothing, and reads the names of the installed packages' metadata directories instead of the metadata.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

DEFAULT_FILE = Path(__file__).resolve().parents[1] / "requirements.txt"

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;#]+)"
    r'(?:\s*;\s*python_version\s*(?P<operator><|>=|==)\s*"(?P<major>\d+)\.(?P<minor>\d+)")?'
    r"(?:\s+--hash=\S+)*(?:\s+#.*)?"
)
_METADATA = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info")


class Unmet(NamedTuple):
    """A pinned package; `found` is the version installed, None if there is none."""

    name: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        return f"{self.name}=={self.wanted}: {f'{self.found} is installed' if self.found else 'not installed'}"


def pins(file: Path | str = DEFAULT_FILE) -> dict[str, str]:
    """The versions that `file` pins for the running Python, by normalised package name.

    Lines are `name==version`, with `; python_version < "3.11"` or alike, a hash or a comment behind it, as
    in our own files. Raises ValueError for a line that is none of that, FileNotFoundError without the file.
    """
    found = {}
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith(("#", "-c ", "-r ")):
            continue
        match = _PIN.fullmatch(line)
        if match is None:
            raise ValueError(f"{file}, line {number}: expected name==version, found '{line}'")
        if _applies(match):
            found[normalise(match["name"])] = match["version"]
    return found


def installed() -> dict[str, str]:
    """The versions of all packages on `sys.path`, by normalised name; the first on the path counts."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = [entry.name for entry in Path(folder or ".").iterdir()]
        except OSError:  # a zip file, or a place that does not exist
            continue
        for name in names:
            match = _METADATA.fullmatch(name)
            if match:
                found.setdefault(normalise(match["name"]), match["version"])
    return found


def unmet(file: Path | str = DEFAULT_FILE) -> list[Unmet]:
    """The pins of `file` that are not installed just so, in its order.

    A build of the pinned version is that version: torch 2.11.0+cu126 meets 2.11.0.
    """
    have = installed()
    return [
        Unmet(name, wanted, have.get(name))
        for name, wanted in pins(file).items()
        if have.get(name, "").partition("+")[0] != wanted
    ]


def normalise(name: str) -> str:
    """The form of a package name in which `Kaldi_Decoder` and `kaldi-decoder` are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _applies(pin: re.Match[str]) -> bool:
    if pin["operator"] is None:
        return True
    named = (int(pin["major"]), int(pin["minor"]))
    running = sys.version_info[:2]
    return {"<": running < named, ">=": running >= named, "==": running == named}[pin["operator"]]


if __name__ == "__main__":
    lacking = unmet(*sys.argv[1:2])
    for each in lacking:
        print(each)
    sys.exit(1 if lacking else 0)
