"""Archives in parts, verified and unpacked whole or not at all."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from local import download


def test_download_resumes_verifies_and_unpacks(tmp_path: Path, monkeypatch) -> None:
    source, folder = tmp_path / "source", tmp_path / "download"
    write_file = source / "CN-Celeb2_flac/data/id10000/a.flac"
    write_file.parent.mkdir(parents=True)
    write_file.write_bytes(bytes(range(256)) * 20)
    (source / "other").write_text("not in the folder")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(source / "CN-Celeb2_flac", "./CN-Celeb2_flac")
        archive.add(source / "other", "../escaped")
    packed = (tmp_path / "all.tar.gz").read_bytes()
    pieces = {"https://host/x.tar.gzaa": packed[:50], "https://host/x.tar.gzab": packed[50:]}
    asked: list[str] = []

    def serve(url: str, target: Path) -> None:
        asked.append(url)
        target.write_bytes(pieces[url])

    monkeypatch.setattr("lhotse.utils.resumable_download", serve)
    good = download.Archive("CN-Celeb2_flac", tuple(pieces), download.md5_of([tmp_path / "all.tar.gz"]))
    with pytest.raises(ValueError, match=r"x\.tar\.gzab: the MD5 is .*, expected 0000; remove and fetch again"):
        download.get([download.Archive("CN-Celeb2_flac", tuple(pieces), "0000")], folder)
    assert len(asked) == 2 and not (folder / "CN-Celeb2_flac").exists()
    download.get([good], folder)
    assert len(asked) == 2, "parts that are complete are not asked for again"
    assert (folder / "CN-Celeb2_flac/data/id10000/a.flac").read_bytes() == write_file.read_bytes()
    assert not (tmp_path / "escaped").exists() and not (folder / "escaped").exists()
    download.get([good], folder)
    (folder / "broken.tar.gz").write_bytes(packed[:60])
    with pytest.raises(OSError, match=r"broken\.tar\.gz cannot be unpacked"):
        download.unpack([folder / "broken.tar.gz"], folder / "CN-Celeb_flac")
    assert not (folder / "CN-Celeb_flac").exists()


def test_zip_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("TOP/rooms/1.wav", b"one")
        archive.writestr("TOP/../../escaped", b"two")
        archive.writestr("elsewhere", b"three")
    download.unpack([tmp_path / "a.zip"], tmp_path / "out/TOP")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")] == [
        "TOP/rooms/1.wav"
    ]
    assert not (tmp_path / "escaped").exists()
