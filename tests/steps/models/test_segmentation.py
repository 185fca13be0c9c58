"""Chunks: torch's fold and unfold, which do not export, say what they must be."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steps.export.graph import agreement, export_graph
from steps.models.segmentation import Segmentation

SIZES = [(100, 50), (6, 3), (7, 3), (6, 6), (5, 2), (8, 3), (6, 1), (1, 1)]  # chunk, hop


def unfolded(frames: Tensor, chunk: int, hop: int) -> Tensor:
    """(N, C, K) -> (N, C, P, R)"""
    columns = F.unfold(frames.unsqueeze(-1), (chunk, 1), padding=(chunk, 0), stride=(hop, 1))
    return columns.unflatten(1, (frames.shape[1], chunk))


def folded(chunks: Tensor, frames: int, hop: int) -> Tensor:
    """(N, C, P, R) -> (N, C, K)"""
    chunk = chunks.shape[2]
    return F.fold(chunks.flatten(1, 2), (frames, 1), (chunk, 1), padding=(chunk, 0), stride=(hop, 1)).squeeze(-1)


@pytest.mark.parametrize(("chunk", "hop"), SIZES)
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 49, 101])
def test_chunks_are_those_of_unfold_and_their_sum_that_of_fold(chunk, hop, frames):
    torch.manual_seed(0)
    segmentation = Segmentation(chunk, hop)
    chunks = segmentation.cut(x := torch.randn(2, 3, frames))
    assert torch.equal(chunks, unfolded(x, chunk, hop))
    assert chunks.shape == (2, 3, chunk, segmentation.chunks(frames))
    other = torch.randn_like(chunks)
    torch.testing.assert_close(segmentation.overlap_add(other, frames), folded(other, frames, hop))


@pytest.mark.parametrize("frames", [1, 3, 4, 31])
def test_each_frame_is_in_as_many_chunks(frames):
    x = torch.randn(1, 2, frames)
    for chunk, hop in [(4, 2), (6, 2), (5, 5)]:
        segmentation = Segmentation(chunk, hop)
        torch.testing.assert_close(segmentation.overlap_add(segmentation.cut(x), frames), x * (chunk / hop))


@pytest.mark.parametrize(("chunk", "hop"), [(4, 0), (4, 5), (0, 0), (4, -1)])
def test_a_hop_that_loses_frames_is_refused(chunk, hop):
    with pytest.raises(
        ValueError, match=rf"hop_size is from 1 to chunk_size \({chunk}\), or frames are lost; got {hop}"
    ):
        Segmentation(chunk, hop)


class ThereAndBack(nn.Module):
    """Chunks weighted by their positions, and summed up."""

    def __init__(self, chunk: int, hop: int):
        super().__init__()
        self.segmentation = Segmentation(chunk, hop)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        chunks = self.segmentation.cut(x)
        weighted = chunks * torch.arange(1.0, self.segmentation.chunk + 1).unsqueeze(1)
        return chunks, self.segmentation.overlap_add(weighted, x.shape[-1])


def test_a_graph_cuts_any_number_of_frames(tmp_path):
    model = ThereAndBack(chunk=7, hop=3).eval()
    axes = {"x": {0: "N", 2: "K"}}
    export_graph(model, tmp_path / "g.onnx", {"x": torch.randn(2, 3, 40)}, ["chunks", "sum"], axes, {})
    cases = [{"x": torch.randn(n, 3, k)} for n, k in [(1, 1), (3, 2), (1, 6), (2, 7), (1, 101)]]
    assert agreement(model, tmp_path / "g.onnx", cases).relative < 1e-6
