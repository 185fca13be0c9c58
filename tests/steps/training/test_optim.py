"""The learning rate is a function of step and progress; norms and biases are not decayed."""

import math

import pytest
import torch

from steps.training.config import TrainingConfig
from steps.training.optim import build_optimizer, learning_rate


def test_warmup_is_linear_and_reaches_the_peak():
    config = TrainingConfig(lr=2.0, warmup_steps=4, schedule="constant")
    assert [learning_rate(config, step, 0.0) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [("cosine", 0.5 * 1.1, 0.1), ("linear", 0.5 * 1.1, 0.1), ("exponential", 0.1**0.5, 0.1), ("constant", 1.0, 1.0)],
)
def test_decay_over_the_progress_of_the_run(schedule, half, end):
    config = TrainingConfig(lr=1.0, warmup_steps=1, schedule=schedule, final_lr_share=0.1)
    assert learning_rate(config, 10, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 10, 0.5) == pytest.approx(half)
    assert learning_rate(config, 10, 1.0) == pytest.approx(end)


def test_inverse_square_root_after_the_warmup():
    config = TrainingConfig(lr=1.0, warmup_steps=100, schedule="inverse_sqrt")
    assert learning_rate(config, 399, 0.7) == pytest.approx(math.sqrt(100 / 400))
    assert learning_rate(config, 99, 0.7) == pytest.approx(1.0)


def test_only_matrices_and_kernels_are_decayed():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.3))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(model[0].weight)}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schedule", "cosin", r"training\.schedule: one of cosine, linear.*got 'cosin'"),
        ("precision", "fp8", r"training\.precision"),
        ("epochs", 0, r"training\.epochs must be at least 1"),
        ("lr", 0.0, r"training\.lr must be positive"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{field: value})
