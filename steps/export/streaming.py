"""One step of a streaming network as a graph: a chunk and what is remembered go in, a chunk and the same come out.

A host needs no more than a loop. It feeds `prefix_samples` zeros and then the sound, `chunk_samples` at a time, hands
each output `next_<name>` back in as `<name>`, and drops the first `lag_samples` that come out. The states begin with
zeros, `frame` with the metadata's `first_frame`. `frames` is ENDLESS until the end is known; then, with T samples fed
and zeros after them, `max(0, ceil((T * resample - span) / shift)) + 1`, and output T is the last.
"""

import inspect
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from steps.export.graph import Agreement, compared, export_graph, open_graph
from steps.models.demucs import Demucs
from steps.models.streaming_demucs import ENDLESS, lag, start, step, waiting


class Step(nn.Module):
    """`steps.models.streaming_demucs.step` of chunks (1, `hops` hops), with a tensor for each state.

    The exporter names inputs by `forward`'s parameters, of which there are as many as the network has states.
    """

    def __init__(self, model: Demucs, hops: int):
        super().__init__()
        self.model, self.hops = model, hops
        self.initial = start(model, 1, hops)
        self.names = list(self.initial.tensors())
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward = lambda *inputs: self._stepped(*inputs)  # noqa: E731
        forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in self.examples()])
        self.forward = forward

    def examples(self) -> dict[str, Tensor]:
        """Inputs by name, as at the beginning of a stream."""
        chunk = torch.zeros(1, self.hops * self.model.geometry.hop)
        return {"chunk": chunk, "frames": torch.tensor([ENDLESS]), **self.initial.tensors()}

    def _stepped(self, chunk: Tensor, frames: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        state = self.initial.filled(dict(zip(self.names, states, strict=True)))
        wave, state = step(self.model, state, chunk, frames, self.hops)
        return wave, *state.tensors().values()


def export_streaming_demucs(model: Demucs, out: Path, sampling_rate: int, hops: int = 1) -> Agreement:
    """Writes the step of a causal Demucs in evaluation mode, runs it over a few seconds, and compares with `forward`.

    A chunk is `hops` hops. Raises ValueError for a network that cannot stream, and where graph and network differ.
    """
    model.streamer()  # refuses what looks at the whole file
    part = Step(model, hops).eval()
    examples = part.examples()
    outputs = ["estimate", *(f"next_{name}" for name in part.names)]
    export_graph(part, out, examples, outputs, {}, metadata(model, sampling_rate, hops))
    wave = torch.randn(1, 5 * model.geometry.span // model.geometry.resample + 11)
    with torch.no_grad():
        expected = model(wave)[:, 0].numpy()
    return compared(expected, StreamingGraph(out)(wave.numpy()), out)


def metadata(model: Demucs, sampling_rate: int, hops: int) -> dict[str, str]:
    """What a host needs to know to feed the graph, all of it text; lengths in samples."""
    geometry = model.geometry
    numbers = {
        "sample_rate": sampling_rate,
        "chunk_samples": hops * geometry.hop,
        "prefix_samples": geometry.prefix(hops),
        "lag_samples": lag(geometry, hops),
        "latency_samples": geometry.lookahead + hops * geometry.hop,
        "first_frame": -hops * waiting(geometry, hops),
        "span": geometry.span,
        "shift": geometry.shift,
        "resample": geometry.resample,
    }
    return {"model_type": "demucs_streaming", **{name: str(value) for name, value in numbers.items()}}


class StreamingGraph:
    """The loop that the head of this file describes, over one whole recording."""

    def __init__(self, file: Path):
        self.session: onnxruntime.InferenceSession = open_graph(file)
        self.properties = self.session.get_modelmeta().custom_metadata_map
        self.inputs = {one.name: one for one in self.session.get_inputs()}

    def number(self, name: str) -> int:
        """A whole number of the metadata."""
        return int(self.properties[name])

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """(1, T) float32 -> (1, T)"""
        size, late, samples = self.number("chunk_samples"), self.number("lag_samples"), wave.shape[1]
        chunks = -(-(samples + late) // size)
        prefix = self.number("prefix_samples")
        padded = np.zeros((1, chunks * size), np.float32)
        padded[:, prefix : prefix + samples] = wave
        beyond = max(0, samples * self.number("resample") - self.number("span"))
        frames = np.array([-(-beyond // self.number("shift")) + 1])
        states = {name: zeros(one) for name, one in self.inputs.items() if name not in ("chunk", "frames")}
        states["frame"][:] = self.number("first_frame")
        given = []
        for index in range(chunks):
            chunk = padded[:, index * size : (index + 1) * size]
            done = (index + 1) * size >= prefix + samples
            limit = frames if done else np.array([ENDLESS])
            estimate, *after = self.session.run(None, {"chunk": chunk, "frames": limit, **states})
            states = dict(zip(states, after, strict=True))
            given.append(estimate)
        return np.concatenate(given, axis=1)[:, late : late + samples]


def zeros(value: onnxruntime.NodeArg) -> np.ndarray:
    """Zeros of the shape and kind that an input has."""
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    return np.zeros(value.shape, kinds[value.type])
