"""The gallery file: what is written is read, names and models are guarded, and writers take turns."""

import multiprocessing
import time

import numpy as np
import pytest

from steps.backend import gallery as room
from steps.backend.gallery import Gallery, Speaker, check_name, check_wanted, describe, editing


def speaker(count=3, size=4, key=0):
    rng = np.random.default_rng([key, count])
    files = [f"录音 {number}.wav" for number in range(count)]
    return Speaker(rng.normal(size=(count, size)).astype(np.float32), rng.uniform(1, 9, count), files)


def filled(*names):
    gallery = Gallery("model-a", "backend-a")
    for key, name in enumerate(names):
        gallery.add(name, speaker(1 + key, key=key))
    return gallery


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "my gallery" / "声纹.npz"
    before = filled("张三", "Zoë van der Berg", "李四")
    before.save(path)
    after = Gallery.load(path)
    assert list(after.speakers) == ["张三", "Zoë van der Berg", "李四"]
    assert (after.model, after.backend) == ("model-a", "backend-a")
    for name, expected in before.speakers.items():
        np.testing.assert_array_equal(after.speakers[name].vectors, expected.vectors)
        np.testing.assert_array_equal(after.speakers[name].seconds, expected.seconds)
        assert after.speakers[name].files == expected.files
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    assert describe(after)[0].split("\t")[:2] == ["张三", "1"]


def test_the_last_speaker_may_leave(tmp_path):
    path = tmp_path / "g.npz"
    filled("a").save(path)
    with editing(path) as gallery:
        gallery.remove("a")
    assert Gallery.load(path).speakers == {}
    with editing(path, "model-a", "backend-b") as gallery:
        gallery.add("b", speaker(size=7))  # nobody is left to hold an embedding of another size
    assert Gallery.load(path).speakers["b"].vectors.shape == (3, 7)
    assert Gallery.load(path).backend == "backend-b"


def test_names_are_guarded():
    gallery = filled("a", "b")
    with pytest.raises(ValueError, match="a is enrolled already; --replace"):
        gallery.add("a", speaker())
    newer = speaker(5, key=9)
    gallery.add("a", newer, replace=True)
    assert gallery.speakers["a"] is newer
    with pytest.raises(ValueError, match="c is not enrolled; the gallery has a, b"):
        gallery.remove("c")
    for name in ("", " a", "a\tb", "a\nb", "unknown", "Unknown"):
        with pytest.raises(ValueError, match="cannot be called"):
            check_name(name)


def test_a_gallery_of_another_model_is_refused(tmp_path):
    path = tmp_path / "g.npz"
    filled("a").save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"g\.npz was made with model model-a, .* is model model-b.*enrol"):
        check_wanted(path, ["b"], "model-b", False)
    with pytest.raises(ValueError, match="model-b"), editing(path, "model-b", "backend-a"):
        pytest.fail("the gallery was opened")
    with pytest.raises(ValueError, match="a is enrolled already"):
        check_wanted(path, ["b", "a"], "model-a", False)
    check_wanted(path, ["b", "a"], "model-a", True)
    check_wanted(tmp_path / "new.npz", ["b"], "model-b", False)
    assert path.read_bytes() == before


def test_what_is_no_gallery_is_refused(tmp_path):
    path = tmp_path / "g.npz"
    with pytest.raises(FileNotFoundError, match="there is no gallery"):
        Gallery.load(path)
    with pytest.raises(FileNotFoundError, match="there is no gallery"), editing(path):
        pytest.fail("a gallery was made in order to remove from it")
    assert list(tmp_path.iterdir()) == []
    np.savez(path, vectors=np.zeros(3))
    with pytest.raises(ValueError, match="is no gallery"):
        Gallery.load(path)
    for content in (b"", b"not a zip", (filled("a").save(path), path.read_bytes()[:-60])[1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no gallery"):
            Gallery.load(path)


def test_a_failed_edit_leaves_the_gallery_as_it_was(tmp_path):
    path = tmp_path / "g.npz"
    filled("a").save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), editing(path) as gallery:
        gallery.remove("a")
        raise RuntimeError
    assert path.read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if "tmp" in file.name]


def enrol_slowly(path, name):
    with editing(path, "model-a", "backend-a") as gallery:
        time.sleep(0.05)  # long enough for the others to read what is about to be overwritten
        gallery.add(name, speaker())


def test_enrolments_at_once_lose_nobody(tmp_path):
    path = tmp_path / "g.npz"
    names = [f"说话人{number}" for number in range(6)]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=enrol_slowly, args=(path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * len(names)
    assert sorted(Gallery.load(path).speakers) == sorted(names)


def test_a_lock_that_is_never_released_is_named(tmp_path):
    path = tmp_path / "g.npz"
    with room._turn(path, 1.0), pytest.raises(ValueError, match=r"has held .*\.g\.npz\.lock for 0\.1 s"):
        enrol_late = editing(path, "model-a", "backend-a", patience=0.1)
        enrol_late.__enter__()
