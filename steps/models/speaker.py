"""The extractor of a speaker's embedding together with the classes that train it."""

import torch
from torch import Tensor, nn

from steps.models.masking import frame_mask, mean, silence_padding


class SpeakerModel(nn.Module):
    """Features to embeddings; with labels, to the loss of classifying their speakers.

    The features' mean over each utterance is taken off first, so that a channel's colour and the level of a
    recording cancel, and a runtime that does the same beforehand changes nothing.
    """

    def __init__(self, extractor: nn.Module, projection: nn.Module | None = None):
        super().__init__()
        self.extractor = extractor
        self.projection = projection

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, labels: Tensor | None = None, margin: float = 0.0
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """features (N, T, F), lengths (N,) in frames or None for all -> embeddings (N, E).

        With labels (N,): the loss, a sum over N, and the predicted classes (N,) or None (see `steps.losses`).
        """
        embeddings = self.extractor(centred(features, lengths), lengths)
        if labels is None:
            return embeddings
        assert self.projection is not None, "a model without classes has no loss"
        return self.projection(embeddings, labels, margin)


def centred(features: Tensor, lengths: Tensor | None) -> Tensor:
    """features (N, T, F) less each utterance's mean over time; zeros beyond its length."""
    mask = frame_mask(lengths, features.shape[1])
    by_bin = features.transpose(1, 2)  # (N, T, F) -> (N, F, T)
    return silence_padding(by_bin - mean(by_bin, mask), mask).transpose(1, 2)


def extractor_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The extractor's part of a SpeakerModel's weights, or of another toolkit's flat ones without its classes."""
    own = {name.removeprefix("extractor."): value for name, value in state.items() if name.startswith("extractor.")}
    return own or {name: value for name, value in state.items() if not name.startswith("projection.")}


@torch.inference_mode()
def embed(model: nn.Module, features: Tensor, lengths: Tensor) -> Tensor:
    """Embeddings (N, E) in float32 on the CPU of features (N, T, F), by a model in evaluation mode."""
    device = next(iter(model.state_dict().values())).device
    return model(features.to(device), lengths.to(device)).float().cpu()
