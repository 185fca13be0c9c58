"""Masks on spectra by bidirectional LSTMs: the separator that learns in minutes on a CPU.

M. Kolbæk, D. Yu, Z.-H. Tan and J. Jensen, "Multitalker speech separation with utterance-level permutation invariant
training of deep recurrent neural networks" (2017), sections III and V, with compressed magnitudes as features.
A frame takes one product of matrices for each layer, and there are few frames: nothing here waits for memory, as
dilated convolutions over a thousand frames a second do.
"""

from torch import Tensor, nn

from steps.models.recurrent import outputs
from steps.models.stft import Stft, magnitude

COMPRESSION = 0.3  # power of a magnitude that the network sees


class BlstmMask(nn.Module):
    """Mixtures (N, T) -> talkers (N, S, T): a mask between 0 and 1 for each talker on the mixture's spectrum.

    With `complex_mask` real and imaginary parts have a factor each, between -1 and 1, so that phases may change.
    """

    def __init__(
        self,
        n_src: int,
        n_fft: int = 256,
        hop: int = 128,
        hid_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
        complex_mask: bool = False,
    ):
        super().__init__()
        self.n_src, self.complex_mask = n_src, complex_mask
        self.stft = Stft(n_fft, hop, window="sqrt_hann")
        bins = self.stft.bins
        self.norm = nn.LayerNorm(bins)
        self.rnn = nn.LSTM(bins, hid_size, num_layers, batch_first=True, bidirectional=True, dropout=dropout)
        self.masks = nn.Linear(2 * hid_size, n_src * bins * (2 if complex_mask else 1))

    @property
    def causal(self) -> bool:
        """Whether no output depends on later input."""
        return False

    def forward(self, mixture: Tensor) -> Tensor:
        """mixture (N, T) -> (N, S, T), float32."""
        samples = mixture.shape[-1]
        real, imag = self.stft.analysis(mixture.float())  # (N, B, K)
        seen = magnitude(real, imag).pow(COMPRESSION)
        level = seen.mean(dim=(1, 2), keepdim=True)
        hidden = outputs(self.rnn, self.norm((seen / (level + 1e-5)).transpose(1, 2)))  # (N, K, B) -> (N, K, 2 H)
        masks = self.masks(hidden).float().transpose(1, 2)  # (N, S B [2], K)
        n, _, frames = masks.shape
        masks = masks.reshape(n, self.n_src, -1, self.stft.bins, frames)
        if self.complex_mask:
            a, b = masks.tanh().unbind(dim=2)  # (N, S, B, K)
            real, imag = real.unsqueeze(1), imag.unsqueeze(1)
            real, imag = a * real - b * imag, a * imag + b * real
        else:
            mask = masks[:, :, 0].sigmoid()
            real, imag = mask * real.unsqueeze(1), mask * imag.unsqueeze(1)
        waves = self.stft.synthesis(real.flatten(0, 1), imag.flatten(0, 1), samples)
        return waves.reshape(n, self.n_src, -1)
