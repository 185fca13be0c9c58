"""Arrays are read, and what is no file of arrays is a ValueError however it is broken."""

import numpy as np
import pytest

from steps.inference.arrays import read_arrays


def test_arrays_come_back_by_name(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.array(["语音"]))
    found = read_arrays(tmp_path / "x.npz")
    assert found["a"].tolist() == [0, 1, 2] and found["b"].tolist() == ["语音"]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", "truncated", "npy", "pickle"])
def test_another_kind_of_file_is_a_value_error(tmp_path, content) -> None:
    path = tmp_path / "x.npz"
    if content == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif content == "pickle":
        np.savez(path, a=np.array([{}], dtype=object))
    else:
        np.savez(path, a=np.arange(1000))
        path.write_bytes(path.read_bytes()[:500] if content == "truncated" else content)
    with pytest.raises(ValueError):
        read_arrays(path)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
