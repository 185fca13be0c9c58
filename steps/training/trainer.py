"""The loop that trains every task's model, and that goes on where it was cut off."""

import contextlib
import logging
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from steps.tasks.base import Losses, Task
from steps.training import checkpoint
from steps.training.dist import World
from steps.training.doctor import Doctor
from steps.training.guard import NonFiniteGuard
from steps.training.meters import Clock, Journal, Meter
from steps.training.optim import build_optimizer, learning_rate
from steps.training.resume import check_same_run
from utils import atomic, provenance
from utils import config as config_file


class Trainer:
    """Trains `task` in the directory `folder` (exp/<name>); see `fit`."""

    def __init__(self, task: Task, folder: Path, world: World):
        self.task, self.folder, self.world = task, folder, world
        self.config = task.config.training
        self.checkpoints = folder / "checkpoints"

        torch.manual_seed(task.config.seed)
        self.model = task.build_model()
        self._load_initial_weights()
        self.wrapped = world.wrap(self.model)
        self.optimizer = build_optimizer(self.model, self.config)
        self.dtype = autocast_dtype(self.config.precision, world.device)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.dtype is torch.float16)
        self.average = checkpoint.RunningAverage()
        self.doctor = Doctor(self.model, self._loss)
        self.guard = NonFiniteGuard(self.config, world, folder, self.doctor)

        self.batches = task.batches("train", world.rank, world.size)
        self.valid_batches = task.batches("dev", world.rank, world.size)
        self.inputs = {path: provenance.fingerprint(path) for path in task.inputs()}
        self.step = 0
        self.stop_signal = 0

    def fit(self) -> None:
        """Trains until `training.epochs` are done, from the newest checkpoint in the directory if there is one.

        After each epoch dev is evaluated and a checkpoint written. SIGTERM and SIGINT write a checkpoint
        after the step in progress and exit with 128 + the signal's number. Raises ValueError when the
        directory holds a run with other options or inputs.
        """
        self._restore()
        if self.batches.epoch >= self.config.epochs:
            logging.info("%s: training is complete (%d epochs)", self.folder, self.config.epochs)
            return
        # Each rank draws its own dropout; what was drawn so far must be the same for the weights' sake.
        if self.step == 0:
            torch.manual_seed(self.task.config.seed * 1000 + self.world.rank)
        journal = Journal(self.folder, self.world, self.step)
        self.clock = Clock(self.folder / "train.json", resumed=self.step > 0)
        self._describe()
        with self._signals():
            while self.batches.epoch < self.config.epochs:
                self._train_epoch(journal)
                self._finish_epoch(journal)
        journal.close()

    def _train_epoch(self, journal: Journal) -> None:
        meter, epoch = Meter(), self.batches.epoch
        bar = tqdm(
            total=self.batches.total, initial=self.batches.seen, unit="utt", disable=None, leave=False,
            desc=f"epoch {epoch + 1}/{self.config.epochs}",
        )  # fmt: skip
        with bar:
            for group in groups_of(self.config.accumulate, self.batches):
                lr = self._train_step(group, meter)
                bar.update(self.batches.seen - bar.n)
                if self.step % self.config.log_every == 0:
                    figures = {**meter.means(self.world), **meter.throughput(self.world)}
                    journal.write("train", {"step": self.step, "epoch": epoch, "lr": lr, **figures})
                    meter = Meter()
                if self.step % self.config.save_every == 0 or self.stop_signal:
                    self._save(checkpoint.step_checkpoint(self.checkpoints, self.step))
                    self._remove_old("step-*.pt", self.config.keep_steps)
                if self.stop_signal:
                    logging.warning("stopped by signal %d after step %d", self.stop_signal, self.step)
                    sys.exit(128 + self.stop_signal)

    def _train_step(self, group: list[dict[str, Any]], meter: Meter) -> float:
        """One optimiser step on the batches of `group`; returns its learning rate."""
        self.doctor.remember()
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(batch, last=batch is group[-1]) for batch in group]

        # Gradients are sums so far (DDP has divided them by the number of ranks): divide once, by all that counts.
        weight, utterances = self.world.sum(
            [sum(part.weight for part in losses), float(sum(len(batch["ids"]) for batch in group))]
        )
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, self.world.size / max(weight, 1e-12))
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))

        lr = learning_rate(self.config, self.step, self.progress)
        loss = sum(float(part.total.detach()) for part in losses)
        if self.guard.accepts(loss, norm, self.scaler.is_enabled(), group, self.step):
            self._set_learning_rate(lr)
            self.scaler.step(self.optimizer)
            for part, batch in zip(losses, group, strict=True):
                meter.add(part, batch["seconds"])
        self.scaler.update()
        self.step += 1
        self.batches.count(int(utterances))
        if self.step % self.config.average_period == 0:
            self.average.update(self.model)
        return lr

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return (self.batches.epoch + self.batches.fraction) / self.config.epochs

    def _set_learning_rate(self, lr: float) -> None:
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr

    def _backward(self, batch: dict[str, Any], last: bool) -> Losses:
        """Adds the gradients of one batch; with several ranks they are exchanged at the last of a group."""
        together = last or self.world.size == 1
        with contextlib.nullcontext() if together else self.wrapped.no_sync():
            losses = self._loss(self.wrapped, batch)
            self.scaler.scale(losses.total).backward()
        return losses

    def _loss(self, model: nn.Module, batch: dict[str, Any]) -> Losses:
        device = self.world.device
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32):
            return self.task.loss(model, moved, self.step)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """The figures of dev for a model on the device."""
        meter, outputs = Meter(), []
        model.eval()
        self.valid_batches.load_state_dict({"epoch": 0, "position": 0, "seen": 0})
        for batch in self.valid_batches:
            losses = self._loss(model, batch)
            meter.add(losses, batch["seconds"])
            if losses.outputs is not None:
                outputs.append(losses.outputs)
        return {**meter.means(self.world), **self.task.review(self.world.gather(outputs))}

    def _finish_epoch(self, journal: Journal) -> None:
        figures = self.validate(self.model)
        done = self.batches.epoch
        self.batches.next_epoch()
        journal.write("valid", {"step": self.step, "epoch": done, **figures})
        if self.average.count == 0:  # an epoch shorter than average_period
            self.average.update(self.model)
        self._save(checkpoint.epoch_checkpoint(self.checkpoints, done + 1), figures)
        self._remove_old("epoch-*.pt", self.config.keep_epochs)

    def _save(self, file: Path, figures: dict[str, float] | None = None) -> None:
        generators = self._gather_rng()
        if not self.world.is_main:
            return
        state = {
            "step": self.step,
            "config": config_file.to_dict(self.task.config),
            "inputs": self.inputs,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "batches": self.batches.state_dict(),
            "rng": generators,
            "figures": figures or {},
        }
        checkpoint.save_checkpoint(file, state)
        self.clock.save()

    def _gather_rng(self) -> list[dict[str, Any]]:
        """The generators' states of all ranks, in order of rank."""
        return self.world.gather([checkpoint.rng_state()])

    def _restore(self) -> None:
        if os.environ.get("RECIPE_FORCE") == "true" and self.world.is_main:
            atomic.remove(self.checkpoints)
        if self.world.size > 1:
            torch.distributed.barrier()
        state = checkpoint.latest_checkpoint(self.checkpoints) if self.checkpoints.is_dir() else None
        if state is None:
            return
        check_same_run(state, self.task.config, self.inputs, self.folder, len(state["rng"]), self.world.size)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.batches.load_state_dict(state["batches"])
        checkpoint.set_rng_state(state["rng"][self.world.rank])
        self.step = state["step"]

    def _load_initial_weights(self) -> None:
        """Takes the weights of `training.init_from` that fit; an output layer of other tokens stays fresh."""
        if not self.config.init_from:
            return
        given = checkpoint.load_checkpoint(self.config.init_from)["model"]
        own = self.model.state_dict()
        fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
        fresh = sorted(own.keys() - fitting.keys())
        if sum(own[name].numel() for name in fitting) < 0.5 * sum(value.numel() for value in own.values()):
            raise ValueError(
                f"training.init_from: {self.config.init_from} is of another model; it lacks, or has in other shapes, "
                f"{', '.join(fresh[:5])}{' and more' if len(fresh) > 5 else ''}"
            )
        self.model.load_state_dict({**own, **fitting})
        logging.info("weights of %s; fresh: %s", self.config.init_from, ", ".join(fresh) or "none")

    def _remove_old(self, pattern: str, keep: int) -> None:
        if keep and self.world.is_main:
            checkpoint.remove_old(self.checkpoints, pattern, keep)

    def _describe(self) -> None:
        if not self.world.is_main:
            return
        config_file.dump(self.task.config, self.folder / "config.yaml")
        device = self.world.device
        facts = {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
            "precision": str(self.dtype).removeprefix("torch."),
            "ranks": self.world.size,
            "torch": torch.__version__,
        }
        self.clock.save(facts)
        logging.info("training: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def remember(number: int, _: Any) -> None:
            self.stop_signal = number

        before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in. Raises ValueError for fp16 on a CPU."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("training.precision=fp16 needs a GPU; use fp32 or auto on a CPU")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def groups_of(size: int, batches: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists of `size` batches; the last may be shorter. No batch is taken before it is needed."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


def better(candidate: float, best: float, direction: str) -> bool:
    """Whether `candidate` is finite and beats `best`; `direction` is min or max."""
    if not math.isfinite(candidate):
        return False
    return candidate < best if direction == "min" else candidate > best
