"""Frames cut into overlapping chunks, and chunks added up to frames again.

Y. Luo, Z. Chen and T. Yoshioka, "Dual-path RNN: efficient long sequence modeling for time-domain single-channel
speech separation", ICASSP 2020, section 2. Where chunks begin is asteroid's choice: one chunk before the first frame,
and every hop from there on, so that each frame is in as many chunks as any other, even the first and the last.
Padding and shifted views do it, where torch's fold and unfold do not export to ONNX with dynamic lengths.

Shapes: N utterances, C channels, K frames, P frames in a chunk, R chunks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Segmentation:
    """Chunks of `chunk` frames, one every `hop`. Raises ValueError unless 1 <= hop <= chunk."""

    chunk: int
    hop: int

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.chunk:
            raise ValueError(
                f"model.sizes: hop_size is from 1 to chunk_size ({self.chunk}), or frames are lost; got {self.hop}"
            )

    @property
    def blocks(self) -> int:
        """How many blocks of `hop` frames a chunk touches: 2 for a hop of half a chunk."""
        return -(-self.chunk // self.hop)

    def chunks(self, frames: int) -> int:
        """R for K = `frames`."""
        return (frames + self.chunk) // self.hop + 1

    def cut(self, frames: Tensor) -> Tensor:
        """(N, C, K) -> (N, C, P, R), zeros before the first frame and after the last."""
        count = self.chunks(frames.shape[-1])
        whole = (count + self.blocks - 1) * self.hop
        padded = F.pad(frames, (self.chunk, whole - self.chunk - frames.shape[-1]))
        blocks = padded.unflatten(2, (count + self.blocks - 1, self.hop))
        shifted = [blocks[:, :, i : count + i] for i in range(self.blocks)]  # each (N, C, R, hop)
        return torch.cat(shifted, dim=3)[..., : self.chunk].transpose(2, 3)

    def overlap_add(self, chunks: Tensor, frames: int) -> Tensor:
        """(N, C, P, R) -> (N, C, K) with K = `frames`: the sum of all chunks that hold a frame."""
        beyond = self.blocks * self.hop - self.chunk
        parts = F.pad(chunks.transpose(2, 3), (0, beyond)).split(self.hop, dim=3)  # each (N, C, R, hop)
        last = len(parts) - 1
        total = torch.stack([F.pad(part, (0, 0, i, last - i)) for i, part in enumerate(parts)]).sum(0)
        return total.flatten(2)[..., self.chunk : self.chunk + frames]
