"""The d-vector: windows as the paper cuts them, padding without influence, the same numbers from an exported graph."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from steps.models.dvector import DVector

LENGTHS = [1, 37, 79, 80, 159, 160, 161, 240, 241, 333, 457]


@pytest.fixture(scope="module", params=["last", "mean"])
def small(request) -> DVector:
    torch.manual_seed(0)
    return DVector(8, 5, channels=12, last_frame=request.param == "last").eval()


def of_window(model: DVector, x: torch.Tensor) -> torch.Tensor:
    """x (N, T, F) -> (N, E), not scaled."""
    outputs = torch.nn.LSTM.forward(model.lstm, x)[0]
    return outputs[:, -1] if model.last_frame else outputs.mean(dim=1)


def windows_of(frames: int) -> list[tuple[int, int]]:
    """160 frames every 80 until the end is reached; the last window is moved back to end there."""
    if frames <= 160:
        return [(0, frames)]
    cut = [(0, 160)]
    while cut[-1][1] < frames:
        end = min(cut[-1][1] + 80, frames)
        cut.append((end - 160, end))
    return cut


@torch.no_grad()
@pytest.mark.parametrize("frames", LENGTHS)
def test_an_utterance_is_the_mean_of_its_windows(small, frames):
    x = torch.randn(1, frames, 8)
    each = [of_window(small, x[:, start:end]) for start, end in windows_of(frames)]
    average = torch.stack([vector / vector.norm() for vector in each]).mean(0)
    torch.testing.assert_close(small(x), average / average.norm(), atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_padding_does_not_count(small, training):
    model = DVector(8, 5, channels=12, last_frame=small.last_frame).train(training)
    alone = [torch.randn(frames, 8) for frames in LENGTHS]
    batch = pad_sequence(alone, batch_first=True, padding_value=float("nan"))
    together = model(batch, torch.tensor(LENGTHS))
    expected = torch.cat([model(x.unsqueeze(0)) for x in alone])
    torch.testing.assert_close(together, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(LENGTHS)))


@torch.no_grad()
def test_a_chunk_of_training_goes_through_once(small):
    x = torch.randn(2, 200, 8)
    model = DVector(8, 5, channels=12, last_frame=small.last_frame).train()
    model.load_state_dict(small.state_dict())
    torch.testing.assert_close(model(x), functional.normalize(of_window(small, x), dim=1))


def test_parameters():
    """A layer: 4 gates from input, recurrence and two biases (torch has two), and the projection."""
    expected = sum(4 * 768 * (inputs + 256 + 2) + 256 * 768 for inputs in (80, 256, 256))
    model = DVector(80, 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model.embedding_dim == 256


def test_a_projection_that_is_not_narrower_is_refused():
    with pytest.raises(ValueError, match=r"model\.embedding_dim \(256\).* model\.channels \(64"):
        DVector(80, 256, channels=64)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["traced", "dynamo"])
def test_an_exported_graph_gives_the_same_at_any_length(small, tmp_path, dynamo):
    onnxruntime = pytest.importorskip("onnxruntime")
    axes = {0: "N", 1: "T"}
    shapes = {"dynamic_shapes": (axes,)} if dynamo else {"dynamic_axes": {"features": axes}}
    path = str(tmp_path / "dvector.onnx")
    torch.onnx.export(small, (torch.randn(2, 250, 8),), path, input_names=["features"], dynamo=dynamo, **shapes)
    session = onnxruntime.InferenceSession(path)
    for frames in LENGTHS:
        x = torch.randn(3, frames, 8)
        np.testing.assert_allclose(session.run(None, {"features": x.numpy()})[0], small(x), atol=1e-5)
