"""The short-time Fourier transform and its inverse as convolutions with fixed kernels, so that graphs can hold them.

Real and imaginary parts are separate tensors throughout: ONNX has no complex ones. Values are those of `torch.stft`
with `onesided=True` and `normalized=False`: a frame's phase counts from the first of its n_fft samples, in whose middle
the window lies.

Shapes: N waveforms, T samples, B = n_fft // 2 + 1 bins, K frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POWER_FLOOR = 1e-10  # added to a power before its root; a sine of full scale in a window of 400 has 1e4


class Stft(nn.Module):
    """Both directions, in the precision of the kernels (float32) also under autocast. It has no parameters, no state.

    `hop` and `win` are in samples; `win` is `n_fft` unless given. `window`: "hann" or "sqrt_hann" (its root), both
    periodic. Framing: a frame's middle is at samples 0, hop, 2 hop, ... as with `torch.stft(center=True,
    pad_mode="constant")`, with one more frame behind where T is no multiple of `hop`. With `causal`, frame k ends with
    sample (k + 1) hop - 1 and begins in zeros for the first ones, so that it needs none of what comes later.

    Raises ValueError for sizes from which no waveform could be put together again, and for an unknown window.
    """

    def __init__(self, n_fft: int, hop: int, win: int | None = None, window: str = "hann", causal: bool = False):
        super().__init__()
        win = n_fft if win is None else win
        if not 1 <= hop <= win // 2 or win > n_fft:
            raise ValueError(f"stft: 1 <= hop <= win / 2 and win <= n_fft are needed; got {hop=}, {win=}, {n_fft=}")
        if window not in ("hann", "sqrt_hann"):
            raise ValueError(f"stft: the window is hann or sqrt_hann; got '{window}'")
        self.n_fft, self.hop, self.win, self.causal = n_fft, hop, win, causal
        self.bins = n_fft // 2 + 1
        self.before = win - hop if causal else n_fft // 2 - (n_fft - win) // 2  # zeros in front of the first sample
        shape = torch.hann_window(win, dtype=torch.float64)
        shape = shape.sqrt() if window == "sqrt_hann" else shape
        dual = shape / overlapped(shape.square(), hop)
        place = torch.arange(win, dtype=torch.float64) + (n_fft - win) // 2
        angle = 2 * torch.pi / n_fft * (torch.arange(self.bins).unsqueeze(1) * place % n_fft)
        waves = torch.cat([angle.cos(), -angle.sin()])  # (2 B, win)
        twice = torch.full((self.bins, 1), 2.0, dtype=torch.float64)  # a bin stands for its conjugate as well,
        twice[0] = 1.0  # but for those that are their own
        twice[-1] = 1.0 if n_fft % 2 == 0 else 2.0
        # Not in the state_dict: they follow from the sizes.
        self.register_buffer("forward_kernel", (waves * shape).unsqueeze(1).float(), persistent=False)
        inverse = waves * dual * twice.repeat(2, 1) / n_fft
        self.register_buffer("inverse_kernel", inverse.unsqueeze(1).float(), persistent=False)
        self.register_buffer("share", (shape * dual).reshape(1, 1, win).float(), persistent=False)

    def frames(self, samples: int) -> int:
        """How many frames K a waveform of T >= 1 samples has; T may be symbolic."""
        beyond = samples - 1 + (self.win - self.hop if self.causal else self.hop)
        return beyond // self.hop + 1

    def analysis(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """wave (N, T) with T >= 1 -> real and imaginary parts, each (N, B, K) with K = `frames(T)`."""
        samples = wave.shape[-1]
        behind = (self.frames(samples) - 1) * self.hop + self.win - self.before - samples
        return self.spectra(F.pad(wave, (self.before, behind)))

    def synthesis(self, real: Tensor, imag: Tensor, samples: int) -> Tensor:
        """Each (N, B, K) -> (N, T) with T = `samples`, of which `frames(T)` must be K; inverts `analysis`.

        Where a spectrum was changed, the waveform is the one whose spectrum is nearest (D. Griffin and J. Lim, "Signal
        estimation from modified short-time Fourier transform", 1984, equation 6).
        """
        wave = self.overlap_add(real, imag)
        if not self.causal:  # near the ends a frame is missing, as causal framing never has it
            wave = wave / self._coverage(real).clamp(min=1e-4)
        return wave[:, self.before : self.before + samples]

    def spectra(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """wave (N, T) -> (N, B, K) twice, of the frames that lie in it as it is: K = (T - win) // hop + 1."""
        with torch.autocast(wave.device.type, enabled=False):
            kernel = self.forward_kernel
            both = F.conv1d(wave.to(kernel.dtype).unsqueeze(1), kernel, stride=self.hop)
        return both[:, : self.bins], both[:, self.bins :]

    def overlap_add(self, real: Tensor, imag: Tensor) -> Tensor:
        """(N, B, K) twice -> (N, (K - 1) hop + win): frames added up, so that samples in all their frames are final.

        The first and last win - hop samples lack a frame: what comes before and after adds its part to them.
        """
        with torch.autocast(real.device.type, enabled=False):
            kernel = self.inverse_kernel
            both = torch.cat([real, imag], dim=1).to(kernel.dtype)
            return F.conv_transpose1d(both, kernel, stride=self.hop).squeeze(1)

    def _coverage(self, real: Tensor) -> Tensor:
        """(1, samples): the share of each sample's windows that lie in frames that exist; 1 but near the ends."""
        with torch.autocast(real.device.type, enabled=False):
            ones = torch.ones_like(real[:1, :1], dtype=self.share.dtype)
            return F.conv_transpose1d(ones, self.share, stride=self.hop).squeeze(1)


def overlapped(window: Tensor, hop: int) -> Tensor:
    """(win,) -> (win,): at each sample of a frame, the sum of all frames' windows in an endless row of frames."""
    win = len(window)
    row = torch.zeros(-(-win // hop) * hop, dtype=window.dtype)
    row[:win] = window
    return row.reshape(-1, hop).sum(dim=0).repeat(-(-win // hop))[:win]


def magnitude(real: Tensor, imag: Tensor) -> Tensor:
    """sqrt(real^2 + imag^2 + POWER_FLOOR) in float32, of the inputs' shape; its gradient at silence is 0, not NaN."""
    with torch.autocast(real.device.type, enabled=False):
        return (real.float().square() + imag.float().square() + POWER_FLOOR).sqrt()
