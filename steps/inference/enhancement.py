"""Enhancement of recordings of any length in constant memory, and of sound while it comes in.

A causal network takes a recording as it comes, by its streamer: a file is enhanced as a live talk is. Others hear
windows that overlap, and each is faded into the next. Either way output n belongs to input n, so that a share of the
input can be mixed back (`enhance.dry`). Recognisers often prefer that: what remains of the noise does them less harm
than what the network did to the speech (K. Iwamoto et al., "How bad are artifacts?", Interspeech 2022).

Shapes: t samples of a block, N windows, T samples of a window.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from steps.inference.config import EnhanceConfig
from steps.inference.cost import Stopwatch
from steps.inference.device import pick_device
from steps.inference.long_audio import BlockResampler, Sound, conversion_stats, convert, resampled
from steps.inference.separation import windows
from steps.models.separators import can_stream
from utils import config as config_file

FULL_SCALE = 32768  # of 16-bit samples
PIPE_BYTES = 1 << 16  # that are read at once, if so many wait

Blocks = Iterable[Tensor]


class Enhancement:
    """One model on one device, for files one after another, or for a pipe."""

    def __init__(self, checkpoint: Path, device: str, overrides: Sequence[str] = ()):
        from steps.tasks.enhancement import load_enhancer

        self.device = pick_device(device)
        self.model, trained = load_enhancer(checkpoint, self.device)
        self.config = config_file.override(trained, overrides)
        self.rate: int = self.config.mixtures.sampling_rate
        self.checkpoint, self.watch, self.seconds = checkpoint, Stopwatch(), 0.0
        self.turned_down: dict[str, float] = {}
        self.streamer = self.model.streamer() if can_stream(self.model) else None

    def run(self, sound: Sound, folder: Path, subtype: str = "FLOAT") -> None:
        """Writes folder/<stem>.wav: see `steps.inference.long_audio.convert`."""
        file = folder / f"{sound.path.stem}.wav"
        with self.watch.time("all"):
            turned = convert(
                sound, self.rate, lambda blocks: self.process(blocks, str(sound.path)), lambda _: file, subtype
            )
        if turned:
            self.turned_down[sound.path.name] = round(turned, 2)
        self.seconds += sound.seconds

    def process(self, blocks: Blocks, name: str = "the recording") -> Iterator[Tensor]:
        """Blocks (t,) at `rate` Hz -> enhanced blocks (1, t), as many samples in all, each as soon as it is known.

        Raises ValueError where the output is not finite.
        """
        enhance = self._streamed if self.streamer is not None else self._windowed
        place = 0
        for wave in mixed(enhance, blocks, self.config.enhance.dry):
            if not torch.isfinite(wave).all():
                span = f"{place / self.rate:.2f} to {(place + len(wave)) / self.rate:.2f} s"
                raise ValueError(f"{name}: what the model makes of {span} is not finite; look at the model")
            place += len(wave)
            yield wave.unsqueeze(0)

    def pipe(self, source: BinaryIO, sink: BinaryIO, rate: int) -> None:
        """Raw PCM (16 bits, little-endian, one channel, `rate` Hz) from `source` enhanced to `sink` while it comes.

        What is beyond full scale is clipped, since what is out cannot be turned down. Raises ValueError for a network
        that needs the whole recording, and, after all else is written, for half a sample at the end.
        """
        said = ", ".join(f"{name} {value:.1f} ms" for name, value in self.latency_ms(rate).items())
        logging.info("latency: %s; PCM of 16 bits at %d Hz is read until it ends", said, rate)
        self._warm_up()
        reader, clipped = PcmReader(source), 0
        blocks = reader.blocks()
        first = next(blocks, None)
        if first is not None:
            heard = resampled(chain([first], blocks), rate, self.rate)
            for wave in resampled(self.process(heard, "the pipe"), self.rate, rate):
                # Only what is flushed at the end can be more than came in, by resampling there and back.
                samples = wave[0, : reader.samples - reader.answered]
                reader.answered += len(samples)
                clipped += int((samples.abs() > 1).sum())
                sink.write(to_pcm(samples))
                sink.flush()
        seconds = reader.samples / rate
        logging.info("%.2f s enhanced; %d samples beyond full scale were clipped", seconds, clipped)
        if reader.rest:
            raise ValueError(
                "the pipe ended in the middle of a sample: an odd number of bytes. 16-bit little-endian PCM of one "
                "channel is expected, `sox in.wav -t raw -e signed -b 16 -c 1 -`; all whole samples were enhanced"
            )

    def latency_ms(self, rate: int) -> dict[str, float]:
        """Milliseconds by which sound of `rate` Hz comes out later than in: by name, without the time of computing.

        Raises ValueError for a network that cannot stream.
        """
        if self.streamer is None:
            raise ValueError(
                f"{self.checkpoint} is a {self.config.model.architecture} that needs the whole recording: give files "
                f"instead of --pipe, or a causal model (model.architecture=demucs)"
            )
        algorithmic, buffering = self.streamer.latency_ms(self.rate)
        found = {"algorithmic": algorithmic, "buffering": buffering}
        if rate != self.rate:
            there, back = BlockResampler(rate, self.rate), BlockResampler(self.rate, rate)
            found["resampling"] = 1000 * (there.latency / rate + back.latency / self.rate)
        return found

    def stats(self) -> dict[str, Any]:
        """JSON-able: what it cost and on which machine, how much input is in the outputs, and what PCM turned down."""
        return {
            **conversion_stats(self.model, self.device, self.watch, self.seconds),
            "dry": self.config.enhance.dry,
            "latency_ms": None if self.streamer is None else self.latency_ms(self.rate),
            "checkpoint": str(self.checkpoint),
            "turned_down": self.turned_down,
        }

    def _streamed(self, blocks: Blocks) -> Iterator[Tensor]:
        """(t,) -> (t,), by the streamer, which is as new at the start."""
        streamer = self.streamer
        assert streamer is not None
        streamer.reset()
        for block in blocks:
            yield self._timed(streamer, block.unsqueeze(0))[0]
        yield self._timed(streamer.flush)[0]

    def _windowed(self, blocks: Blocks) -> Iterator[Tensor]:
        """(t,) -> (t,), by overlapping windows."""
        return crossfaded(blocks, self.config.enhance, self.rate, lambda waves: self._timed(self.model, waves)[:, 0])

    @torch.inference_mode()
    def _timed(self, network: Callable[..., Tensor], *waves: Tensor) -> Tensor:
        with self.watch.time("network"):
            return network(*(wave.to(self.device) for wave in waves)).float().cpu()

    def _warm_up(self) -> None:
        """The first call of a network is its slowest; no sound should wait for it."""
        assert self.streamer is not None
        self._timed(self.streamer, torch.zeros(1, 2 * self.streamer.latency_samples))
        self.streamer.reset()


def mixed(enhance: Callable[[Blocks], Iterator[Tensor]], blocks: Blocks, dry: float) -> Iterator[Tensor]:
    """(1 - dry) times what `enhance` makes of blocks (t,), plus dry times the samples that it was made of."""
    waiting = torch.zeros(0)

    def heard() -> Iterator[Tensor]:
        nonlocal waiting
        for block in blocks:
            waiting = torch.cat([waiting, block])
            yield block

    for wave in enhance(heard()):
        yield (1 - dry) * wave + dry * waiting[: len(wave)]
        waiting = waiting[len(wave) :]


def crossfaded(
    blocks: Blocks, config: EnhanceConfig, rate: int, estimate: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Blocks (t,) -> blocks (t,) of as many samples in all; `estimate`: windows (N, T) -> (N, T).

    The last window begins earlier than others would, so that it is as long; nothing of it is used but what is new.
    Raises ValueError for an overlap of no sample.
    """
    size, overlap = round(config.window_seconds * rate), round(config.overlap_seconds * rate)
    if not 0 < overlap < size:
        raise ValueError(f"enhance.overlap_seconds={config.overlap_seconds:g} is no sample at {rate} Hz")
    rise = torch.sin((torch.arange(overlap) + 0.5) / overlap * torch.pi / 2).square()  # with its mirror image 1
    waiting = windows(blocks, size, overlap)
    tail, end = torch.zeros(0), 0
    while group := list(islice(waiting, config.batch)):
        waves = estimate(torch.stack([window for _, window in group]))
        for (start, _), wave in zip(group, waves, strict=True):
            fresh = 0
            if end:
                fresh = end - start - overlap
                faded = rise * wave[fresh : end - start] + rise.flip(0) * tail
                wave = torch.cat([wave[:fresh], faded, wave[end - start :]])
            end = start + len(wave)
            last = max(fresh, len(wave) - overlap)
            yield wave[fresh:last]
            tail = wave[last:]
    yield tail


class PcmReader:
    """Samples of raw 16-bit little-endian PCM as they arrive. `samples` came so far, `answered` are for its user to
    count, and `rest` is the byte of a sample whose other byte has not come."""

    def __init__(self, source: Any):
        self.source, self.samples, self.answered, self.rest = source, 0, 0, b""

    def blocks(self) -> Iterator[Tensor]:
        """Blocks (t,) of float32 within -1..1 until the end, none of them empty."""
        while data := self.source.read1(PIPE_BYTES):
            data = self.rest + data
            whole = len(data) // 2 * 2
            self.rest = data[whole:]
            if whole:
                self.samples += whole // 2
                yield torch.from_numpy(np.frombuffer(data[:whole], "<i2").astype(np.float32) / FULL_SCALE)


def to_pcm(wave: Tensor) -> bytes:
    """(t,) as 16-bit little-endian PCM, clipped at full scale."""
    scaled = (wave.double() * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1)
    return scaled.numpy().astype("<i2").tobytes()
