"""Softmax with margins against formulas with acos in double precision; gradients at |cos| = 1; the schedule."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from steps.losses.config import SPEAKER_LOSSES, SpeakerLossConfig
from steps.losses.margin import MarginSoftmax, Softmax, lowered, rotated
from steps.losses.speaker import build_speaker_loss, margin_at

CLASSES, DIM, N = 7, 5, 12
EVERY = [
    SpeakerLossConfig(kind="softmax"),
    SpeakerLossConfig(kind="am"),
    SpeakerLossConfig(kind="aam"),
    SpeakerLossConfig(kind="aam", subcenters=3, inter_topk=5),
    SpeakerLossConfig(kind="sphereface2"),
    SpeakerLossConfig(kind="sphereface2", margin_type="A"),
    SpeakerLossConfig(kind="sphereface2", margin_type="A", exponent=2),
    SpeakerLossConfig(kind="ge2e_softmax"),
    SpeakerLossConfig(kind="ge2e_contrast"),
]


def described(config):
    return (
        f"{config.kind}{config.margin_type if config.kind == 'sphereface2' else ''}{config.exponent}{config.subcenters}"
    )


every_loss = pytest.mark.parametrize("config", EVERY, ids=described)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = 3 * torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(CLASSES, (N,), generator=generator)


def make(shift, **options):
    torch.manual_seed(1)
    return MarginSoftmax(CLASSES, DIM, shift, **options).double()


def angles(embedding, weight):
    """One angle in radians for each row of `weight`."""
    return [math.acos((embedding @ row / (embedding.norm() * row.norm())).item()) for row in weight]


def cross_entropy(logits, label):
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def hardened(kind, theta, margin):
    """The cosine of an angle with the margin, on the branch that needs no continuation."""
    assert kind == "am" or 0 <= theta + margin <= math.pi
    return math.cos(theta) - margin if kind == "am" else math.cos(theta + margin)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("kind", "shift"), [("am", lowered), ("aam", rotated)])
def test_loss_and_predictions_equal_the_formula(kind, shift, margin):
    embeddings, labels = batch()
    module = make(shift)
    expected, nearest = 0.0, []
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        thetas = angles(embedding, module.weight.detach())
        logits = [32 * (hardened(kind, t, margin) if j == label else math.cos(t)) for j, t in enumerate(thetas)]
        expected += cross_entropy(logits, label)
        nearest.append(thetas.index(min(thetas)))
    loss, predictions = module(embeddings, labels, margin)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    assert predictions.tolist() == nearest


@pytest.mark.parametrize("shift", [lowered, rotated])
def test_without_margin_all_are_cross_entropy_of_scaled_cosines(shift):
    embeddings, labels = batch()
    module = make(shift, inter_topk=3)
    cosine = torch.cosine_similarity(embeddings.unsqueeze(1), module.weight.unsqueeze(0), dim=2)
    expected = torch.nn.functional.cross_entropy(32 * cosine, labels, reduction="sum")
    torch.testing.assert_close(module(embeddings, labels, 0.0)[0], expected)


def test_softmax_is_a_linear_layer():
    embeddings, labels = batch()
    module = Softmax(CLASSES, DIM).double()
    linear = torch.nn.Linear(DIM, CLASSES).double()
    linear.load_state_dict(module.state_dict())
    expected = torch.nn.functional.cross_entropy(linear(embeddings), labels, reduction="sum")
    torch.testing.assert_close(module(embeddings, labels, 0.3)[0], expected)


def test_one_subcenter_without_topk_is_plain_aam():
    embeddings, labels = batch()
    plain = build_speaker_loss(SpeakerLossConfig(), CLASSES, DIM)
    module = MarginSoftmax(CLASSES, DIM, rotated, subcenters=1, inter_topk=0)
    assert module.load_state_dict(plain.state_dict()) and list(plain.state_dict()) == ["weight"]
    for ours, theirs in zip(module(embeddings, labels, 0.2), plain(embeddings, labels, 0.2), strict=True):
        assert torch.equal(ours, theirs)


def test_the_nearest_subcenter_counts():
    """As AAM over the nearest of each class's rows, which lie together."""
    embeddings, labels = batch()
    module = make(rotated, subcenters=3)
    assert module.weight.shape == (3 * CLASSES, DIM)
    expected, nearest = 0.0, []
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        thetas = angles(embedding, module.weight.detach())
        thetas = [min(thetas[3 * j : 3 * j + 3]) for j in range(CLASSES)]
        logits = [32 * (hardened("aam", t, 0.2) if j == label else math.cos(t)) for j, t in enumerate(thetas)]
        expected += cross_entropy(logits, label)
        nearest.append(thetas.index(min(thetas)))
    loss, predictions = module(embeddings, labels, 0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    assert predictions.tolist() == nearest


@pytest.mark.parametrize(("margin", "penalty"), [(0.2, 0.06), (0.1, 0.03), (0.0, 0.0)])
@pytest.mark.parametrize("label", [0, 1, 2, 4])
@pytest.mark.parametrize(("kind", "shift"), [("am", lowered), ("aam", rotated)])
def test_inter_topk_hardens_the_nearest_wrong_classes(kind, shift, label, margin, penalty):
    """Classes at 20, 50, 80, 110 and 140 degrees in the plane: two are hit, and never the true one."""
    degrees = [20, 50, 80, 110, 140]
    module = MarginSoftmax(5, 2, shift, scale=4.0, inter_topk=2).double()
    points = [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees]
    module.weight.data = torch.tensor(points, dtype=torch.float64)
    thetas = [math.radians(d) for d in degrees]
    hit = [j for j in range(5) if j != label][:2]
    shifts = [margin if j == label else -penalty if j in hit else 0.0 for j in range(5)]
    logits = [4 * hardened(kind, t, s) for t, s in zip(thetas, shifts, strict=True)]
    loss, predictions = module(torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([label]), margin)
    assert loss.item() == pytest.approx(cross_entropy(logits, label), rel=1e-10)
    assert predictions.tolist() == [0]


def test_inter_topk_of_more_than_all_classes_takes_all():
    embeddings, labels = batch()
    few, many = make(rotated, inter_topk=CLASSES - 1), make(rotated, inter_topk=50)
    assert torch.equal(few(embeddings, labels, 0.2)[0], many(embeddings, labels, 0.2)[0])
    assert torch.isfinite(MarginSoftmax(1, DIM, rotated, inter_topk=5)(embeddings, labels * 0, 0.2)[0])


@pytest.mark.parametrize("margin", [-1.0, -0.3, -0.06, 0.0, 0.01, 0.2, 0.5, 1.0])
def test_rotation_rises_with_the_cosine_and_has_no_jump(margin):
    cosine = torch.linspace(-1, 1, 200001, dtype=torch.float64)
    turned = rotated(cosine, margin)
    steps = turned.diff()
    assert (steps > 0).all()
    assert steps.max() < 0.01  # steepest at the end where theta is 0 or pi: a jump of sqrt(2 * 1e-5) sin(margin)
    inside = (cosine.acos() + margin >= 0) & (cosine.acos() + margin <= math.pi)
    inside[[0, -1]] = False  # there the sine has its floor
    torch.testing.assert_close(turned[inside], (cosine.acos() + margin).cos()[inside], rtol=0, atol=1e-9)
    single = rotated(cosine.float(), margin)
    assert (single.diff() >= -3e-7).all()


def test_beyond_pi_the_logit_goes_on_from_minus_one_with_slope_one():
    edge, margin = -math.cos(0.4), 0.4
    at_edge, below = rotated(torch.tensor([edge, edge - 0.05], dtype=torch.float64), margin)
    assert at_edge.item() == pytest.approx(-1.0, abs=1e-12)
    assert (at_edge - below).item() == pytest.approx(0.05, abs=1e-12)


@pytest.mark.parametrize("margin", [0.2, -0.06])
def test_gradient_of_the_rotation_is_that_of_the_cosine_of_the_angle(margin):
    cosine = torch.linspace(-0.97, 0.97, 50, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rotated(cosine, margin).sum(), cosine)
    theta = cosine.detach().acos()
    torch.testing.assert_close(gradient, (theta + margin).sin() / theta.sin())


def gradients(config, embeddings, labels, autocast, rows=None):
    """Loss and the gradients of embeddings and parameters; `rows` replaces the weights of classes."""
    torch.manual_seed(0)
    module = build_speaker_loss(config, 4, embeddings.shape[1])
    if rows is not None and module.weight.dim() == 2:
        module.weight.data = rows.repeat_interleave(len(module.weight) // len(rows), dim=0)
    embeddings = embeddings.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss, predictions = module(embeddings, labels, 0.2)
    loss.backward()
    return loss, predictions, [embeddings.grad, *(p.grad for p in module.parameters() if p.grad is not None)]


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_finite_where_vectors_coincide_oppose_or_are_zero(config, dtype):
    """Every pair of utterance and class is at cos 1 or -1 exactly, or one of them is zero."""
    axis = torch.tensor([1.0, 0.0, 0.0, 0.0])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    embeddings = torch.stack([axis, -axis, 4 * axis, -axis, 0 * axis, 0 * axis]).to(dtype)
    rows = torch.stack([axis, axis, -axis, 0 * axis])
    loss, _, found = gradients(config, embeddings, labels, dtype == torch.bfloat16, rows)
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    for gradient in found:
        assert torch.isfinite(gradient).all() and gradient.abs().max() < 1e7


@every_loss
def test_autocast_changes_nothing_but_the_embeddings(config):
    """bf16 embeddings under autocast cost exactly what their values cost in fp32."""
    torch.manual_seed(3)
    embeddings, labels = torch.randn(8, 6).bfloat16(), torch.arange(4).repeat_interleave(2)
    half, chosen, _ = gradients(config, embeddings, labels, autocast=True)
    single, expected, _ = gradients(config, embeddings.float(), labels, autocast=False)
    assert torch.equal(half, single) and torch.equal(chosen, expected)


@every_loss
def test_gradients_equal_differences(config):
    torch.manual_seed(4)
    module = build_speaker_loss(config, 4, 3).double()
    embeddings = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 3, 3])
    assert torch.autograd.gradcheck(lambda x, *_: module(x, labels, 0.2)[0], (embeddings, *module.parameters()))


@pytest.mark.parametrize("config", EVERY[:-2], ids=described)  # in GE2E an utterance depends on the others
def test_the_loss_is_a_sum_over_utterances(config):
    """Twice the batch, twice the loss."""
    module = build_speaker_loss(config, CLASSES, DIM).double()
    embeddings, labels = batch()
    once, twice = (module(embeddings.repeat(k, 1), labels.repeat(k), 0.2)[0] for k in (1, 2))
    torch.testing.assert_close(twice, 2 * once)


@every_loss
def test_descent_separates_free_embeddings(config):
    """200 steps of SGD: every embedding nearer to all of its class than to any of another."""
    torch.manual_seed(5)
    classes, each, dim = 6, 4, 16
    module = build_speaker_loss(replace(config, scale=8.0), classes, dim)  # 32 is content with little of 6 classes
    embeddings = torch.randn(classes * each, dim).requires_grad_()
    labels = torch.arange(classes).repeat_interleave(each)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)

    def gap():
        unit = torch.nn.functional.normalize(embeddings.detach())
        return ((unit @ unit.T)[same].min() - (unit @ unit.T)[~same].max()).item()

    before = gap()
    optimiser = torch.optim.SGD([embeddings, *module.parameters()], lr=0.1, momentum=0.9)
    for step in range(200):
        optimiser.zero_grad()
        loss, predictions = module(embeddings, labels, 0.2 * min(1.0, step / 100))
        loss.backward()
        optimiser.step()
    assert torch.equal(predictions, labels)
    # a softmax is content with long embeddings, and sub-centers let a class fall into parts
    assert gap() > (before + 0.1 if config.kind == "softmax" or config.subcenters > 1 else 0.3)


def test_margin_rises_between_its_borders():
    config = SpeakerLossConfig(margin=0.3, margin_start_epoch=20, margin_end_epoch=40)
    assert [margin_at(config, epoch) for epoch in (0, 19.9, 20)] == [0.0, 0.0, 0.0]
    assert [margin_at(config, epoch) for epoch in (40, 40.1, 150)] == [0.3, 0.3, 0.3]
    assert margin_at(config, 30) == pytest.approx(0.3 * (1 - math.sqrt(1e-3)))
    assert margin_at(config, 40 - 1e-9) == pytest.approx(0.3 * 0.999)
    values = [margin_at(config, 20 + n / 10) for n in range(201)]
    assert all(a < b for a, b in itertools.pairwise(values))


def test_margin_without_a_rise_is_there_from_the_first_batch():
    config = SpeakerLossConfig(margin=0.5, margin_start_epoch=0, margin_end_epoch=0)
    assert margin_at(config, 0.0) == 0.5
    jump = SpeakerLossConfig(margin=0.5, margin_start_epoch=3, margin_end_epoch=3)
    assert [margin_at(jump, epoch) for epoch in (2.9, 3)] == [0.0, 0.5]


def test_every_kind_is_built_with_its_weights():
    shapes = {kind: build_speaker_loss(SpeakerLossConfig(kind=kind), 10, 4).weight.shape for kind in SPEAKER_LOSSES}
    assert shapes == {kind: () if kind.startswith("ge2e") else (10, 4) for kind in SPEAKER_LOSSES}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kind": "arcface"}, "loss.kind: one of softmax, am, aam"),
        ({"margin": -0.1}, "loss.margin"),
        ({"margin_start_epoch": 5, "margin_end_epoch": 4}, "margin_end_epoch"),
        ({"kind": "sphereface2", "subcenters": 3}, "leave them out with sphereface2"),
        ({"kind": "sphereface2", "margin_type": "B"}, "margin_type: A or C"),
        ({"exponent": 0}, "loss.exponent"),
        ({"subcenters": 0}, "loss.subcenters"),
    ],
)
def test_a_wrong_configuration_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SpeakerLossConfig(**wrong)
