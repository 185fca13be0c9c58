"""Files of other toolkits: what they hold comes out as torch reads it, and nothing of them is ever run."""

import collections
import io
import os
import pickle
import struct
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion

from steps.models.foreign import load_foreign
from steps.models.inert_pickle import Named, read_pickle

ZIP, LEGACY = True, False


class Small(nn.Module):
    """A network to be pickled whole: a layer in a list, one twice, a buffer that is kept and one that is not."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(3, 2), nn.BatchNorm1d(2)])
        self.again = self.parts[0]
        self.nothing = None
        self.register_buffer("kept", torch.arange(4))
        self.register_buffer("lost", torch.ones(2), persistent=False)


def stored(folder: Path, value, new: bool) -> Path:
    """The value as torch.save writes it, in the format of today or of before 1.6."""
    torch.save(value, folder / "file.pth", _use_new_zipfile_serialization=new)
    return folder / "file.pth"


@pytest.mark.parametrize("new", [ZIP, LEGACY])
def test_tensors_are_those_of_torch(tmp_path, new):
    base = torch.randn(4, 6)
    value = {
        "float": base,
        "view": base[1:3, ::2].T,
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "complex": torch.complex(base, base),
        "long": torch.arange(5),
        "byte": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(base + 1),
    }
    found = load_foreign(stored(tmp_path, value, new))
    assert list(found) == list(value)
    for name, tensor in value.items():
        assert type(found[name]) is torch.Tensor
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor.data), name
        assert not found[name].requires_grad


@pytest.mark.parametrize("new", [ZIP, LEGACY])
def test_plain_values_and_objects(tmp_path, new):
    plain = {
        "n": 1,
        "x": 2.5,
        "big": 2**70,
        "s": "语音",
        "b": b"\xff\x00",
        "l": [1, (2, None)],
        "t": True,
        "set": {1, "a"},
    }
    value = {
        **plain,
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, {"k": [1]}),
        "numpy": [np.float64(1.5), np.float32(0.25), np.int64(-3), np.bool_(True)],
        "size": torch.Size([2, 3]),
        "version": TorchVersion("2.1.0"),
        "device": torch.device("cpu"),
        "path": Path("x"),
        "array": np.arange(3),
        "namespace": types.SimpleNamespace(lr=1),
    }
    found = load_foreign(stored(tmp_path, value, new))
    assert {name: found[name] for name in plain} == plain
    assert found["ordered"] == {"a": 1} and found["default"] == {"k": [1]} and found["size"] == (2, 3)
    assert found["numpy"] == [1.5, 0.25, -3, True]
    assert [type(number) for number in found["numpy"]] == [float, float, int, bool]
    records = {name: found[name] for name in ("version", "device", "array", "namespace")}
    assert all(isinstance(record, Named) for record in records.values())
    assert (found["version"].name, found["version"].arguments) == ("torch.torch_version.TorchVersion", ("2.1.0",))
    assert found["namespace"].state == {"lr": 1}


@pytest.mark.parametrize("new", [ZIP, LEGACY])
@pytest.mark.filterwarnings("ignore")
def test_whole_networks(tmp_path, new):
    network = Small()
    found = load_foreign(stored(tmp_path, network, new))
    assert found["module"].endswith("Small")
    expected = network.state_dict()
    assert found["state_dict"].keys() == expected.keys()
    assert all(torch.equal(found["state_dict"][name], value) for name, value in expected.items())


@pytest.fixture
def alarm(monkeypatch, tmp_path):
    """A file that does not exist unless something below was run."""
    file = tmp_path / "ran"
    monkeypatch.setenv("ALARM", str(file))
    yield file
    assert not file.exists()


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments, **more):
        self.reduced = function, arguments, *more.get("rest", ())

    def __reduce__(self):
        return self.reduced


def attacks() -> dict[str, object]:
    shell = 'touch "$ALARM"'
    code = "open(__import__('os').environ['ALARM'], 'w').close()"
    inner = pickle.dumps(Calls(os.system, shell))
    archive = io.BytesIO()
    torch.save(Calls(os.system, shell), archive)
    return {
        "system": Calls(os.system, shell),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "chain": Calls(eval, Calls(str, code)),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "pickle": Calls(pickle.loads, inner),
        "torch.load": Calls(torch.load, Calls(io.BytesIO, archive.getvalue()), None, None, weights_only=False),
        "storage": Calls(torch.storage._load_from_bytes, archive.getvalue()),
        "state": Calls(types.SimpleNamespace, rest=({"__setstate__": Calls(os.system, shell)},)),
        "setter": Calls(Recorder, rest=({"command": shell},)),
        "list items": Calls(Recorder, rest=(None, iter([Calls(os.system, shell)]))),
        "dict items": Calls(Recorder, rest=(None, None, iter([("k", Calls(os.system, shell))]))),
        "in tensor": Calls(torch._utils._rebuild_parameter, torch.ones(2), Calls(os.system, shell), {}),
        "ordered": Calls(collections.OrderedDict, rest=({"__class__": Calls(os.system, shell)},)),
        "factory": collections.defaultdict(os.system, {"k": Calls(os.system, shell)}),
    }


class Recorder:
    """Runs what it is given, when it is built, filled or asked."""

    def __init__(self, command: str = 'touch "$ALARM"'):
        os.system(command)

    def __setstate__(self, state):
        os.system(state["command"])

    def append(self, value):
        os.system('touch "$ALARM"')

    extend = __setitem__ = __hash__ = __eq__ = append


@pytest.mark.parametrize("new", [ZIP, LEGACY])
@pytest.mark.parametrize("attack", sorted(attacks()))
def test_nothing_is_run(tmp_path, alarm, attack, new):
    file = stored(tmp_path, {"weights": torch.ones(2), "attack": attacks()[attack]}, new)
    alarm.unlink(missing_ok=True)  # building the pickle may have run it
    found = load_foreign(file)
    assert torch.equal(found["weights"], torch.ones(2))
    repr(found)


def test_the_attacks_would_work(tmp_path, alarm):
    """Or the test above shows nothing."""
    file = stored(tmp_path, {"attack": Calls(os.system, 'touch "$ALARM"')}, ZIP)
    torch.load(file, weights_only=False)
    assert alarm.exists()
    alarm.unlink()


def raw(content: bytes):
    return read_pickle(io.BytesIO(content), {"known.make": lambda *given: list(given)}, lambda name: ("kept", name))


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    value = [{"a": (1, 2, 3, 4)}, [], {}, (), None, True, False, 1.5, -7, 2**80, "é\n'", [[1], "x" * 300], {1, 2}]
    found = raw(pickle.dumps(value, protocol))
    assert found[:-1] == value[:-1]
    if protocol >= 4:  # before, a set is a call of `set`
        assert found[-1] == {1, 2}
    twice = [value[0], value[0]]
    assert (found := raw(pickle.dumps(twice, protocol)))[0] is found[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cos\nsystem\n(S'ls'\ntR.", ("os.system", ("ls",))),
        (b"(cos\nsystem\nS'ls'\no.", ("os.system", ("ls",))),
        (b"(S'ls'\nios\nsystem\n.", ("os.system", ("ls",))),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85\x81.", ("os.system", ("ls",))),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", ("os.system", ("ls",))),
        (b"\x80\x04cos\nsystem\n)}\x8c\x01aK\x01s\x92.", ("os.system", ({"a": 1},))),
        (b"c__builtin__\neval\n.", ("builtins.eval", None)),
    ],
    ids=["reduce", "obj", "inst", "newobj", "stack_global", "newobj_ex", "global"],
)
def test_calls_are_records(content, expected):
    found = raw(content)
    assert isinstance(found, Named)
    assert (found.name, found.arguments) == expected


def test_what_is_known_is_made_and_kept():
    assert raw(b"cknown\nmake\n(I1\nI2\ntR.") == [1, 2]
    assert raw(b"Pplace\n.") == ("kept", "place")
    result = raw(b"cknown\nmake\n(I1\ntRcos\nsystem\nb.")  # a list is given a state, which it has no place for
    assert result == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"(I1\n",
        b".",
        b"R.",
        b"I1\nI2\nR.",
        b"g7\n.",
        b"t.",
        b"\x80\x02\x82\x01.",  # an extension of copyreg's
        b"(I1\nd.",  # a key without value
        b"(((I1\ntI2\nd.",
        b"]I1\nI2\ns.",
        b"I1\nI2\na.",
        b"\x80\x05\x97.",  # an out-of-band buffer
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00x.",  # 2^56 bytes
        b"cknown\nmake\nI1\nR.",
        b"\x80\x04I1\nI2\n\x93.",
    ],
)
def test_broken_pickles(content):
    with pytest.raises(ValueError, match=r"pickle|opcode|bytes|data|expected"):
        raw(content)


def test_depth_is_no_harm():
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    assert len(raw(deep)) == 1
    nested = b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s."
    with pytest.raises(ValueError, match="as key"):
        raw(nested)


def zipped(folder: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    with zipfile.ZipFile(folder / "file.pth", "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return folder / "file.pth"


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    """A pickle {"w": tensor} of a storage of `count` floats under the key 0."""
    text = (
        f"(dVw\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI{count}\ntQI{offset}\n"
    )
    for numbers in (size, stride):
        text += "(" + "".join(f"I{number}\n" for number in numbers) + "t"
    return (text + "I00\n(dtRs.").encode()


def test_a_tensor_by_hand(tmp_path):
    file = zipped(tmp_path, tensor_pickle((2, 2), (1, 2)), data__0=struct.pack("<4f", 1, 2, 3, 4))
    assert load_foreign(file)["w"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "pickled",
    [
        tensor_pickle((5,), (1,)),
        tensor_pickle((2,), (1,), offset=3),
        tensor_pickle((2,), (1,), offset=-1),
        tensor_pickle((2,), (-1,), offset=1),
        tensor_pickle((1 << 40,), (0,)),
        tensor_pickle((2, 2), (1,)),
        tensor_pickle((4,), (1,), count=5),
        tensor_pickle((4,), (1,), count=-4),
        tensor_pickle((4,), (1,)).replace(b"FloatStorage", b"QUInt8Storage"),
        tensor_pickle((4,), (1,)).replace(b"V0\n", b"V../1\n"),
    ],
)
def test_tensors_that_reach_beyond_their_file(tmp_path, pickled):
    with pytest.raises(ValueError, match=r"file\.pth cannot be read"):
        load_foreign(zipped(tmp_path, pickled, data__0=struct.pack("<4f", 1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "no such file"),
        ("text", "cannot be read"),
        ("half", "cannot be read"),
        ("half legacy", "cannot be read"),
        ("torchscript", "TorchScript"),
        ("compressed", "compressed"),
        ("big endian", "highest byte first"),
        ("plain pickle", "not of torch.save"),
        ("a number", "expected a dict"),
    ],
)
def test_files_of_another_kind(tmp_path, damage, message):
    file = tmp_path / "file.pth"
    if damage == "text":
        file.write_text("weights")
    elif damage.startswith("half"):
        stored(tmp_path, {"w": torch.ones(3000)}, damage == "half")
        file.write_bytes(file.read_bytes()[:6000])
    elif damage == "torchscript":
        zipped(tmp_path, pickle.dumps({}), **{"constants.pkl": b""})
    elif damage == "compressed":
        zipped(tmp_path, pickle.dumps({}), zipfile.ZIP_DEFLATED)
    elif damage == "big endian":
        zipped(tmp_path, pickle.dumps({}), byteorder=b"big")
    elif damage == "plain pickle":
        file.write_bytes(b"".join(pickle.dumps(n, 2) for n in (1, 2, 3)))
    elif damage == "a number":
        stored(tmp_path, 5, ZIP)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        load_foreign(file)
    assert str(file) in str(raised.value)


def test_a_network_that_holds_itself(tmp_path):
    network = Small()
    file = tmp_path / "file.pth"
    object.__setattr__(network, "_modules", {"again": network})
    torch.save(network, file)
    with pytest.raises(ValueError, match="without end"):
        load_foreign(file)
