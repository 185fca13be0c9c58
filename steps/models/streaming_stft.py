"""Causal networks on spectra: one code path for whole files and for sound that comes in.

A network says what its states are before the first frame (`start`) and what frames become, given the states (`step`).
A whole file is one step of all its frames; a stream is as many steps as there are chunks. What a frame needs of the
past lies in the states and nowhere else, so that both differ by the rounding of sums alone.

Shapes: N batch, T samples, t samples that come in, B bins, K frames; L steps, C channels and H cells of a GRU.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from steps.models.recurrent import GATES
from steps.models.stft import Stft

FRAMES_AT_ONCE = 64  # of a long chunk; more gain nothing and take memory
States = tuple[Tensor, ...]


class CausalStftNetwork(nn.Module):
    """(N, T) -> (N, 1, T) through the spectra of an `Stft` with causal framing. Subclasses define the two below."""

    start: Callable[[int], States]  # of N streams: their states before the first frame, three at most
    # (spectra (N, B, K, 2), their real and imaginary parts last, *states) -> (spectra, *states), float32, any K >= 1
    step: Callable[..., tuple[Tensor, ...]]

    def __init__(self, n_src: int, n_fft: int, hop: int):
        super().__init__()
        if n_src != 1:
            raise ValueError(f"{type(self).__name__} enhances one talker: n_src is 1; got {n_src}")
        self.stft = Stft(n_fft, hop, window="sqrt_hann", causal=True)

    @property
    def causal(self) -> bool:
        """Whether `streamer` gives what `forward` does: always."""
        return True

    def streamer(self) -> "StftStreamer":
        """The same network for sound in chunks."""
        return StftStreamer(self)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, T) -> (N, 1, T), float32, T from 1 on."""
        spectra = torch.stack(self.stft.analysis(mixture), dim=3)
        spectra = self.step(spectra, *self.start(mixture.shape[0]))[0]
        return self.stft.synthesis(spectra[..., 0], spectra[..., 1], mixture.shape[1]).unsqueeze(1)


@dataclass(frozen=True)
class StreamState:
    """All that a stream remembers beside what does not fill a hop yet; sizes by the `Stft`."""

    wave: Tensor  # (N, win - hop), the end of the input
    tail: Tensor  # (N, win - hop), what the next frames add to
    network: States


class StftStreamer:
    """Takes chunks (N, t) of any length, gives back what is ready (N, t'), and the rest at `flush`.

    All chunks together and `flush` give as many samples as came in, those of `forward`.
    """

    def __init__(self, model: CausalStftNetwork):
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for the next file."""
        self.state: StreamState | None = None
        self._pending: Tensor | None = None
        self._received = self._given = 0
        self._early = self.model.stft.before  # samples before the first, with which the first frames begin

    @property
    def lookahead_samples(self) -> int:
        """Algorithmic latency in samples: how far beyond its own hop an output looks."""
        return self.model.stft.win - self.model.stft.hop

    @property
    def buffer_samples(self) -> int:
        """Buffering latency in samples: a hop, which is waited for."""
        return self.model.stft.hop

    @property
    def latency_samples(self) -> int:
        """Output n is there when n + `latency_samples` samples are in, and mostly sooner: a window."""
        return self.model.stft.win

    def latency_ms(self, sampling_rate: int) -> tuple[float, float]:
        """Algorithmic and buffering latency in milliseconds, of sound of `sampling_rate` Hz."""
        return tuple(1000 * samples / sampling_rate for samples in (self.lookahead_samples, self.buffer_samples))

    def __call__(self, chunk: Tensor) -> Tensor:
        """(N, t) -> (N, t'), both from 0 samples on. Raises ValueError for another N than before."""
        if self._pending is None:
            self._begin(chunk)
        if chunk.dim() != 2 or len(chunk) != len(self._pending):
            raise ValueError(f"a chunk is (N, t), here with N={len(self._pending)}; got {tuple(chunk.shape)}")
        self._received += chunk.shape[1]
        self._pending = torch.cat([self._pending, chunk.float()], dim=1)
        return self._advance()

    def flush(self) -> Tensor:
        """What is still to come (N, t''), (1, 0) if nothing ever came in; then as `reset`."""
        if self._pending is None:
            return torch.zeros(1, 0)
        missing = self._received - self._given
        hop, known = self.model.stft.hop, self._pending.shape[1]
        wanted = -(-(missing + self._early) // hop) * hop if missing else 0
        self._pending = torch.cat([self._pending, self._pending.new_zeros(len(self._pending), wanted - known)], dim=1)
        rest = self._advance()[:, :missing]
        self.reset()
        return rest

    def _begin(self, chunk: Tensor) -> None:
        """Zeros where the past would be. Raises ValueError for what is no chunk."""
        if chunk.dim() != 2:
            raise ValueError(f"a chunk is (N, t); got {tuple(chunk.shape)}")
        stft = self.model.stft
        zeros = chunk.new_zeros(len(chunk), stft.win - stft.hop, dtype=torch.float32)
        self.state = StreamState(zeros, zeros, self.model.start(len(chunk)))
        self._pending = zeros[:, :0]

    @torch.no_grad()
    def _advance(self) -> Tensor:
        """Every whole hop that waits goes through; what comes out before the first sample is dropped."""
        hop = self.model.stft.hop
        whole = self._pending.shape[1] // hop * hop
        parts = [self._pending[:, :0]]
        for part in self._pending[:, :whole].split(FRAMES_AT_ONCE * hop, dim=1) if whole else ():
            wave, self.state = advance(self.model, self.state, part)
            parts.append(wave)
        self._pending = self._pending[:, whole:]
        given = torch.cat(parts, dim=1)
        dropped = min(self._early, given.shape[1])
        self._early -= dropped
        self._given += given.shape[1] - dropped
        return given[:, dropped:]


def advance(model: CausalStftNetwork, state: StreamState, chunk: Tensor) -> tuple[Tensor, StreamState]:
    """chunk (N, t) of one or more whole hops -> output (N, t), late by `stft.before`, and the state after it."""
    context = torch.cat([state.wave, chunk], dim=1)
    spectra = torch.stack(model.stft.spectra(context), dim=3)
    spectra, *states = model.step(spectra, *state.network)
    wave = model.stft.overlap_add(spectra[..., 0], spectra[..., 1])
    overlap, count = state.tail.shape[1], chunk.shape[1]
    wave = torch.cat([wave[:, :overlap] + state.tail, wave[:, overlap:]], dim=1)
    return wave[:, :count], StreamState(context[:, count:], wave[:, count:], tuple(states))


def carried(gru: nn.GRU, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """x (L, N, C), state (1, N, H) -> (L, N, H), and the state after it; a GRU of one layer and direction, in float32.

    One operator in ONNX, where `steps.models.recurrent.outputs` has no state.
    """
    weights = gru.all_weights[0]
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        if torch.onnx.is_in_onnx_export() and not torch.jit.is_tracing():
            y = _exported(gru.hidden_size, weights, x, state)
        elif len(x) == 1:  # nn.GRU takes long to begin
            y = torch.gru_cell(x[0], state[0], *weights).unsqueeze(0)
        else:
            y = gru(x, state.contiguous())[0]
    return y, y if len(x) == 1 else y[-1:]


def _exported(cells: int, weights: list[Tensor], x: Tensor, state: Tensor) -> Tensor:
    """`carried` as ONNX's GRU, whose gates come in another order, and whose output has an axis of directions."""
    inputs, recurrent, first, second = (
        torch.cat([weight.chunk(3)[gate] for gate in GATES["GRU"]]).unsqueeze(0) for weight in weights
    )
    operands = x, inputs, recurrent, torch.cat([first, second], dim=1), None, state
    attributes = {"hidden_size": cells, "linear_before_reset": 1}
    y = torch.onnx.ops.symbolic("GRU", operands, attributes, dtype=x.dtype, shape=(x.shape[0], 1, x.shape[1], cells))
    return y.squeeze(1)


def product(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Complex products of two tensors of one shape, which along `axis` has 2, the real and the imaginary part."""
    (real, imag), (gain, turn) = first.chunk(2, dim=axis), second.chunk(2, dim=axis)
    return torch.cat([real * gain - imag * turn, real * turn + imag * gain], dim=axis)
