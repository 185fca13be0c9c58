"""Weighted transducers as numpy arrays, from and to OpenFst's binary "const" form (standard arcs, no symbols).

kaldifst does the algorithms; the arrays are for what would need a Python call per arc there.
"""

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC, VERSION_UNALIGNED = 2125659606, 2
HAS_SYMBOLS, IS_ALIGNED = 3, 4
EXPANDED = 1  # the one property bit that every such file has; readers compute the others
_HEADER = struct.Struct("<iiQqqq")  # version, flags, properties, start, states, arcs
_STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("target", "<i4")])


@dataclass
class Arrays:
    """A transducer over the tropical semiring: costs add along a path, label 0 is epsilon.

    start: state; final: (S,) float32, the cost of ending in each state, infinite where it is not final;
    source, ilabel, olabel, target: (A,) int64 and weight: (A,) float32, one element per arc, sorted by source.
    """

    start: int
    final: np.ndarray
    source: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    weight: np.ndarray
    target: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """(S + 1,) int64: the arcs of state s are first[s] up to first[s + 1]."""
        return np.searchsorted(self.source, np.arange(len(self.final) + 1))


def read(path: Path | str) -> Arrays:
    """Reads a const FST. Raises ValueError for a file of another kind."""
    content = Path(path).read_bytes()
    try:
        kind, offset = _string(content, 4)
        arc_kind, offset = _string(content, offset)
        version, flags, _, start, num_states, num_arcs = _HEADER.unpack_from(content, offset)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not an OpenFst file") from error
    if struct.unpack_from("<i", content)[0] != MAGIC or (kind, arc_kind) != ("const", "standard"):
        raise ValueError(f"{path}: expected an OpenFst file of type const with standard arcs")
    if version != VERSION_UNALIGNED or flags & (HAS_SYMBOLS | IS_ALIGNED):
        raise ValueError(f"{path}: expected an unaligned FST without symbol tables")
    offset += _HEADER.size
    if len(content) != offset + num_states * _STATE.itemsize + num_arcs * _ARC.itemsize:
        raise ValueError(f"{path}: cut off, or longer than its header says; make it again (steps.compile_graph)")
    states = np.frombuffer(content, _STATE, num_states, offset)
    arcs = np.frombuffer(content, _ARC, num_arcs, offset + num_states * _STATE.itemsize)
    source = np.repeat(np.arange(num_states), states["arcs"])
    labels = (arcs[name].astype(np.int64) for name in ("ilabel", "olabel"))
    weight, target = arcs["weight"].copy(), arcs["target"].astype(np.int64)
    return Arrays(start, states["final"].copy(), source, *labels, weight, target)


def write(fst: Arrays, path: Path | str) -> None:
    """Writes a const FST, the arcs of each state sorted by input label."""
    size = len(fst.final)
    order = np.lexsort((fst.ilabel, fst.source))
    states = np.zeros(size, _STATE)
    states["final"], states["first"] = fst.final, fst.first[:-1]
    states["arcs"] = np.bincount(fst.source, minlength=size)
    states["iepsilons"] = np.bincount(fst.source[fst.ilabel == 0], minlength=size)
    states["oepsilons"] = np.bincount(fst.source[fst.olabel == 0], minlength=size)
    arcs = np.zeros(len(order), _ARC)
    for name in ("ilabel", "olabel", "weight", "target"):
        arcs[name] = getattr(fst, name)[order]
    header = _HEADER.pack(VERSION_UNALIGNED, 0, EXPANDED, fst.start, size, len(order))
    with Path(path).open("wb") as file:
        file.write(struct.pack("<i", MAGIC) + _packed("const") + _packed("standard") + header)
        file.write(states.tobytes())
        file.write(arcs.tobytes())


def from_kaldifst(fst) -> Arrays:
    """Returns the arrays of a kaldifst.StdVectorFst or StdConstFst."""
    import kaldifst

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/fst"
        if not kaldifst.StdConstFst(fst).write(path):
            raise OSError(f"{path}: could not be written; is the disk full?")
        return read(path)


def to_kaldifst(fst: Arrays):
    """Returns a kaldifst.StdVectorFst of the arrays."""
    import kaldifst

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/fst"
        write(fst, path)
        return kaldifst.StdVectorFst(kaldifst.StdConstFst.read(path))


def _string(content: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<i", content, offset)
    start = offset + 4
    return content[start : start + max(0, length)].decode(), start + max(0, length)


def _packed(text: str) -> bytes:
    return struct.pack("<i", len(text)) + text.encode()
