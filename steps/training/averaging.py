"""Which stretch of the running average is best on dev."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from steps.tasks.base import Task
from steps.training.checkpoint import RunningAverage, epoch_checkpoint, load_checkpoint
from steps.training.dist import World, join_world
from steps.training.trainer import Trainer, better


def choose_average(task: Task, folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The weights averaged over the last n epochs, n being the best of `average.last_epochs` on dev.

    Also every candidate: {"last_epochs", figures of dev..., "chosen"}. Candidates longer than the run are
    left out; the whole run is tried when none fits.
    """
    name, direction = task.best_metric
    epochs = task.config.training.epochs
    checkpoints = folder / "checkpoints"
    end = load_checkpoint(epoch_checkpoint(checkpoints, epochs))["average"]
    world = join_world()
    trainer = Trainer(task, folder, World(0, 1, world.device))
    candidates, best = [], None
    for count in [n for n in task.config.average.last_epochs if n <= epochs] or [epochs]:
        start = load_checkpoint(epoch_checkpoint(checkpoints, epochs - count))["average"] if count < epochs else None
        weights = RunningAverage.between(start, end)
        trainer.model.load_state_dict(weights)
        figures = trainer.validate(trainer.model)
        logging.info("last %d epochs: %s", count, " ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        candidate = {"last_epochs": count, **figures, "chosen": False}
        candidates.append(candidate)
        if best is None or better(figures[name], best[0][name], direction):
            best = (candidate, weights)
    best[0]["chosen"] = True
    return best[1], candidates
