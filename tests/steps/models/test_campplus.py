"""CAM++: sizes and names as published, segments against brute force, padding without influence, exact when exported."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from steps.models.campplus import CamPlusPlus, ContextAwareMask, segment_means

LENGTHS = [1, 37, 99, 100, 101, 199, 200, 201, 401, 457]  # a segment is 200 frames of features


@pytest.fixture(scope="module")
def small() -> CamPlusPlus:
    """With running statistics as after training: without them activations grow from layer to layer."""
    torch.manual_seed(0)
    model = CamPlusPlus(80, 32, growth=8)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 60, 80))
    return model.eval()


@pytest.mark.parametrize(("embedding_dim", "parameters"), [(512, 7_176_224), (192, 6_848_544)])
def test_published_sizes(embedding_dim, parameters):
    model = CamPlusPlus(80, embedding_dim)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.embedding_dim == embedding_dim


def test_published_names():
    """What a checkpoint of wespeaker or 3D-Speaker has: 937 tensors; a few of each kind with their shapes."""
    state = CamPlusPlus(80, 192).state_dict()
    assert len(state) == 937
    assert {re.sub(r"^(head|xvector\.\w+)\..*", r"\1", name) for name in state} == {
        "head",
        *(f"xvector.{stage}" for stage in ("tdnn", "out_nonlinear", "dense")),
        *(f"xvector.{stage}{n}" for stage in ("block", "transit") for n in (1, 2, 3)),
    }
    for name, shape in {
        "head.layer2.0.shortcut.1.running_mean": (32,),
        "head.layer1.1.conv2.weight": (32, 32, 3, 3),
        "xvector.tdnn.linear.weight": (128, 320, 5),
        "xvector.block1.tdnnd12.nonlinear1.batchnorm.weight": (128 + 11 * 32,),
        "xvector.block2.tdnnd24.cam_layer.linear_local.weight": (32, 128, 3),
        "xvector.block3.tdnnd16.cam_layer.linear2.bias": (32,),
        "xvector.block3.tdnnd1.linear1.weight": (128, 512, 1),
        "xvector.transit3.linear.weight": (512, 1024, 1),
        "xvector.dense.linear.weight": (192, 1024, 1),
        "xvector.dense.nonlinear.batchnorm.running_var": (192,),
    }.items():
        assert state[name].shape == shape, name


@pytest.mark.parametrize("frames", [1, 37, 99, 100, 101, 200, 250])
def test_segment_means_are_those_of_each_hundred_frames(frames):
    x = torch.randn(2, 3, frames)
    expected = torch.stack([part.mean(-1) for part in x.split(100, dim=-1)], dim=-1)
    torch.testing.assert_close(segment_means(x, None), expected, atol=1e-6, rtol=0)
    padded = nn.functional.pad(x, (0, 130))
    masked = segment_means(padded, (torch.arange(frames + 130) < frames).expand(2, -1))
    torch.testing.assert_close(masked[..., : expected.shape[-1]], expected, atol=1e-6, rtol=0)
    assert (masked[..., expected.shape[-1] :] == 0).all()


@torch.no_grad()
def test_each_frame_is_gated_by_its_own_segment():
    layer = ContextAwareMask(6, 4, dilation=2)
    x = torch.randn(1, 6, 230)
    local, y = layer.linear_local(x), layer(x, None)
    for frame, segment in [(0, slice(0, 100)), (99, slice(0, 100)), (100, slice(100, 200)), (229, slice(200, 230))]:
        context = (x.mean(-1) + x[..., segment].mean(-1)).unsqueeze(-1)
        gate = torch.sigmoid(layer.linear2(torch.relu(layer.linear1(context))))
        torch.testing.assert_close(y[..., frame], local[..., frame] * gate[..., 0], atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_padding_does_not_count(small, dtype, tolerance):
    model = copy.deepcopy(small).to(dtype)
    alone = [torch.randn(frames, 80, dtype=dtype) for frames in LENGTHS]
    batch = pad_sequence(alone, batch_first=True, padding_value=float("nan"))
    together = nn.functional.normalize(model(batch, torch.tensor(LENGTHS)))
    expected = nn.functional.normalize(torch.cat([model(x.unsqueeze(0)) for x in alone]))
    torch.testing.assert_close(together, expected, atol=tolerance, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("bins", [80, 81])
def test_a_single_frame_has_an_embedding(bins):
    assert CamPlusPlus(bins, 8, growth=2).eval()(torch.randn(1, 1, bins)).isfinite().all()


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_an_exported_network_gives_the_same_at_any_length(small, tmp_path):
    """Pooling by segments is what exporters have got wrong."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path, axes = str(tmp_path / "campplus.onnx"), {"features": {0: "N", 1: "T"}}
    torch.onnx.export(
        small, (torch.randn(2, 230, 80),), path, input_names=["features"], dynamo=False, dynamic_axes=axes
    )
    session = onnxruntime.InferenceSession(path)
    for frames in LENGTHS:
        x = torch.randn(2, frames, 80)
        expected = small(x).numpy()
        found = session.run(None, {"features": x.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
