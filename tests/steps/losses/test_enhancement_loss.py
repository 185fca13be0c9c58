"""Losses of enhancement against closed forms, and their gradients where roots, logarithms and ratios have none."""

import pytest
import torch

from steps.losses.config import EnhancementLossConfig
from steps.losses.enhancement import enhancement_loss, spectrum
from steps.models.stft import Stft

N, T = 2, 3000
SMALL = {"resolutions": [[64, 10, 40], [128, 32, 128]], "frames": [128, 64, 128]}
PARTS = ("l1", "stft", "si_sdr", "compressed")


def only(name: str, **more) -> EnhancementLossConfig:
    weights = {part: 1.0 if part == name else 0.0 for part in PARTS}
    if name == "si_sdr":
        weights["l1"] = 1.0  # it is not allowed alone
    return EnhancementLossConfig(**SMALL, **weights, **more)


def every() -> EnhancementLossConfig:
    return EnhancementLossConfig(**SMALL, l1=1.0, stft=0.5, si_sdr=0.1, compressed=2.0)


def noise(seed=0, n=N, t=T, level=0.1):
    return level * torch.randn(n, t, generator=torch.Generator().manual_seed(seed))


def part(config, estimate, target, name):
    return enhancement_loss(config, estimate, target, target).parts[name]


@pytest.mark.parametrize("sizes", [(64, 10, 40), (512, 128, 512)])
def test_spectra_are_those_of_the_models(sizes):
    wave = noise()[:, : sizes[1] * 20]  # of whole hops, where both have as many frames
    found, expected = spectrum(wave, *sizes), Stft(*sizes).analysis(wave)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[..., : other.shape[2]], other[..., : one.shape[2]], atol=1e-4, rtol=0)


def test_l1_is_the_mean_distance():
    target = noise()
    torch.testing.assert_close(part(only("l1"), target + 0.25, target, "l1"), torch.full((N,), 0.25))


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_a_gain_is_a_share_of_the_spectrum_and_a_distance_of_its_logarithm(gain):
    target = noise()
    expected = abs(1 - gain) + abs(torch.tensor(gain).log())
    # Frames that reach beyond the ends have less in them than Parseval's equation assumes.
    torch.testing.assert_close(part(only("stft"), gain * target, target, "stft"), expected.expand(N), atol=0.03, rtol=0)


def test_convergence_is_relative_to_the_target_and_to_the_mixture_where_that_is_silent():
    target, other = noise(0), noise(1)
    config = EnhancementLossConfig(resolutions=[[128, 32, 128]], l1=0.0, stft=1.0)
    pairs = [torch.stft(w, 128, 32, window=torch.hann_window(128), pad_mode="constant", return_complex=True).abs()
             for w in (other, target)]  # fmt: skip
    ratio = (pairs[0] - pairs[1]).norm(dim=(1, 2)) / pairs[1].norm(dim=(1, 2))
    distance = (pairs[0].log() - pairs[1].log()).abs().mean(dim=(1, 2))
    torch.testing.assert_close(part(config, other, target, "stft"), ratio + distance, rtol=0.03, atol=0)
    silent = torch.zeros_like(target)
    quiet = enhancement_loss(config, silent, silent, target).parts["stft"]
    loud = enhancement_loss(config, target, silent, target).parts["stft"]
    torch.testing.assert_close(quiet, torch.zeros(N))
    log_distance = (pairs[1].square() + 1e-7).log().mean(dim=(1, 2)) / 2 - torch.tensor(1e-7).log() / 2
    torch.testing.assert_close(loud - log_distance, torch.ones(N), atol=0.03, rtol=0)


def test_compressed_spectra_of_a_gain_and_of_a_sign():
    target, gain = noise(), 2.0
    config = only("compressed")
    real, imag = spectrum(target, *config.frames)
    size = (real.square() + imag.square()).pow(0.3).mean(dim=(1, 2))  # |Y|^(2c)
    found = part(config, gain * target, target, "compressed")
    torch.testing.assert_close(found, (1 - gain**0.3) ** 2 * size, rtol=1e-3, atol=1e-5)
    turned = part(config, -target, target, "compressed")  # magnitudes are the same
    torch.testing.assert_close(turned, 0.3 * 4 * size, rtol=1e-3, atol=1e-5)
    assert (part(only("compressed", complex_share=0.0), -target, target, "compressed") == 0).all()


def test_si_sdr_is_that_of_separation():
    target = noise()
    other = noise(1) - (noise(1) * target).sum(1, keepdim=True) / target.square().sum(1, keepdim=True) * target
    estimate = 3 * (target + other * target.norm(dim=1, keepdim=True) / other.norm(dim=1, keepdim=True) / 10**0.5)
    torch.testing.assert_close(
        part(only("si_sdr"), estimate, target, "si_sdr"), torch.full((N,), -10.0), atol=0.2, rtol=0
    )


def test_the_sum_is_weighted_and_what_has_no_weight_is_left_out():
    estimate, target = noise(0), noise(1)
    config = every()
    found = enhancement_loss(config, estimate, target, target)
    assert tuple(found.parts) == PARTS
    torch.testing.assert_close(found.loss, sum(getattr(config, name) * found.parts[name] for name in PARTS))
    for name in PARTS:
        torch.testing.assert_close(part(only(name), estimate, target, name), found.parts[name])
    assert tuple(enhancement_loss(only("stft"), estimate, target, target).parts) == ("stft",)


def sounds(kind, t):
    """estimate and target (1, t)."""
    loud, silent = noise(0, 1, t), torch.zeros(1, t)
    square = torch.sign(torch.sin(torch.arange(t) / 7.0)).unsqueeze(0)
    return {
        "silence": (silent, silent), "zero estimate": (silent, loud), "perfect": (loud.clone(), loud),
        "silent target": (loud, silent), "offset": (torch.full((1, t), 0.5), loud), "clipped": (square, 0.9 * square),
        "far too loud": (1e4 * loud, loud), "inverted": (-loud, loud),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("t", [1, 500])
@pytest.mark.parametrize("mixture", ["silent", "loud"])
@pytest.mark.parametrize(
    "kind",
    ["silence", "zero estimate", "perfect", "silent target", "offset", "clipped", "far too loud", "inverted"],
)
def test_gradients_are_finite(kind, mixture, t):
    estimate, target = sounds(kind, t)
    heard = noise(5, 1, t) if mixture == "loud" else torch.zeros(1, t)
    estimate = estimate.clone().requires_grad_()
    loss = enhancement_loss(every(), estimate, target, heard).loss
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("name", PARTS)
def test_zeros_learn_the_target(name):
    target = noise(0, 1)
    estimate = torch.zeros_like(target).requires_grad_()
    loss = enhancement_loss(only(name), estimate, target, target)
    loss.parts[name].sum().backward()
    with torch.no_grad():
        if name in ("stft", "compressed"):  # their magnitudes stand still at zero; a nudge is enough
            assert torch.isfinite(estimate.grad).all()
            return
        assert (estimate.grad * target).sum() < 0


def test_magnitudes_learn_from_next_to_nothing():
    target = noise(0, 1)
    for name in ("stft", "compressed"):
        estimate = (1e-3 * target).requires_grad_()
        enhancement_loss(only(name), estimate, target, target).loss.sum().backward()
        assert (estimate.grad * target).sum() < 0


def test_autocast_changes_nothing_and_16_bits_come_out_as_32():
    estimate, target = noise(0), noise(1)
    expected = enhancement_loss(every(), estimate, target, target).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(enhancement_loss(every(), estimate, target, target).loss, expected)
        assert enhancement_loss(every(), estimate.bfloat16(), target, target).loss.dtype == torch.float32


def test_a_nan_stays_in_its_row():
    estimate, target = noise(0), noise(1)
    estimate[1, 7] = torch.nan
    assert torch.isfinite(enhancement_loss(every(), estimate, target, target).loss).tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"l1": 0.0, "stft": 0.0, "si_sdr": 1.0}, "one of l1, stft and compressed needs a weight above 0"),
        ({"stft": -1.0}, "weights are 0 or more"),
        ({"resolutions": [[64, 50, 40]]}, r"\[n_fft, hop, window\]"),
        ({"frames": [64, 32]}, r"\[n_fft, hop, window\]"),
        ({"resolutions": []}, "loss.resolutions needs at least one"),
        ({"exponent": 0.0}, "loss.exponent"),
        ({"soft_threshold": 60.0}, "loss.soft_threshold"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        EnhancementLossConfig(**values)
