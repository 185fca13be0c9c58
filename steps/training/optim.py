"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from steps.training.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019) or SGD, which decay matrices and kernels only, not biases and norms."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=config.lr, betas=tuple(config.betas))


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """The learning rate of a step (counted from 0), `progress` of the run being done (0 to 1).

    A linear warm-up over `warmup_steps`, times the decay that `schedule` names. It depends on nothing but
    its arguments, so that a resumed run continues on the same curve.
    """
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "inverse_sqrt":  # Vaswani et al. 2017, section 5.3
        return config.lr * warmup * math.sqrt(max(config.warmup_steps, 1) / max(step + 1, config.warmup_steps, 1))
    if config.schedule == "constant":
        return config.lr * warmup
    if config.schedule == "linear":
        share = 1.0 - progress
    elif config.schedule == "exponential":
        return config.lr * warmup * config.final_lr_share**progress
    else:
        share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.lr * warmup * (config.final_lr_share + (1.0 - config.final_lr_share) * share)
