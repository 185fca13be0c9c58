"""utils/atomic.py: a reader sees the old output or the new one, never half of one."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from utils import atomic


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith((".tmp", ".old")))


def fill(folder, **contents):
    folder.mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text)


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "new" / "語音 a.txt"
    with atomic.output(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename across file systems would be a copy
    assert path.read_text() == "half"
    assert leftovers(path.parent) == []


def test_the_temporary_name_keeps_the_suffixes(tmp_path):
    with atomic.output(tmp_path / "cuts_train.jsonl.gz") as temporary:
        assert temporary.name.endswith("cuts_train.jsonl.gz")
        assert temporary.suffixes[-2:] == [".jsonl", ".gz"]
        temporary.write_bytes(b"")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(error), atomic.output(path) as temporary:
        temporary.write_text("new")
        raise error
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_an_error_leaves_the_old_directory(tmp_path):
    path = tmp_path / "x"
    fill(path, a="old")
    with pytest.raises(RuntimeError), atomic.output(path) as temporary:
        fill(temporary, a="new")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_writing_nothing_is_an_error_that_names_the_output(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with (
        pytest.raises(FileNotFoundError, match=r"nothing was written to .*which was to become .*/x"),
        atomic.output(path),
    ):
        pass
    assert path.read_text() == "old"


def test_a_directory_is_replaced_whole(tmp_path):
    path = tmp_path / "x"
    fill(path, a="old", only_old="old")
    with atomic.output(path) as temporary:
        fill(temporary, a="new")
    assert {p.name: p.read_text() for p in path.iterdir()} == {"a": "new"}
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("before", ["file", "directory"])
@pytest.mark.parametrize("after", ["file", "directory"])
def test_kinds_may_change(tmp_path, before, after):
    path = tmp_path / "x"
    if before == "file":
        path.write_text("old")
    else:
        fill(path, a="old")
    with atomic.output(path) as temporary:
        if after == "file":
            temporary.write_text("new")
        else:
            fill(temporary, a="new")
    assert (path if after == "file" else path / "a").read_text() == "new"
    assert leftovers(tmp_path) == []


def test_a_linked_directory_is_replaced_by_a_real_one(tmp_path):
    """People put features on another disk and link to them; what the link points to is not ours to delete."""
    disk = tmp_path / "disk"
    fill(disk, a="old")
    path = tmp_path / "x"
    path.symlink_to(disk)
    with atomic.output(path) as temporary:
        fill(temporary, a="new")
    assert (path / "a").read_text() == "new"
    assert (disk / "a").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_what_an_earlier_process_of_this_number_left_does_no_harm(tmp_path):
    path = tmp_path / "x"
    with atomic.output(path) as temporary:
        fill(temporary, a="new")
    fill(tmp_path / temporary.name, a="left", b="left")
    path = tmp_path / "x"
    with atomic.output(path) as again:
        fill(again, a="newer")
    assert {p.name: p.read_text() for p in path.iterdir()} == {"a": "newer"}


WRITER = """
import sys, time
from pathlib import Path
from utils import atomic
with atomic.output(sys.argv[1]) as temporary:
    temporary.write_text("new")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path, root):
    path = tmp_path / "x"
    path.write_text("old")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=environment, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert path.read_text() == "old"
    atomic.write_text(path, "newer")
    assert path.read_text() == "newer"


def test_a_reader_never_sees_half(tmp_path):
    path = tmp_path / "x"
    lengths = {"a": 300_000, "b": 1}
    atomic.write_text(path, "a" * lengths["a"])
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            text = path.read_text()
            seen.add((text[:1], len(text)))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for letter, length in lengths.items():
            atomic.write_text(path, letter * length)
    stop.set()
    reader.join()
    assert seen <= set(lengths.items())


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    atomic.write_text(tmp_path / "x", "你好\r\n世界\n")
    assert (tmp_path / "x").read_bytes() == "你好\r\n世界\n".encode()


def test_json_is_readable_and_strict(tmp_path):
    path = tmp_path / "x.json"
    atomic.write_json(path, {"text": "你好", "cer": 1.5})
    assert path.read_text("utf-8") == '{\n  "text": "你好",\n  "cer": 1.5\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            atomic.write_json(path, {"cer": value})
    assert "你好" in path.read_text("utf-8")


def test_remove_takes_whatever_is_there(tmp_path):
    fill(tmp_path / "folder", a="1")
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling", "nothing", "file"):
        atomic.remove(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]
    assert (tmp_path / "folder" / "a").exists()
    atomic.remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_that_of_a_living_one_is_not(tmp_path, root):
    path, environment = tmp_path / "x-1", {"PYTHONPATH": str(root)}
    program = "import os, sys; from utils import atomic\n"
    program += "with atomic.output(sys.argv[1]) as out: out.mkdir(); (out / 'a').touch(); os.kill(os.getpid(), 9)"
    for name in ("x-1", "1"):  # the second is another output, whose name ends like this one's
        subprocess.run([sys.executable, "-c", program, str(tmp_path / name)], check=False, env=environment)
    dead = leftovers(tmp_path)
    assert len(dead) == 2
    with atomic.output(path) as own:
        own.write_text("new")
        assert leftovers(tmp_path) == sorted([own.name, next(name for name in dead if not name.endswith("-x-1"))])
        atomic.clear(path)  # as another process would begin
        assert own.exists()
    assert path.read_text() == "new"
