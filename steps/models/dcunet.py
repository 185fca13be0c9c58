"""DCUNet: complex U-Nets of 10, 16 and 20 layers, half of them downwards.

H.-S. Choi et al., "Phase-aware speech enhancement with deep complex U-Net" (ICLR 2019), appendix B, with the sizes
of asteroid.
"""

from torch import nn

from steps.models.complex_layers import ComplexMaskNetwork, ComplexUNet, Layer, checked


def layers(*rows: tuple[int, tuple[int, int], tuple[int, int]]) -> tuple[Layer, ...]:
    """From (channels, kernel, stride), with paddings that keep a layer's middle in the middle."""
    return tuple(Layer(channels, kernel, stride, (kernel[0] // 2, kernel[1] // 2)) for channels, kernel, stride in rows)


def twenty(width: int, inner: int, last: int) -> tuple[Layer, ...]:
    """The 20-layer networks' layers, of `width` channels at first, then `inner`."""
    early = (width, (7, 1), (1, 1)), (width, (1, 7), (1, 1)), (inner, (7, 5), (2, 2)), (inner, (7, 5), (2, 1))
    pairs = [(inner, (5, 3), stride) for stride in ((2, 2), (2, 1), (2, 2), (2, 1), (2, 2))]
    return layers(*early, *pairs, (last, (5, 3), (2, 1)))


TABLES = {
    "DCUNet-10": layers(
        (32, (7, 5), (2, 2)), (64, (7, 5), (2, 2)), (64, (5, 3), (2, 2)), (64, (5, 3), (2, 2)), (64, (5, 3), (2, 1))
    ),
    "DCUNet-16": layers(
        *((32, (7, 5), (2, 2)), (32, (7, 5), (2, 1)), (64, (7, 5), (2, 2)), (64, (5, 3), (2, 1))),
        *((64, (5, 3), stride) for stride in ((2, 2), (2, 1), (2, 2), (2, 1))),
    ),
    "DCUNet-20": twenty(32, 64, 90),
    "Large-DCUNet-20": twenty(45, 90, 128),
    "mini": layers((4, (7, 5), (2, 2)), (8, (7, 5), (2, 2)), (16, (5, 3), (2, 2))),  # for tests, also asteroid's
}
WIDTHS = {"Large-DCUNet-20": (90,) * 9}  # upwards, where they are not those downwards


class DCUNet(ComplexMaskNetwork):
    """Noisy speech (N, T) -> speech (N, 1, T).

    `mask_bound`: see `steps.models.complex_layers.Bound`. STFT sizes in samples. `fix_length_mode` is asteroid's: what
    becomes of lengths that the strides do not fit; all are padded. Raises ValueError for sizes that the network cannot
    have, and for a mode that would cut the waveform's end off.
    """

    def __init__(
        self,
        n_src: int = 1,
        architecture: str = "DCUNet-10",
        stft_n_filters: int = 1024,
        stft_kernel_size: int = 1024,
        stft_stride: int = 256,
        mask_bound: str | None = "tanh",
        fix_length_mode: str | None = "pad",
    ):
        chosen = checked("DCUNet", n_src, architecture, TABLES, stft_n_filters)
        if fix_length_mode not in ("pad", None):
            raise ValueError(f"model.sizes.fix_length_mode: 'pad' keeps every sample; got '{fix_length_mode}'")
        masker = ComplexUNet(chosen, nn.LeakyReLU, mask_bound, widths=WIDTHS.get(architecture, ()))
        super().__init__((stft_n_filters, stft_kernel_size, stft_stride), chosen, masker, nyquist=True)
