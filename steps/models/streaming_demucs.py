"""Demucs while the sound comes in: the same samples as from the whole file, some milliseconds later.

Every layer keeps what it still needs of the past: resampling and convolutions the end of their input, transposed
convolutions what the next frame adds to, skips what waits for the way back, the LSTM its state. Nothing else is
approximated, so streaming differs from `Demucs.forward` by the rounding of sums alone. Steps before the first frame
and after the last, of which a whole file knows nothing, count as zeros.

Shapes: N batch, t samples that come in, C channels, H cells, G levels.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.models.demucs import Demucs, Geometry

ENDLESS = 2**40  # frames of a file whose end has not come
FRAMES_ONE_BY_ONE = 8  # that the LSTM takes singly
FRAMES_AT_ONCE = 64  # of a long chunk; more gain nothing and take memory


@dataclass(frozen=True)
class DemucsState:
    """All that streaming remembers. Levels go from 1, the first convolution's output, to the network's depth."""

    frame: Tensor  # (1,) int64, the frame that comes next; below 0 at first, while it waits for samples
    wave: Tensor  # (N, 2 margin), the end of the input
    encoder: tuple[Tensor, ...]  # each (N, C, kernel - stride), the end of a convolution's input
    skips: tuple[Tensor, ...]  # of each level but the last (N, C, overlap), what the decoder has not come to
    hidden: Tensor  # (2, N, H)
    cell: Tensor  # (2, N, H)
    decoder: tuple[Tensor, ...]  # each (N, C, kernel - stride), what the next frame adds to
    fine: Tensor  # (N, 2 margin resample), the end of the output before it goes down
    power: tuple[Tensor, ...]  # normalize=causal: (N,) float64, the sum of squares so far
    levels: tuple[Tensor, ...]  # normalize=causal: (N, G), of the last hops

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, in the order of the fields; those without elements left out."""
        named = {}
        for field, value in vars(self).items():
            parts = {field: value} if isinstance(value, Tensor) else {f"{field}{i}": x for i, x in enumerate(value)}
            named.update({name: part for name, part in parts.items() if part.numel()})
        return named

    def filled(self, tensors: dict[str, Tensor]) -> "DemucsState":
        """A state like this one, with the values of `tensors` by the names that `tensors()` gives."""
        new = {}
        for field, value in vars(self).items():
            if isinstance(value, Tensor):
                new[field] = tensors.get(field, value)
            else:
                new[field] = tuple(tensors.get(f"{field}{i}", x) for i, x in enumerate(value))
        return DemucsState(**new)


def start(model: Demucs, batch: int, hops: int = 1) -> DemucsState:
    """The state before the first sample, for steps of `hops` hops each."""
    geometry = model.geometry
    weight = model.encoder[0][0].weight
    overlap = geometry.kernel - geometry.stride
    zeros = weight.new_zeros
    widths = [layer[0].in_channels for layer in model.encoder]
    cells = model.lstm.lstm.hidden_size
    causal = model.normalize == "causal"
    return DemucsState(
        frame=torch.full((1,), -hops * waiting(geometry, hops), device=weight.device),
        wave=zeros(batch, 2 * geometry.margin),
        encoder=tuple(zeros(batch, width, overlap) for width in widths),
        skips=tuple(zeros(batch, width, geometry.overlap(level)) for level, width in enumerate(widths) if level),
        hidden=zeros(2, batch, cells),
        cell=zeros(2, batch, cells),
        decoder=tuple(zeros(batch, width, overlap) for width in reversed(widths)),
        fine=zeros(batch, 2 * geometry.margin * geometry.resample),
        power=(zeros(batch, dtype=torch.float64),) if causal else (),
        levels=(zeros(batch, -(-geometry.lookahead // geometry.hop)),) if causal else (),
    )


def waiting(geometry: Geometry, hops: int) -> int:
    """Steps of `hops` hops before the one that computes the first frame."""
    return (geometry.prefix(hops) + geometry.lookahead - geometry.margin) // (hops * geometry.hop)


def lag(geometry: Geometry, hops: int = 1) -> int:
    """Samples that come out of steps before the first of the output; `Geometry.prefix` zeros go in before the input."""
    return geometry.prefix(hops) + geometry.lookahead


def step(model: Demucs, state: DemucsState, chunk: Tensor, frames: Tensor, hops: int = 1) -> tuple[Tensor, DemucsState]:
    """chunk (N, t) of whole hops -> output (N, t), late by `lag`, and the state after it.

    `hops` is what the stream began with; once the first frame is past, t may be any number of hops. `frames` (1,)
    int64 are those of the whole file, ENDLESS before its end is known.
    """
    geometry = model.geometry
    count = chunk.shape[1] // geometry.hop
    begun = (state.frame >= 0).to(chunk.dtype)
    chunk, level, state = _normalised(model, state, chunk, hops)
    wave = torch.cat([state.wave, chunk], dim=1)
    x = model.resampler.up(wave).unsqueeze(1)
    state = replace(state, wave=wave[:, wave.shape[1] - 2 * geometry.margin :])
    x, skips, state = _encode(model, state, x)
    x, hidden, cell = _remember(model.lstm.lstm, x, state.hidden, state.cell)
    state = replace(state, hidden=hidden * begun, cell=cell * begun)
    x, state = _decode(model, state, x, skips, begun, frames - state.frame)
    fine = torch.cat([state.fine, x.squeeze(1)], dim=1)
    wave = model.resampler.down(fine)
    state = replace(
        state, fine=fine[:, fine.shape[1] - 2 * geometry.margin * geometry.resample :], frame=state.frame + count
    )
    return (wave if level is None else wave * level), state


def _remember(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, H, K) -> (N, H, K) and the state (2, N, H) after it. nn.LSTM takes milliseconds to begin."""
    if x.shape[2] > FRAMES_ONE_BY_ONE:
        x, (hidden, cell) = lstm(x.transpose(1, 2), (hidden, cell))  # (N, H, K) -> (N, K, H)
        return x.transpose(1, 2), hidden, cell
    columns = x.unbind(dim=2)
    ends = []
    for layer, weights in enumerate(lstm.all_weights):
        state, outputs = (hidden[layer], cell[layer]), []
        for column in columns:
            state = torch.lstm_cell(column, state, *weights)
            outputs.append(state[0])
        columns = outputs
        ends.append(state)
    return torch.stack(columns, dim=2), *(torch.stack(parts) for parts in zip(*ends, strict=True))


def _normalised(
    model: Demucs, state: DemucsState, chunk: Tensor, hops: int
) -> tuple[Tensor, Tensor | None, DemucsState]:
    """The chunk (N, t) divided by its level, and the level (N, t) of what comes out by now. See `Demucs.level`."""
    if model.normalize != "causal":
        return chunk, None, state
    geometry = model.geometry
    hop = geometry.hop
    rows = chunk.reshape(len(chunk), -1, hop)
    total = state.power[0].unsqueeze(1) + rows.double().square().sum(dim=2).cumsum(dim=1)
    before = state.frame + hops * waiting(geometry, hops)  # hops that have come in
    count = hop * (before + torch.arange(1, rows.shape[1] + 1, device=chunk.device)) - geometry.prefix(hops)
    level = (total / count.clamp(min=1)).sqrt().to(chunk.dtype)
    levels = torch.cat([state.levels[0], level], dim=1)
    kept = state.levels[0].shape[1]
    past = levels.unsqueeze(2).expand(-1, -1, hop).flatten(1)
    first = kept * hop - geometry.lookahead
    state = replace(state, power=(total[:, -1],), levels=(levels[:, levels.shape[1] - kept :],))
    divided = rows / (model.floor + level.unsqueeze(2))
    return divided.flatten(1), past[:, first : first + chunk.shape[1]], state


def _encode(model: Demucs, state: DemucsState, x: Tensor) -> tuple[Tensor, list[Tensor], DemucsState]:
    """Upsampled x (N, 1, U) -> frames (N, H, K), and what the skips hand over (N, C, .) to each level's decoder."""
    overlap = model.geometry.kernel - model.geometry.stride
    ends, skips, waits = [], [], []
    for level, layer in enumerate(model.encoder):
        x = torch.cat([state.encoder[level], x], dim=2)
        ends.append(x[:, :, x.shape[2] - overlap :])
        x = layer(x)
        if level < len(state.skips):
            waiting_now = torch.cat([state.skips[level], x], dim=2)
            skips.append(waiting_now[:, :, : x.shape[2]])
            waits.append(waiting_now[:, :, x.shape[2] :])
    return x, [*skips, x], replace(state, encoder=tuple(ends), skips=tuple(waits))


def _decode(
    model: Demucs, state: DemucsState, x: Tensor, skips: list[Tensor], begun: Tensor, left: Tensor
) -> tuple[Tensor, DemucsState]:
    """Frames (N, H, K), of which `left` (1,) belong to the file -> upsampled output (N, 1, U).

    `begun` (1,) is 0 for frames before the file, and 1.
    """
    geometry = model.geometry
    overlaps = []
    for number, layer in enumerate(model.decoder):
        level = geometry.depth - number
        mix, gate, up = layer[:3]
        x = gate(mix(x + skips.pop())) * _inside(geometry, level, x, begun, left)
        x = F.conv_transpose1d(x, up.weight, stride=geometry.stride)
        done = x.shape[2] - state.decoder[number].shape[2]
        head = x[:, :, : state.decoder[number].shape[2]] + state.decoder[number]
        x = torch.cat([head, x[:, :, head.shape[2] :]], dim=2)
        overlaps.append(x[:, :, done:])
        x = layer[3:](x[:, :, :done] + up.bias.unsqueeze(1))
    return x * _inside(geometry, 0, x, begun, left), replace(state, decoder=tuple(overlaps))


def _inside(geometry: Geometry, level: int, x: Tensor, begun: Tensor, left: Tensor) -> Tensor:
    """1 for the steps of x (N, C, .) at `level` that frames of the file reach, 0 for others."""
    reached = geometry.stride ** (geometry.depth - level) * left + geometry.overlap(level)
    return (torch.arange(x.shape[2], device=x.device) < reached).to(x.dtype) * begun


class DemucsStreamer:
    """Takes chunks (N, t) of any length, gives back what is ready (N, t'), and the rest at `flush`.

    All chunks together and `flush` give as many samples as came in, those of `Demucs.forward`. `state` is all that
    it remembers beside what does not fill a hop yet. Raises ValueError for a network that cannot stream.
    """

    def __init__(self, model: Demucs):
        if not model.causal:
            raise ValueError(
                "this demucs cannot stream: it looks at the whole file (causal=false or normalize=true); "
                "model.sizes.normalize=causal is normalisation that streams"
            )
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for the next file."""
        self.state: DemucsState | None = None
        self._pending: Tensor | None = None
        self._received = self._taken = self._given = 0

    @property
    def lookahead_samples(self) -> int:
        """Algorithmic latency in samples: how far beyond its own place an output looks."""
        return self.model.geometry.lookahead

    @property
    def buffer_samples(self) -> int:
        """Buffering latency in samples: a hop, which is waited for."""
        return self.model.geometry.hop

    @property
    def latency_samples(self) -> int:
        """Output n is there when n + `latency_samples` samples are in, and mostly sooner."""
        return self.lookahead_samples + self.buffer_samples

    def latency_ms(self, sampling_rate: int) -> tuple[float, float]:
        """Algorithmic and buffering latency in milliseconds, of sound of `sampling_rate` Hz."""
        return 1000 * self.lookahead_samples / sampling_rate, 1000 * self.buffer_samples / sampling_rate

    def __call__(self, chunk: Tensor) -> Tensor:
        """(N, t) -> (N, t'), both from 0 samples on. Raises ValueError for another N than before."""
        if chunk.dim() != 2 or (self._pending is not None and len(chunk) != len(self._pending)):
            had = "" if self._pending is None else f" of N={len(self._pending)} as before"
            raise ValueError(f"a chunk is (N, t){had}; got {tuple(chunk.shape)}")
        chunk = chunk.float()
        if self._pending is None:
            self.state = start(self.model, len(chunk))
            self._pending = chunk.new_zeros(len(chunk), self.model.geometry.prefix())
        self._received += chunk.shape[1]
        self._pending = torch.cat([self._pending, chunk], dim=1)
        return self._advance(ENDLESS)

    def flush(self) -> Tensor:
        """What is still to come (N, t''), (1, 0) if nothing came in; then as `reset`."""
        if self._pending is None or not self._received:
            rows = 1 if self._pending is None else len(self._pending)
            self.reset()
            return torch.zeros(rows, 0)
        geometry = self.model.geometry
        end = lag(geometry) + self._received
        missing = -(-end // geometry.hop) * geometry.hop - self._taken - self._pending.shape[1]
        self._pending = F.pad(self._pending, (0, missing))
        rest = self._received - self._given
        wave = self._advance(geometry.frames(self._received))[:, :rest]
        self.reset()
        return wave

    @torch.no_grad()
    def _advance(self, frames: int) -> Tensor:
        """Every whole hop that waits goes through; what comes out before the first sample is dropped."""
        geometry = self.model.geometry
        hop, first = geometry.hop, geometry.hop * waiting(geometry, 1)
        limit = torch.full((1,), frames, device=self._pending.device)
        given = [self._pending[:, :0]]
        while self._pending.shape[1] >= hop:
            most = FRAMES_AT_ONCE if self._taken >= first else 1
            size = min(self._pending.shape[1] // hop, most) * hop
            wave, self.state = step(self.model, self.state, self._pending[:, :size], limit)
            given.append(wave[:, max(0, lag(geometry) - self._taken) :])
            self._pending, self._taken = self._pending[:, size:], self._taken + size
        wave = torch.cat(given, dim=1)
        self._given += wave.shape[1]
        return wave
