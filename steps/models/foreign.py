"""Checkpoints of other toolkits, without running anything that they contain.

`torch.load` refuses many of them by now: asteroid's hold torch's version as an object, denoiser's and SuDoRM-RF's
pickle classes, and `weights_only=False` would run whatever a file says. Here a file gives tensors, numbers, text and
containers of those; everything else that it names is a record (`Named`) which nothing calls.
"""

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from steps.models.inert_pickle import Builders, Named, keyed, read_pickle

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # with which torch.save began before version 1.6
MOST_MODULES = 100_000  # a network that holds itself has no end
DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}


def load_foreign(path: Path | str) -> dict[str, Any]:
    """What torch.save wrote into a file, of any version since 0.4.

    A whole pickled network comes as {"module": the name of its class, "state_dict": its weights}. Raises
    FileNotFoundError, or ValueError that names the file for one that is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    try:
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        if zipped:
            content = _read_zip(path)
        else:
            content = _read_legacy(io.BytesIO(path.read_bytes()))  # BytesIO reserves no memory for what is not there
        if is_module(content):
            return {"module": content.name, "state_dict": module_weights(content)}
    except (ValueError, OSError, struct.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read as a file of torch.save: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {content!r:.80}; expected a dict with weights, or a network")
    return content


def _read_zip(path: Path) -> Any:
    """Torch 1.6 and later: an archive with one pickle, and a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1 or f"{roots[0]}constants.pkl" in names:
            raise ValueError("a zip archive, but of TorchScript or of something else; its state_dict is what is needed")
        (root,) = roots

        def record(name: str) -> bytes:
            if name not in names or archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is missing or compressed")
            return archive.read(name)

        if f"{root}byteorder" in names and record(f"{root}byteorder") != b"little":
            raise ValueError("numbers with the highest byte first; save it again on a usual machine")
        cache: dict[str, Tensor] = {}

        def storage(dtype: torch.dtype, key: str, count: int) -> Tensor:
            if key not in cache:
                cache[key] = _bytes(record(f"{root}data/{key}"))
            return _typed(cache[key], dtype, count)

        return read_pickle(io.BytesIO(record(f"{root}data.pkl")), BUILDERS, Storages(storage))


def _read_legacy(stream: BinaryIO) -> Any:
    """Before torch 1.6: pickles one after the other, of which the fourth is the content, and storages behind them.

    The content is read twice: which storages there are, and with them.
    """
    plain = [read_pickle(stream, {}, _refused) for _ in range(3)]
    if plain[:2] != [MAGIC, PROTOCOL]:
        raise ValueError("a pickle, but not of torch.save")
    place = stream.tell()
    wanted: dict[str, tuple[torch.dtype, int]] = {}

    def noted(dtype: torch.dtype, key: str, count: int) -> Tensor:
        wanted[key] = dtype, count
        return torch.empty(0, dtype=dtype)

    read_pickle(stream, {}, Storages(noted))
    storages = {}
    for key in read_pickle(stream, {}, _refused):
        dtype, count = wanted[key] if isinstance(key, str) and key in wanted else (torch.uint8, -1)
        (stored,) = struct.unpack("<q", stream.read(8))
        if stored != count:
            raise ValueError(f"storage {key!r:.40} has {stored} numbers, expected {count}")
        storages[key] = _bytes(stream.read(count * dtype.itemsize))
    stream.seek(place)
    return read_pickle(stream, BUILDERS, Storages(lambda dtype, key, count: _typed(storages[key], dtype, count)))


def _refused(name: Any) -> Any:
    raise ValueError(f"a reference to {name!r:.40} where none can be")


def _bytes(content: bytes) -> Tensor:
    """(B,) uint8 that may be written to."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def _typed(content: Tensor, dtype: torch.dtype, count: int) -> Tensor:
    """The first `count` numbers of bytes (B,)."""
    if count * dtype.itemsize > len(content):
        raise ValueError(f"a storage of {len(content)} bytes, too few for {count} of {dtype}")
    return content[: count * dtype.itemsize].view(dtype)


class Storages:
    """Turns the ids with which torch points out of a pickle into storages, by a function of dtype, key and count."""

    def __init__(self, get: Callable[[torch.dtype, str, int], Tensor]):
        self.get = get

    def __call__(self, reference: Any) -> Any:
        """The flat tensor; of ("module", class, file, source), which old files have for a class, the class."""
        if isinstance(reference, tuple) and len(reference) == 4 and reference[0] == "module":
            return reference[1]
        kind, storage, key, _, count, *view = reference
        name = re.fullmatch(r"torch\.(?:storage\.|cuda\.)?(\w+)Storage", getattr(storage, "name", ""))
        if kind != "storage" or name is None or name[1] not in DTYPES or not whole(count):
            raise ValueError(f"a reference to {reference!r:.60}, which is no storage")
        flat = self.get(DTYPES[name[1]], str(key), count)
        if view and view[0] is not None:  # (key, offset, size) of a storage that is part of another
            raise ValueError("a storage that is part of another; save it again with a torch of this decade")
        return flat


def whole(*values: Any) -> bool:
    """Whether all are whole numbers from 0 on."""
    return all(type(value) is int and value >= 0 for value in values)


def build_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view into a storage. Raises ValueError where it would reach beyond, or repeat itself."""
    if not isinstance(storage, Tensor) or not whole(offset, *size, *stride) or len(size) != len(stride):
        raise ValueError("a tensor without storage, size and strides")
    reach = offset + 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    numbers = int(np.prod([1, *size], dtype=object))
    if numbers and (reach > len(storage) or numbers > len(storage)):
        raise ValueError(f"a tensor of {numbers} numbers in a storage of {len(storage)}")
    return storage.as_strided(tuple(size), tuple(stride), offset) if numbers else storage.new_zeros(tuple(size))


def build_parameter(value: Any, *_: Any) -> Tensor:
    """A parameter is the tensor that it holds."""
    if not isinstance(value, Tensor):
        raise ValueError("a parameter without a tensor")
    return value


def build_subclass(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A subclass of torch.Tensor as the tensor that it is made from."""
    if not isinstance(function, Named) or function.name not in TENSORS:
        return Named("torch.Tensor", (function, kind, arguments))
    return TENSORS[function.name](*arguments)


def build_scalar(kind: Any, content: Any) -> int | float | bool | complex:
    """A number of numpy's from its bytes. Raises ValueError for other kinds."""
    code = kind.arguments[0] if isinstance(kind, Named) and kind.name == "numpy.dtype" and kind.arguments else None
    order = kind.state[1] if code and isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d\d?", code) or order not in ("<", ">", "|", "="):
        raise ValueError("a scalar of numpy's that is no number")
    if not isinstance(content, bytes) or len(content) != int(code[1:]):
        raise ValueError(f"a scalar of numpy's of kind {code} without its bytes")
    return np.frombuffer(content, np.dtype(order + code))[0].item()


def build_bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes as old pickles write them, as text in latin1."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes that are not written as latin1")
    return text.encode("latin1")


def build_dict(pairs: Any = ()) -> dict[Any, Any]:
    """A plain dict; its order is kept."""
    pairs = [tuple(pair) for pair in pairs]
    keyed(key for key, _ in pairs)
    return dict(pairs)


def build_size(values: Any) -> tuple[int, ...]:
    """A torch.Size as a tuple."""
    if not isinstance(values, tuple) or not whole(*values):
        raise ValueError("a torch.Size of what are no sizes")
    return values


TENSORS: Builders = {
    "torch._utils._rebuild_tensor": build_tensor,
    "torch._utils._rebuild_tensor_v2": build_tensor,
    "torch._utils._rebuild_parameter": build_parameter,
    "torch._utils._rebuild_parameter_with_state": build_parameter,
}
BUILDERS: Builders = {
    **TENSORS,
    "torch._tensor._rebuild_from_type_v2": build_subclass,
    "torch.Size": build_size,
    "collections.OrderedDict": build_dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": lambda values=(): keyed(values),
    "_codecs.encode": build_bytes,
    "numpy.core.multiarray.scalar": build_scalar,
    "numpy._core.multiarray.scalar": build_scalar,
    "copyreg._reconstructor": lambda kind, *rest: Named(kind.name, rest),
}


def is_module(value: Any) -> bool:
    """Whether it is the record of a pickled torch.nn.Module."""
    return isinstance(value, Named) and isinstance(value.state, dict) and "_modules" in value.state


def module_weights(network: Named) -> dict[str, Tensor]:
    """What `state_dict` of a pickled network would have given. Raises ValueError for one that is no tree."""
    weights: dict[str, Tensor] = {}
    waiting = [("", network)]
    seen = 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if not is_module(module) or seen > MOST_MODULES or len(prefix) > 10_000:
            raise ValueError("a network whose parts are no networks, or without end")
        state = module.state
        passing = state.get("_non_persistent_buffers_set") or ()
        for name, value in [*_entries(state.get("_parameters")), *_entries(state.get("_buffers"))]:
            if isinstance(value, Tensor) and name not in passing:
                weights[prefix + name] = value
        parts = [(f"{prefix}{name}.", part) for name, part in _entries(state["_modules"]) if part is not None]
        waiting += reversed(parts)
    return weights


def _entries(values: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in values.items()] if isinstance(values, dict) else []
