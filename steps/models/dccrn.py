"""DCCRN: a complex U-Net that halves the bins at each layer, with complex LSTMs over frames in its middle.

Y. Hu et al., "DCCRN: deep complex convolution recurrent network for phase-aware speech enhancement" (Interspeech 2020),
the variant DCCRN-CL with asteroid's sizes. Each of its layers sees a frame and the next, so that an output needs as
many frames beyond its own as there are layers.

Shapes: N batch, T samples, K frames, C channels, F bins of a layer.
"""

from torch import nn

from steps.models.complex_layers import (
    ComplexLstm,
    ComplexMaskNetwork,
    ComplexUNet,
    Layer,
    Pair,
    Product,
    checked,
)

TABLES = {
    name: tuple(Layer(channels, (5, 2), (2, 1), (2, 0)) for channels in widths)
    for name, widths in {
        "DCCRN-CL": (16, 32, 64, 128, 128, 128),
        "mini": (4, 8),  # for tests, also asteroid's
    }.items()
}
CELLS, LSTMS = 128, 2


class DCCRNet(ComplexMaskNetwork):
    """Noisy speech (N, T) -> speech (N, 1, T). The bin at half the sampling rate is left out.

    `mask_bound`: see `steps.models.complex_layers.Bound`; the paper has "tanh" (its DCCRN-E). STFT sizes in samples.
    Raises ValueError for sizes that the network cannot have.
    """

    def __init__(
        self,
        n_src: int = 1,
        architecture: str = "DCCRN-CL",
        stft_n_filters: int = 512,
        stft_kernel_size: int = 400,
        stft_stride: int = 100,
        mask_bound: str | None = "tanh",
    ):
        layers = checked("DCCRNet", n_src, architecture, TABLES, stft_n_filters)
        bins = stft_n_filters // 2 ** (len(layers) + 1)
        middle = OverFrames(layers[-1].channels * bins)
        masker = ComplexUNet(layers, nn.PReLU, mask_bound, middle=middle, output_padding=(1, 0))
        super().__init__((stft_n_filters, stft_kernel_size, stft_stride), layers, masker, nyquist=False)


class OverFrames(nn.Module):
    """Complex LSTMs over frames of C F values, and a linear layer back to as many."""

    def __init__(self, values: int):
        super().__init__()
        self.rnn = ComplexLstm(values, CELLS, LSTMS)
        self.linear = Product(nn.Linear, CELLS, values)

    def forward(self, z: Pair) -> Pair:
        """(N, C, F, K) twice -> the same shape"""
        channels, bins = z[0].shape[1:3]
        rows = z[0].flatten(1, 2).transpose(1, 2), z[1].flatten(1, 2).transpose(1, 2)  # (N, K, C F)
        real, imag = self.linear(self.rnn(rows))
        return real.transpose(1, 2).unflatten(1, (channels, bins)), imag.transpose(1, 2).unflatten(1, (channels, bins))
