"""A causal enhancer on spectra as a graph that sherpa-onnx streams, as it is, in its place for GTCRN.

sherpa-onnx computes the spectra itself and calls the graph for each frame: inputs `mix` (1, B, 1, 2) and three states,
outputs `enh` and the three states after it, whatever the network. Metadata say how to frame and what shapes the states
have. sherpa-onnx believes them: a window that is not as long as the transform ends the process, another hop ends in
noise, and neither with a message. `check` refuses them before.
"""

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from steps.export.graph import Agreement, compared, export_graph, open_graph
from steps.models.fingerprint import weights_hash
from steps.models.stft import Stft
from steps.models.streaming_stft import CausalStftNetwork

STATES = ("conv_cache", "tra_cache", "inter_cache")
NUMBERS = ("sample_rate", "n_fft", "hop_length", "window_length", "version")
NEEDED = ("model_type", "window_type", *NUMBERS, *(f"{name}_shape" for name in STATES))
QUANTISED = ("MatMul", "Gemm")  # onnxruntime has no GRU in 8 bits, and convolutions so short are slower in it
LEAST_SNR = 20.0  # dB of 8 bits against float32


class SherpaStep(nn.Module):
    """A network's step of one frame, with three states whatever it has: those that are missing are one 0 each."""

    def __init__(self, model: CausalStftNetwork):
        super().__init__()
        self.model = model
        self.initial = model.start(1)
        self.missing = len(STATES) - len(self.initial)

    def examples(self) -> dict[str, Tensor]:
        """Inputs by name, as at the beginning of a stream."""
        states = [*self.initial, *[torch.zeros(1)] * self.missing]
        return {"mix": torch.zeros(1, self.model.stft.bins, 1, 2), **dict(zip(STATES, states, strict=True))}

    def forward(
        self, mix: Tensor, conv_cache: Tensor, tra_cache: Tensor, inter_cache: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(1, B, 1, 2) and the states -> the same after the frame."""
        states = (conv_cache, tra_cache, inter_cache)
        enhanced, *after = self.model.step(mix, *states[: len(self.initial)])
        return enhanced, *after, *(0 * state for state in states[len(self.initial) :])


def export_sherpa(model: CausalStftNetwork, out: Path, sampling_rate: int, architecture: str = "") -> Agreement:
    """Writes the step of a network in evaluation mode, runs it over noise, and compares with `forward`.

    Raises ValueError for sizes that sherpa-onnx would crash on, and where graph and network differ.
    """
    step = SherpaStep(folded(model)).eval()
    assert step.missing >= 0, "a network has three states at most"
    examples, properties = step.examples(), metadata(model, sampling_rate, architecture)
    check(properties, {name: tuple(value.shape) for name, value in examples.items()}, "this network")
    export_graph(step, out, examples, ["enh", *(f"{name}_out" for name in STATES)], {}, properties)
    validate(out)
    wave = _noise(20 * model.stft.hop + 11)
    with torch.no_grad():
        expected = model(torch.from_numpy(wave))[:, 0].numpy()
    return compared(expected, SherpaGraph(out)(wave), out)


def export_sherpa_int8(graph: Path, out: Path) -> float:
    """Writes the graph with matrices of 8 bits, and returns its SNR in dB against `graph`, on noise.

    Raises ValueError for a graph without matrices worth it, and below LEAST_SNR; nothing is to be kept then.
    """
    root, level = logging.getLogger(), logging.getLogger().level
    try:
        root.setLevel(logging.ERROR)
        quantize_dynamic(graph, out, op_types_to_quantize=QUANTISED, weight_type=QuantType.QUInt8, per_channel=True)
    finally:
        root.setLevel(level)
    if out.stat().st_size >= graph.stat().st_size:
        raise ValueError(f"{graph} has no matrices that 8 bits would make smaller: deploy it as it is")
    validate(out)
    wave = _noise(16000)
    found = snr(SherpaGraph(graph)(wave), SherpaGraph(out)(wave))
    if not found >= LEAST_SNR:
        raise ValueError(
            f"{graph} in 8 bits is {found:.1f} dB from float32, expected {LEAST_SNR:g} or more: deploy {graph}"
        )
    return found


def metadata(model: CausalStftNetwork, sampling_rate: int, architecture: str) -> dict[str, str]:
    """What sherpa-onnx reads, and what we say of the network; all of it text, lengths in samples."""
    stft, shapes = model.stft, SherpaStep(model).examples()
    return {
        "model_type": "gtcrn",
        "version": "1",
        "sample_rate": str(sampling_rate),
        "n_fft": str(stft.n_fft),
        "hop_length": str(stft.hop),
        "window_length": str(stft.win),
        "window_type": "hann_sqrt",
        **{f"{name}_shape": ",".join(str(size) for size in shapes[name].shape) for name in STATES},
        "architecture": architecture or type(model).__name__.lower(),
        "model_hash": weights_hash(model.state_dict()),
    }


def check(properties: Mapping[str, str], inputs: Mapping[str, tuple[int, ...]], name: str) -> None:
    """Raises ValueError, which begins with `name`, for what sherpa-onnx crashes on or makes noise of.

    `inputs` are the graph's shapes by name, in its order.
    """
    wanting = [key for key in NEEDED if key not in properties]
    if wanting:
        raise ValueError(f"{name} lacks the metadata {', '.join(wanting)}, without which sherpa-onnx ends")
    if properties["model_type"] != "gtcrn" or properties["window_type"] != "hann_sqrt":
        raise ValueError(
            f"{name}: model_type is gtcrn and window_type hann_sqrt for sherpa-onnx; got "
            f"{properties['model_type']} and {properties['window_type']}"
        )
    wrong = [key for key in NUMBERS if not properties[key].isdecimal() or int(properties[key]) < 1]
    if wrong:
        raise ValueError(f"{name}: {wrong[0]} is a whole number above 0; got '{properties[wrong[0]]}'")
    size, hop, window = (int(properties[key]) for key in ("n_fft", "hop_length", "window_length"))
    if window != size or size % 2 or 2 * hop != size:
        raise ValueError(
            f"{name}: sherpa-onnx streams a window as long as the transform and a hop of half of it (512, 512, 256): "
            f"another window is a crash, another hop noise; got window_length={window}, n_fft={size}, hop_length={hop}"
        )
    shapes = list(inputs.values())
    if len(shapes) != 1 + len(STATES) or shapes[0] != (1, size // 2 + 1, 1, 2):
        raise ValueError(
            f"{name}: inputs are a frame of shape (1, {size // 2 + 1}, 1, 2) and three states; got {dict(inputs)}"
        )
    for key, shape in zip(STATES, shapes[1:], strict=True):
        if properties[f"{key}_shape"] != ",".join(str(length) for length in shape):
            raise ValueError(f"{name}: {key}_shape is {properties[f'{key}_shape']}, the graph's input is {shape}")


def validate(file: Path) -> None:
    """Raises ValueError for a graph that sherpa-onnx would crash on, make noise of or not stream."""
    session = open_graph(file)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    check(session.get_modelmeta().custom_metadata_map, {one.name: tuple(one.shape) for one in inputs}, str(file))
    if [one.shape for one in inputs] != [one.shape for one in outputs]:
        raise ValueError(f"{file}: outputs are the enhanced frame and the states, of the inputs' shapes and order")
    if {one.type for one in (*inputs, *outputs)} != {"tensor(float)"}:
        raise ValueError(f"{file}: every input and output is float32")


class SherpaGraph:
    """What sherpa-onnx does with a graph, here over one recording; its first frame begins in zeros."""

    def __init__(self, file: Path):
        validate(file)
        self.session: onnxruntime.InferenceSession = open_graph(file)
        properties = self.session.get_modelmeta().custom_metadata_map
        self.stft = Stft(int(properties["n_fft"]), int(properties["hop_length"]), window="sqrt_hann", causal=True)
        self.inputs = [(one.name, one.shape) for one in self.session.get_inputs()]

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """(1, T) float32 -> (1, T)"""
        spectra = torch.stack(self.stft.analysis(torch.from_numpy(wave)), dim=3)
        states = {name: np.zeros(shape, np.float32) for name, shape in self.inputs[1:]}
        frames = []
        for frame in spectra.split(1, dim=2):
            enhanced, *after = self.session.run(None, {self.inputs[0][0]: frame.numpy(), **states})
            states = dict(zip(states, after, strict=True))
            frames.append(torch.from_numpy(enhanced))
        spectra = torch.cat(frames, dim=2)
        return self.stft.synthesis(spectra[..., 0], spectra[..., 1], wave.shape[1]).numpy()


def folded(model: CausalStftNetwork) -> CausalStftNetwork:
    """A copy, in evaluation mode, whose convolutions and linear layers have taken in the norms right behind them."""
    model = deepcopy(model).eval()
    for row in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index in range(1, len(row)):
            before, norm = row[index - 1], row[index]
            if isinstance(norm, nn.BatchNorm1d) and isinstance(before, nn.Conv1d | nn.Linear):
                fuse = fuse_conv_bn_eval if isinstance(before, nn.Conv1d) else fuse_linear_bn_eval
                row[index - 1], row[index] = fuse(before, norm), nn.Identity()
    return model


def snr(reference: np.ndarray, found: np.ndarray) -> float:
    """dB: the power of `reference` to that of the difference."""
    reference, found = reference.astype(np.float64), found.astype(np.float64)
    return float(10 * np.log10(np.square(reference).sum() / max(np.square(found - reference).sum(), 1e-30)))


def _noise(samples: int) -> np.ndarray:
    """(1, samples) float32 of speech's level, that comes and goes."""
    swell = 0.1 * (1.1 + np.sin(np.arange(samples) / 700))
    return (swell * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)[None]
