"""ResNet: names, shapes, what a block does to its input and to the mask."""

import pytest
import torch
from torch import nn

from steps.models.masking import frame_mask, halved
from steps.models.resnet import BLOCKS, BasicBlock, BottleneckBlock, ResNet

NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def names_of_wespeaker(depth: int) -> list[str]:
    convolutions = 3 if depth > 50 else 2
    names = ["conv1.weight", *(f"bn1.{name}" for name in NORM), "seg_1.weight", "seg_1.bias"]
    for layer, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            place = f"layer{layer}.{block}"
            for n in range(1, convolutions + 1):
                names += [f"{place}.conv{n}.weight", *(f"{place}.bn{n}.{name}" for name in NORM)]
            if block == 0 and (layer > 1 or depth > 50):  # elsewhere the shape stays
                names += [f"{place}.shortcut.0.weight", *(f"{place}.shortcut.1.{name}" for name in NORM)]
    return names


@pytest.mark.parametrize(("depth", "keys", "pooled"), [(18, 122, 5120), (34, 218, 5120), (221, 1346, 20480)])
def test_parameter_names_are_wespeaker_s(depth, keys, pooled):
    with torch.device("meta"):
        state = ResNet(80, 256, depth).state_dict()
    assert sorted(state) == sorted(names_of_wespeaker(depth))
    assert len(state) == keys
    assert state["seg_1.weight"].shape == (256, pooled)


@pytest.mark.parametrize("depth", sorted(BLOCKS))
def test_the_name_says_how_many_layers_have_weights(depth):
    with torch.device("meta"):
        model = ResNet(80, 256, depth)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "shortcut" not in name]) == depth


@pytest.mark.parametrize(("block", "last"), [(BasicBlock, "bn2"), (BottleneckBlock, "bn3")])
def test_a_block_whose_residual_is_zero_passes_its_input(block, last):
    identity = block(4 * block.expansion, 4, 1).eval()
    nn.init.zeros_(getattr(identity, last).weight)
    x = torch.randn(2, 4 * block.expansion, 6, 7)
    result, mask = identity(x, None)
    torch.testing.assert_close(result, x.relu())
    assert mask is None


@pytest.mark.parametrize("block", [BasicBlock, BottleneckBlock])
def test_a_stride_halves_frames_bins_and_mask(block):
    lengths = torch.tensor([9, 1, 6, 3])
    x, mask = block(4, 8, 2)(torch.randn(4, 4, 10, 9), frame_mask(lengths, 9))
    assert x.shape == (4, 8 * block.expansion, 5, 5)
    assert torch.equal(mask, frame_mask(halved(lengths), 5))


@pytest.mark.parametrize("bins", [80, 72, 23, 1])
def test_any_number_of_mel_bins(bins):
    model = ResNet(bins, 8, depth=18, channels=2).eval()
    assert model.seg_1.in_features == 2 * 16 * -(-bins // 8)
    assert model(torch.randn(2, 11, bins)).shape == (2, 8)
