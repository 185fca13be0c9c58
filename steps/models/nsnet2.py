"""NSNet2: two GRUs over log power spectra, matrix products and nothing else, which a core trains and runs fastest.

S. Braun and I. Tashev, "Data augmentation and loss normalization for deep noise suppression", SPECOM 2020, section 2
(the baseline of the DNS challenges). With `complex_mask` a bin has a complex factor instead of a gain between 0 and 1.

Shapes: N batch, B bins, K frames, H cells.
"""

import torch
from torch import Tensor, nn

from steps.models.streaming_stft import CausalStftNetwork, States, carried, product

POWER_FLOOR = 1e-8  # of a bin, under the logarithm
MEAN, SPREAD = -4.0, 4.0  # of the natural log of a bin's power in speech of usual level: what comes in is about 0 and 1


class NSNet2(CausalStftNetwork):
    """(N, T) -> (N, 1, T). Defaults are the paper's: windows of 20 ms at 16 kHz, 400 cells, 600 wide layers.

    Raises ValueError for more than one source.
    """

    def __init__(
        self,
        n_src: int = 1,
        n_fft: int = 320,
        hop: int = 160,
        hid_size: int = 400,
        fc_size: int = 600,
        complex_mask: bool = False,
    ):
        super().__init__(n_src, n_fft, hop)
        self.hid_size, self.complex_mask = hid_size, complex_mask
        bins = self.stft.bins
        self.fc1 = nn.Linear(bins, hid_size)
        self.rnn1 = nn.GRU(hid_size, hid_size)
        self.rnn2 = nn.GRU(hid_size, hid_size)
        self.fc2 = nn.Linear(hid_size, fc_size)
        self.fc3 = nn.Linear(fc_size, fc_size)
        self.fc4 = nn.Linear(fc_size, bins * (2 if complex_mask else 1))

    def start(self, batch: int) -> States:
        """Before the first frame: the cells of both GRUs, each (1, N, H)."""
        lower, upper = self.fc1.weight.new_zeros(2, 1, batch, self.hid_size).unbind(0)
        return lower.clone(), upper.clone()  # one tensor given twice would be one input of a graph

    def step(self, spectra: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spectra (N, B, K, 2) and states -> the same after K frames."""
        power = spectra.float().square().sum(dim=3)
        seen = ((power + POWER_FLOOR).log() - MEAN) / SPREAD
        x = self.fc1(seen.permute(2, 0, 1))  # (N, B, K) -> (K, N, H)
        x, lower = carried(self.rnn1, x, lower)
        x, upper = carried(self.rnn2, x, upper)
        x = self.fc4(self.fc3(self.fc2(x).relu()).relu()).float().permute(1, 2, 0)  # (N, B [2], K)
        if not self.complex_mask:
            return spectra * x.sigmoid().unsqueeze(3), lower, upper
        masks = torch.stack(x.tanh().chunk(2, dim=1), dim=3)
        return product(spectra, masks, axis=3), lower, upper
