"""The same weights have the same hash, others another."""

import hashlib
import struct

import torch

from steps.models.fingerprint import weights_hash

STATE = {"b.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a.count": torch.tensor(7)}


def test_definition():
    written = b"a.count () torch.int64\n" + struct.pack("<q", 7)
    written += b"b.weight (2, 2) torch.float32\n" + struct.pack("<4f", 1, 2, 3, 4)
    assert weights_hash(STATE) == hashlib.sha256(written).hexdigest()[:16]


def test_neither_order_nor_layout_counts():
    transposed = STATE["b.weight"].T.contiguous().T
    assert not transposed.is_contiguous()
    assert weights_hash({"a.count": STATE["a.count"], "b.weight": transposed.requires_grad_()}) == weights_hash(STATE)


def test_names_shapes_types_and_values_count():
    weight = STATE["b.weight"]
    others = [
        {**STATE, "b.weight": weight + torch.tensor([[0.0, 0.0], [0.0, 1e-6]])},
        {**STATE, "b.weight": weight.T},
        {**STATE, "b.weight": weight.reshape(4)},
        {**STATE, "b.weight": weight.bfloat16()},
        {**STATE, "b.weight": weight.view(torch.int32)},
        {"a.count": STATE["a.count"], "b.bias": weight},
        {"a.count": STATE["a.count"]},
        {},
    ]
    assert len({weights_hash(state) for state in [STATE, *others]}) == len(others) + 1
