"""VoiceFilter: of several talkers the one whose embedding is given, by a mask on the spectrum's magnitude.

Q. Wang et al., "VoiceFilter: Targeted voice separation by speaker-conditioned spectrogram masking", Interspeech 2019
(arXiv 1810.04826), table 1. Two things the table leaves open are as in the public implementations: each convolution
is batch-normalised, and the mask is as wide as the spectrum (the table's last layer has 600 nodes, n_fft 1200 gives
601 bins). The phase is the mixture's; the loss is on the waveform, so there is no compression but the one of the input.

Shapes: N mixtures, T samples, K frames, B bins, C channels, E embedding.
"""

import torch
from torch import Tensor, nn

from steps.models.recurrent import outputs
from steps.models.stft import Stft, magnitude

WIDE = 7  # of the first two convolutions, one along the bins and one along the frames
SQUARE = 5  # of the dilated ones, along both


class VoiceFilter(nn.Module):
    """A mixture and an embedding of one of its talkers to that talker's waveform.

    `n_fft`, `hop` and `win` are in samples, the defaults for 16 kHz (25 ms windows every 10 ms). `dilations` along the
    frames, one per 5 x 5 convolution; `channels` of all convolutions but the last, which has `last_channels` (both at
    every bin). `bidirectional` is the better of the paper's two LSTMs; `lstm_dim` is per direction. The network sees
    the magnitude to the power of `compression`. Not causal in any setting.

    Raises ValueError unless `n_src` is 1, and for sizes that `Stft` does not take.
    """

    def __init__(
        self,
        n_src: int,
        embedding_dim: int = 256,
        n_fft: int = 1200,
        hop: int = 160,
        win: int = 400,
        window: str = "hann",
        channels: int = 64,
        last_channels: int = 8,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        lstm_dim: int = 400,
        fc_dim: int = 600,
        bidirectional: bool = True,
        norm: bool = True,
        compression: float = 1.0,
    ):
        super().__init__()
        if n_src != 1:
            raise ValueError(f"voicefilter extracts one talker, the one it is told; got {n_src} sources")
        if not 0 < compression <= 1:
            raise ValueError(f"model.sizes.compression is a power above 0 and up to 1; got {compression:g}")
        self.embedding_dim, self.compression = embedding_dim, compression
        self.stft = Stft(n_fft, hop, win, window)
        layers = [Layer(1, channels, (1, WIDE), 1, norm), Layer(channels, channels, (WIDE, 1), 1, norm)]
        layers += [Layer(channels, channels, (SQUARE, SQUARE), dilation, norm) for dilation in dilations]
        self.cnn = nn.Sequential(*layers, Layer(channels, last_channels, (1, 1), 1, norm))
        wide = last_channels * self.stft.bins + embedding_dim
        self.lstm = nn.LSTM(wide, lstm_dim, batch_first=True, bidirectional=bidirectional)
        self.fc1 = nn.Linear(lstm_dim * (1 + bidirectional), fc_dim)
        self.fc2 = nn.Linear(fc_dim, self.stft.bins)

    def forward(self, mixture: Tensor, enrolment: Tensor) -> Tensor:
        """mixture (N, T) with T >= 1, enrolment (N, E) -> (N, 1, T), float32 also under autocast.

        Raises ValueError for embeddings of another size.
        """
        if enrolment.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"model.sizes.embedding_dim is {self.embedding_dim}, the enrolments have {enrolment.shape[-1]} "
                f"dimensions: set it to embedding_dim of the speaker model that made them"
            )
        real, imag = self.stft.analysis(mixture)
        mask = self.mask(magnitude(real, imag), enrolment)
        return self.stft.synthesis(mask * real, mask * imag, mixture.shape[-1]).unsqueeze(1)

    def mask(self, spectrum: Tensor, enrolment: Tensor) -> Tensor:
        """Magnitudes (N, B, K), enrolment (N, E) -> gains between 0 and 1, (N, B, K) float32."""
        if self.compression != 1:
            spectrum = spectrum.pow(self.compression)
        x = self.cnn(spectrum.transpose(1, 2).unsqueeze(1))  # (N, B, K) -> (N, 1, K, B) -> (N, C, K, B)
        x = x.transpose(1, 2).flatten(2)  # (N, C, K, B) -> (N, K, C B)
        told = enrolment.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)
        x = outputs(self.lstm, torch.cat([x, told], dim=2)).relu()
        x = self.fc2(self.fc1(x).relu())
        return x.float().sigmoid().transpose(1, 2)  # (N, K, B) -> (N, B, K)


class Layer(nn.Sequential):
    """Convolution that keeps frames and bins, dilated along the frames, batch normalisation if `norm`, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], dilation: int, norm: bool):
        padding = (kernel[0] // 2 * dilation, kernel[1] // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, dilation=(dilation, 1), padding=padding)
        super().__init__(conv, nn.BatchNorm2d(outputs) if norm else nn.Identity(), nn.ReLU())
