"""Training on what breaks separators elsewhere: every loss, gradient and weight stays finite, and it still learns.

Silence, an offset, clipping, one sample, one talker twice, a talker who says nothing, and plain noise take turns.
"""

import pytest
import torch
from torch import nn

from steps.losses.config import SEPARATION_LOSSES, EnhancementLossConfig, SeparationLossConfig
from steps.losses.enhancement import enhancement_loss
from steps.losses.separation import reorder, separation_loss, si_sdr
from steps.models.config import SeparatorConfig
from steps.models.separators import build_separator
from steps.models.tasnet import NORMS, Decoder, Encoder, build_norm, covered

N, S, T, STEPS = 2, 2, 400, 21
TASNET = {"n_filters": 16, "kernel_size": 16, "stride": 8}
BLOCKS = {**TASNET, "bn_chan": 8, "hid_chan": 16, "skip_chan": 8, "n_blocks": 2, "n_repeats": 1}
CHUNKS = {**TASNET, "chunk_size": 10, "n_repeats": 1}
UNET = {"n_filters": 16, "bn_chan": 8, "num_blocks": 1, "upsampling_depth": 2}
ARCHITECTURES = [
    *(("masker", {"norm_type": norm}) for norm in NORMS),
    ("conv_tasnet", BLOCKS),
    ("conv_tasnet", {**BLOCKS, "norm_type": "BN"}),
    ("conv_tasnet", {**BLOCKS, "norm_type": "cgLN", "causal": True}),
    ("dprnn_tasnet", {**CHUNKS, "bn_chan": 8, "hid_size": 8}),
    ("dptnet", {**CHUNKS, "n_heads": 2, "ff_hid": 8}),
    ("sudormrf", UNET),
    ("sudormrf_improved", UNET),
    ("blstm_mask", {"n_fft": 32, "hop": 16, "hid_size": 8, "num_layers": 1}),
]
VOICE = {"embedding_dim": 6, "n_fft": 64, "hop": 32, "win": 64, "channels": 4, "lstm_dim": 8, "fc_dim": 8}
SPECTRA = {"n_fft": 64, "hop": 32}
ENHANCERS = [
    ("demucs", {"hidden": 4, "depth": 2, "resample": 2}),
    ("dccrn", {"architecture": "mini"}),
    ("dcunet", {"architecture": "mini", "stft_n_filters": 256, "stft_kernel_size": 256, "stft_stride": 64}),
    ("nsnet2", {**SPECTRA, "hid_size": 8, "fc_size": 8, "complex_mask": True}),
    ("gtcrn", {}),
    ("fast_enhancer", {**SPECTRA, "channels": 8, "block_channels": 8, "places": 4, "blocks": 1}),
]


def described(value):
    return value.get("norm_type", "") if isinstance(value, dict) else str(value)


class Masker(nn.Module):
    """Two convolutions between a filter bank and its inverse."""

    def __init__(self, norm_type: str):
        super().__init__()
        self.encoder, self.decoder = Encoder(16, 16, 8), Decoder(16, 16, 8)
        self.masks = nn.Sequential(
            build_norm(norm_type, 16), nn.Conv1d(16, 24, 3, padding=1), nn.PReLU(),
            build_norm(norm_type, 24), nn.Conv1d(24, S * 16, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, mixture):
        frames = self.encoder(covered(mixture, 16, 8)).relu()  # (N, F, K)
        masks = self.masks(frames).unflatten(1, (S, -1))  # (N, S, F, K)
        return self.decoder(masks * frames.unsqueeze(1))[..., : mixture.shape[-1]].float()


def built(architecture, sizes, sources=S):
    torch.manual_seed(0)
    if architecture == "masker":
        return Masker(**sizes)
    return build_separator(SeparatorConfig(architecture, sizes), sources)


def talkers(t=T, step=0, n=N):
    """targets (n, S, t): a low and a high tone, of other phases and levels at every step, and a little noise."""
    generator = torch.Generator().manual_seed(step)
    time = torch.arange(t).expand(n, t)
    phase = 6.3 * torch.rand(S, n, 1, generator=generator)
    level = 0.1 + 0.2 * torch.rand(S, n, 1, generator=generator)
    tones = [level[s] * torch.sin(rate * time + phase[s]) for s, rate in enumerate((0.2, 1.7))]
    return torch.stack(tones, dim=1) + 1e-3 * torch.randn(n, S, t, generator=generator)


def adversary(step):
    """targets (N, S, t) and a name for it."""
    usual = talkers(step=step)
    listener = usual.clone()
    listener[:, 1] = 0
    kinds = {
        "silence": torch.zeros(N, S, T),
        "offset": torch.full((N, S, T), 0.4),
        "clipped": (1000 * usual).clamp(-1, 1),
        "one sample": talkers(t=1, step=step),
        "one talker twice": usual[:, :1].expand(N, S, T),
        "a talker who says nothing": listener,
        "usual": usual,
    }
    name = list(kinds)[step % len(kinds)]
    return kinds[name], name


def finite(values):
    return all(value.isfinite().all() for value in values)


def separated(config):
    """What a separator's step computes: (model, targets, mixture) -> losses (N,)."""
    return lambda model, targets, mixture: separation_loss(config, model(mixture), targets, mixture).loss


def enhanced(config):
    """The same of an enhancer, whose speech is the first talker and whose noise the second."""
    return lambda model, targets, mixture: enhancement_loss(config, model(mixture)[:, 0], targets[:, 0], mixture).loss


def train(model, compute, dtype, steps, batches):
    """The losses (N,) of every step, which fails where something is not finite."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        targets, name = batches(step)
        mixture = targets.sum(dim=1)
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
            loss = compute(model, targets, mixture)
        loss.mean().backward()
        assert finite([loss]) and loss.max() < 100, f"step {step}, {name}: loss {loss.tolist()}"
        for key, parameter in model.named_parameters():
            assert parameter.grad is None or finite([parameter.grad]), f"step {step}, {name}: gradient of {key}"
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        for key, value in model.state_dict().items():
            assert finite([value]), f"step {step}, {name}: {key}"
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize(("architecture", "sizes"), ARCHITECTURES, ids=described)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", SEPARATION_LOSSES)
def test_everything_stays_finite(architecture, sizes, dtype, kind):
    train(built(architecture, sizes), separated(SeparationLossConfig(kind)), dtype, STEPS, adversary)


@pytest.mark.parametrize(("architecture", "sizes"), ENHANCERS, ids=described)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_enhancers_stay_finite(architecture, sizes, dtype):
    everything = EnhancementLossConfig(l1=1.0, stft=1.0, si_sdr=0.1, compressed=1.0)
    train(built(architecture, sizes, 1), enhanced(everything), dtype, STEPS, adversary)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_extractor_stays_finite(dtype):
    model = built("voicefilter", VOICE, 1)
    voice = nn.functional.normalize(torch.randn(N, model.embedding_dim))

    def extracted(model, targets, mixture):
        return separation_loss(SeparationLossConfig(), model(mixture, voice), targets[:, :1], mixture).loss

    train(model, extracted, dtype, STEPS, adversary)


@pytest.mark.parametrize("kind", SEPARATION_LOSSES)
def test_a_separator_learns_in_spite_of_them(kind):
    """A bad batch before every good one, and tones are taken apart all the same."""
    model = built("masker", {"norm_type": "gLN"})

    def mixed(step):
        return adversary(step // 2) if step % 2 == 0 else (talkers(step=step), "usual")

    train(model, separated(SeparationLossConfig(kind)), torch.float32, 200, mixed)
    targets = talkers(step=1000, n=8)
    mixture = targets.sum(dim=1)
    with torch.no_grad():
        estimates = model(mixture)
    ordered = reorder(estimates, separation_loss(SeparationLossConfig(kind), estimates, targets, mixture).permutation)
    gain = si_sdr(ordered, targets) - si_sdr(mixture.unsqueeze(1).expand_as(targets), targets)
    assert gain.mean() > 10.0
