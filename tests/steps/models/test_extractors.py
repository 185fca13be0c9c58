"""Every extractor: published sizes, and an embedding that does not depend on the batch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.models.config import ARCHITECTURES, ExtractorConfig
from steps.models.extractors import build_extractor

SMALL = {"xvector": 32, "ecapa_tdnn": 32, "campplus": 4, "dvector": 96}  # ResNets: 4
LENGTHS = (37, 1, 243, 14, 2, 101, 15, 64)


def small(architecture: str, embedding_dim: int = 24) -> nn.Module:
    """In evaluation mode, with statistics and scales of batch normalisation as training might leave them."""
    torch.manual_seed(0)
    model = build_extractor(ExtractorConfig(architecture, embedding_dim, SMALL.get(architecture, 4)), 80).eval()
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            if module.affine:  # the last one of a bottleneck small, or hundreds of layers grow without bound
                nn.init.uniform_(module.weight, *((0.1, 0.4) if name.endswith("bn3") else (0.5, 1.5)))
                nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model


def normalised(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings, dim=1)


@pytest.mark.parametrize(
    ("architecture", "embedding_dim", "channels", "global_context", "parameters"),
    [
        ("xvector", 512, 0, True, 4_610_524),
        ("ecapa_tdnn", 192, 0, False, 5_797_504),
        ("ecapa_tdnn", 192, 0, True, 6_190_720),
        ("ecapa_tdnn", 192, 1024, False, 14_263_872),
        ("ecapa_tdnn", 192, 1024, True, 14_657_088),
        ("resnet18", 256, 0, True, 4_105_440),
        ("resnet34", 256, 0, True, 6_634_336),
        ("resnet221", 256, 0, True, 23_792_224),
        ("resnet293", 256, 0, True, 28_626_016),
    ],
)
def test_parameter_counts_as_published(architecture, embedding_dim, channels, global_context, parameters):
    """Those of wespeaker's models for 80 bins, without their classes."""
    with torch.device("meta"):
        model = build_extractor(ExtractorConfig(architecture, embedding_dim, channels, global_context), 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_a_batch_gives_each_utterance_what_it_gets_alone(architecture):
    model = small(architecture)
    utterances = [torch.randn(1, length, 80) for length in LENGTHS]
    alone = normalised(torch.cat([model(utterance) for utterance in utterances]))
    padded = torch.full((len(LENGTHS), max(LENGTHS) + 3, 80), float("nan"))
    for row, utterance in zip(padded, utterances, strict=True):
        row[: utterance.shape[1]] = utterance[0]
    together = normalised(model(padded, torch.tensor(LENGTHS)))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    distances = torch.pdist(alone)  # what is compared must differ between utterances by far more
    assert distances.min() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_no_lengths_are_full_lengths(architecture):
    model = small(architecture)
    features = torch.randn(3, 57, 80)
    full = model(features, torch.tensor([57, 57, 57]))
    torch.testing.assert_close(normalised(model(features)), normalised(full), atol=1e-5, rtol=0)
    assert full.shape == (3, model.embedding_dim) == (3, 24)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_frame_is_enough_and_trains(architecture):
    model = small(architecture, embedding_dim=8)
    embeddings = model(torch.randn(2, 1, 80))
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("architecture", ["dvector", "xvector", "ecapa_tdnn", "resnet34"])
def test_channels_make_it_small(architecture):
    sizes = []
    for channels in (SMALL.get(architecture, 4), 0):
        with torch.device("meta"):
            model = build_extractor(ExtractorConfig(architecture, 64, channels), 80)
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert sizes[0] < sizes[1] / 4
