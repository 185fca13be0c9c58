"""ResNet over time and frequency, with statistics over time.

K. He et al., "Deep residual learning for image recognition", CVPR 2016, table 1, with half the channels and a first
convolution that is 3-wide, without stride or pooling after it. 221 and 293 layers are wespeaker's, and so are the
parameter names, those with one layer after the pooling (`two_emb_layer: False` there).

Shapes: N utterances, T frames, F mel bins, C channels, E embedding.
"""

from torch import Tensor, nn
from torch.nn import functional

from steps.models.masking import frame_mask, silence_padding
from steps.models.pooling import StatisticsPooling

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 221: (6, 16, 48, 3), 293: (10, 20, 64, 3)}  # by number of layers
BOTTLENECK_FROM = 50  # this many layers on, blocks have a bottleneck


class ResNet(nn.Module):
    """Features to an embedding. `depth` is a key of BLOCKS, `channels` the width of the first of four groups."""

    def __init__(self, num_mel_bins: int, embedding_dim: int, depth: int = 34, channels: int = 32):
        super().__init__()
        self.embedding_dim = embedding_dim
        block = BottleneckBlock if depth >= BOTTLENECK_FROM else BasicBlock
        self.conv1 = _conv(1, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        inputs, bins = channels, num_mel_bins
        for group, count in enumerate(BLOCKS[depth]):
            width = channels * 2**group
            strides = [1 if group == 0 else 2, *[1] * (count - 1)]
            layer = nn.ModuleList()
            for stride in strides:
                layer.append(block(inputs, width, stride))
                inputs = width * block.expansion
                bins = -(-bins // stride)
            self.add_module(f"layer{group + 1}", layer)
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * inputs * bins, embedding_dim)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """features (N, T, F), lengths (N,) in frames or None where all are T -> embeddings (N, E). T from 1 on."""
        mask = frame_mask(lengths, features.shape[1])
        x = features.transpose(1, 2).unsqueeze(1)  # (N, T, F) -> (N, 1, F, T)
        x = functional.relu(self.bn1(self.conv1(silence_padding(x, mask))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x, mask = block(x, mask)
        return self.seg_1(self.pool(x, mask))  # pooled (N, 2 C F / 8)


class Residual(nn.Module):
    """A block: its input, or a projection of it where the shape changes, plus what `residual` makes of it.

    `residual(x, before, after)` takes x (N, C, F, T), its mask, and the mask after the stride -> (N, C', F', T').
    """

    expansion = 1  # channels of the output for each of `width`

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.stride = stride
        outputs = width * self.expansion
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (N, C, F, T), mask (N, T) or None -> the same after the stride; frame t of it lies at t * stride."""
        after = mask if mask is None else mask[:, :: self.stride]
        return functional.relu(self.residual(x, mask, after) + self.shortcut(x)), after


class BasicBlock(Residual):
    """Two 3 x 3 convolutions."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__(inputs, width, stride)
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def residual(self, x: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """What is added to x; see `Residual`."""
        x = functional.relu(self.bn1(self.conv1(silence_padding(x, before))))
        return self.bn2(self.conv2(silence_padding(x, after)))


class BottleneckBlock(Residual):
    """A 3 x 3 convolution between two of 1 x 1."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__(inputs, width, stride)
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)

    def residual(self, x: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """What is added to x; see `Residual`."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(silence_padding(x, before))))
        return self.bn3(self.conv3(x))


def _conv(inputs: int, outputs: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, width, stride=stride, padding=width // 2, bias=False)
