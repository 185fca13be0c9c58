"""OpenFst's binary form against kaldifst, both ways."""

import kaldifst
import numpy as np
import pytest

from steps.graph import openfst


def random_fst(seed: int) -> openfst.Arrays:
    """Some states, arcs with labels and weights, and states without any."""
    chance = np.random.default_rng(seed)
    source = np.sort(chance.choice([0, 1, 2, 4], size=12))
    labels = chance.integers(0, 4, size=(2, 12))
    final = np.where(chance.random(5) < 0.5, np.inf, chance.random(5)).astype(np.float32)
    return openfst.Arrays(1, final, source, *labels, chance.random(12).astype(np.float32), chance.integers(0, 5, 12))


def arcs_of(fst) -> list[tuple]:
    """All arcs of a kaldifst FST, by its own iterators."""
    return sorted(
        (state, arc.ilabel, arc.olabel, arc.weight.value, arc.nextstate)
        for state in kaldifst.StateIterator(fst)
        for arc in kaldifst.ArcIterator(fst, state)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_kaldifst_reads_what_is_written(seed, tmp_path):
    arrays = random_fst(seed)
    openfst.write(arrays, tmp_path / "我 的.fst")
    fst = kaldifst.StdConstFst.read(str(tmp_path / "我 的.fst"))
    columns = (arrays.source, arrays.ilabel, arrays.olabel, arrays.weight, arrays.target)
    assert arcs_of(fst) == sorted(zip(*(column.tolist() for column in columns), strict=True))
    assert fst.start == 1
    assert [fst.final(state).value for state in range(5)] == arrays.final.tolist()
    assert [fst.num_input_epsilons(s) for s in range(5)] == [
        int(((arrays.source == s) & (arrays.ilabel == 0)).sum()) for s in range(5)
    ]


def test_what_kaldifst_writes_is_read(tmp_path):
    fst = kaldifst.compile("0 1 1 2 0.5\n1 2 3 4 0.25\n1 0 0 0 1\n2 0.75\n")
    arrays = openfst.from_kaldifst(fst)
    assert arrays.start == 0 and arrays.final.tolist() == [np.inf, np.inf, 0.75]
    assert arrays.source.tolist() == [0, 1, 1] and arrays.ilabel.tolist() == [1, 3, 0]
    assert arrays.target.tolist() == [1, 2, 0] and arrays.weight.tolist() == [0.5, 0.25, 1.0]
    assert arrays.first.tolist() == [0, 1, 3, 3]
    assert arcs_of(openfst.to_kaldifst(arrays)) == arcs_of(fst)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.fst"
    fst = kaldifst.compile("0 1 1 2 0.5\n1 0\n")
    fst.write(str(path))
    with pytest.raises(ValueError, match=r"x.fst: expected an OpenFst file of type const"):
        openfst.read(path)
    kaldifst.StdConstFst(fst).write(str(path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"x.fst: cut off"):
        openfst.read(path)
    path.write_bytes(b"\x01")
    with pytest.raises(ValueError, match=r"x.fst: not an OpenFst file"):
        openfst.read(path)
