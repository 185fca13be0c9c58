"""SphereFace2 against its formula in a loop with acos, and where the formula in single precision gives NaN."""

import math

import pytest
import torch

from steps.losses.sphereface2 import SphereFace2, sharpened

CLASSES, DIM, N = 6, 4, 9


def g(z, t):
    return 2 * ((z + 1) / 2) ** t - 1


def by_hand(module, embeddings, labels, margin):
    """The sum that the class's docstring states, with ln(1 + e^x) as written."""
    scale, t, share, bias = module.scale, module.exponent, module.positive_weight, module.bias.item()
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        for j, row in enumerate(module.weight.detach()):
            theta = math.acos((x @ row / (x.norm() * row.norm())).item())
            turn = margin if j == y else -margin
            if module.margin_type == "C":
                logit = scale * (g(math.cos(theta), t) - turn) + bias
            else:
                assert 0 <= theta + turn <= math.pi
                logit = scale * g(math.cos(theta + turn), t) + bias
            if j == y:
                total += share * math.log(1 + math.exp(-logit))
            else:
                total += (1 - share) * math.log(1 + math.exp(logit))
    return total


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.3])
@pytest.mark.parametrize(("margin_type", "exponent"), [("C", 3), ("A", 3), ("C", 1), ("A", 2)])
def test_loss_equals_the_formula(margin_type, exponent, margin):
    torch.manual_seed(2)
    module = SphereFace2(CLASSES, DIM, exponent=exponent, margin_type=margin_type).double()
    module.bias.data.fill_(-0.7)
    embeddings, labels = 5 * torch.randn(N, DIM, dtype=torch.float64), torch.randint(CLASSES, (N,))
    loss, predictions = module(embeddings, labels, margin)
    assert loss.item() == pytest.approx(by_hand(module, embeddings, labels, margin), rel=1e-9)
    cosine = torch.cosine_similarity(embeddings.unsqueeze(1), module.weight.unsqueeze(0), dim=2)
    assert torch.equal(predictions, cosine.argmax(dim=1))


def test_large_logits_stay_finite():
    """ln(1 + e^x) as written overflows in single precision from x = 89 on; here x is 4 times that."""
    module = SphereFace2(2, 2, scale=200.0)
    module.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    embeddings = torch.tensor([[-1.0, 0.0]], requires_grad=True)
    loss, _ = module(embeddings, torch.tensor([0]), 0.8)
    loss.backward()
    assert loss.item() == pytest.approx(0.7 * 200 * 1.8 + 0.3 * 200 * 1.8, rel=1e-6)
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("exponent", [1, 2, 3, 4])
def test_sharpened_rises_also_beyond_minus_one(exponent):
    z = torch.linspace(-1.6, 1.4, 3001, dtype=torch.float64)
    assert (sharpened(z, exponent).diff() > 0).all()
    inside = z >= -1
    torch.testing.assert_close(sharpened(z, exponent)[inside], g(z[inside], exponent))


@pytest.mark.parametrize("margin_type", ["A", "C"])
def test_logits_rise_with_the_cosine_and_with_a_negative_margin(margin_type):
    module = SphereFace2(2, 2, margin_type=margin_type).double()
    cosine = torch.linspace(-1, 1, 20001, dtype=torch.float64).unsqueeze(0)
    harder, plain, easier = (module.logits(cosine, margin).detach() for margin in (0.3, 0.0, -0.3))
    for rises in (harder.diff(), plain.diff(), easier.diff()):
        assert (rises >= 0).all()
        assert (rises > 0).sum() > 19900  # where theta + margin is close to pi, a rise may be rounded off
    assert (harder < plain).all() and (plain < easier).all()


def test_bias_learns_the_odds():
    """With the weights at right angles to everything, the best bias makes both sides of the gradient equal."""
    module = SphereFace2(3, 4, scale=1.0)
    module.weight.data = torch.eye(3, 4)
    optimiser = torch.optim.SGD([module.bias], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        module(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.tensor([0]), 0.0)[0].backward()
        optimiser.step()
    positive = (module.bias + g(0.0, 3)).sigmoid().item()  # 0.7 (1 - p) = 2 * 0.3 p
    assert positive == pytest.approx(0.7 / 1.3, abs=1e-4)
