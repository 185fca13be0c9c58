"""Archives from the web: resumed where they broke off, verified by MD5, unpacked under their names when complete."""

import hashlib
import io
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils import atomic

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A .tar.gz, perhaps in several parts, or a .zip; all it holds lies in the folder `top`."""

    top: str
    urls: tuple[str, ...]  # of the parts, in order
    md5: str  # of the parts put together

    def parts(self, folder: Path) -> list[Path]:
        """Where the parts lie in `folder`."""
        return [folder / url.rpartition("/")[2] for url in self.urls]


def get(archives: Sequence[Archive], folder: Path) -> None:
    """Downloads each archive into `folder` and unpacks it there, unless its `top` is there.

    Parts that are complete are not asked for again. Raises ValueError where the MD5 is another than the publisher's,
    and OSError when the network fails; the archives stay, and can be removed when all is unpacked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if (folder / archive.top).is_dir():
            logging.info("%s is there", folder / archive.top)
            continue
        parts = archive.parts(folder)
        if not (all(part.is_file() for part in parts) and md5_of(parts) == archive.md5):
            from lhotse.utils import resumable_download  # takes a second to import

            for url, part in zip(archive.urls, parts, strict=True):
                resumable_download(url, part)
            if md5_of(parts) != archive.md5:
                names = ", ".join(str(part) for part in parts)
                raise ValueError(f"{names}: the MD5 is {md5_of(parts)}, expected {archive.md5}; remove and fetch again")
        logging.info("unpacking %s", ", ".join(part.name for part in parts))
        unpack(parts, folder / archive.top)


def md5_of(parts: Sequence[Path]) -> str:
    """The MD5, in hexadecimal digits, of files put together."""
    digest = hashlib.md5(usedforsecurity=False)
    with io.BufferedReader(_Chain(parts), _BLOCK) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(parts: Sequence[Path], target: Path) -> None:
    """Unpacks the folder `target.name` of an archive to `target`, which appears when it is complete.

    Parts are read one after another, without a copy of them put together. Members outside of the folder are left out.
    Raises OSError where the archive is broken.
    """
    with atomic.output(target) as temporary:
        try:
            temporary.mkdir()
            unpack_members = _unzip if parts[0].suffix == ".zip" else _untar
            unpack_members(parts, target.name, temporary)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise OSError(f"{parts[0]} cannot be unpacked: {error}") from error


def _untar(parts: Sequence[Path], top: str, folder: Path) -> None:
    with (
        io.BufferedReader(_Chain(parts), _BLOCK) as stream,
        tarfile.open(fileobj=stream, mode="r|gz") as archive,
    ):
        for member in archive:
            inside = _below(top, member.name)
            if inside and (member.isfile() or member.isdir()):
                member.name = inside
                archive.extract(member, folder, filter="data")


def _unzip(parts: Sequence[Path], top: str, folder: Path) -> None:
    with zipfile.ZipFile(parts[0]) as archive:
        for member in archive.infolist():
            inside = _below(top, member.filename)
            if inside and not member.is_dir():
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _BLOCK)


def _below(top: str, name: str) -> str:
    """The part of a member's name below the folder `top`; '' where it is not below it."""
    path = PurePosixPath(name)
    inside = path.parts[1:] if path.parts[:1] == (top,) and not path.is_absolute() else ()
    return "" if ".." in inside else "/".join(inside)


class _Chain(io.RawIOBase):
    """Files read as one."""

    def __init__(self, parts: Sequence[Path]):
        self._blocks = self._read(parts)
        self._left = b""

    @staticmethod
    def _read(parts: Sequence[Path]) -> Iterator[bytes]:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        self._left = self._left or next(self._blocks, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
