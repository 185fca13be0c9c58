"""The model around an extractor: mean subtraction, and the loss of its classes."""

import pytest
import torch
from torch import nn

from steps.losses.config import SpeakerLossConfig
from steps.losses.speaker import build_speaker_loss
from steps.models.speaker import SpeakerModel, centred, embed, extractor_weights


class Sum(nn.Module):
    """Adds up what it is given, so that what reaches an extractor can be seen."""

    embedding_dim = 4

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, features, lengths):
        return features[:, :, :4].square().sum(dim=1) * self.scale


def test_the_mean_over_time_is_taken_off_and_padding_is_zero():
    features = torch.randn(2, 9, 5) + 3
    out = centred(features, torch.tensor([9, 6]))
    torch.testing.assert_close(out[0], features[0] - features[0].mean(dim=0))
    torch.testing.assert_close(out[1, :6], features[1, :6] - features[1, :6].mean(dim=0))
    assert not out[1, 6:].any()
    torch.testing.assert_close(centred(features, None)[0], out[0])
    torch.testing.assert_close(centred(centred(features, None), None), centred(features, None))  # again: nothing


def test_a_channel_that_colours_the_spectrum_changes_nothing():
    model, features = SpeakerModel(Sum()), torch.randn(1, 20, 5)
    torch.testing.assert_close(model(features + torch.randn(5)), model(features))


def test_labels_give_the_loss_of_the_classes():
    torch.manual_seed(0)
    model = SpeakerModel(Sum(), build_speaker_loss(SpeakerLossConfig(kind="aam"), 3, 4))
    features, labels = torch.randn(6, 10, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    loss, predicted = model(features, None, labels, 0.2)
    expected, _ = model.projection(model(features), labels, 0.2)
    assert loss.item() == pytest.approx(expected.item())
    assert predicted.shape == (6,)
    loss.backward()
    assert model.extractor.scale.grad.abs().sum() > 0 and model.projection.weight.grad.abs().sum() > 0


def test_weights_of_ours_and_of_other_toolkits_are_found():
    model = SpeakerModel(Sum(), nn.Linear(4, 3))
    assert extractor_weights(model.state_dict()).keys() == {"scale"}
    assert extractor_weights({"scale": torch.ones(4), "projection.weight": torch.ones(3, 4)}).keys() == {"scale"}
    vectors = embed(model, torch.randn(2, 7, 5), torch.tensor([7, 3]))
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
