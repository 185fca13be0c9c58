"""Finds the module that made the first value which is not finite, by running a refused step's batches once more.

The rerun starts from the random state and the buffers that the step started from, so that dropout falls as it fell;
afterwards both are as they were found, and the gradients are not touched. It talks to no other rank: the bare module
is run, and `torch.autograd.grad` passes by the hooks with which DDP exchanges gradients.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steps.tasks.base import Losses
from steps.training.checkpoint import rng_state, set_rng_state

HUGE = 1e15  # squares of gradients above it may add up to more than float32 holds


@dataclass
class Finding:
    """Where a step first was not finite. `place` says which fields are set.

    weights: `parameter`, before the step. batch: a tensor of it. forward: `module`, whose own code made the value.
    loss: all modules are finite. gradient: `module`, through which it was lost, and the first `parameter` (in the order
    of backpropagation) that has a bad one. norm: only the norm of the gradients overflows; `parameter` has the largest.
    nothing: this rank's batches are finite when run again; failed: the search itself ended with an error.
    """

    place: str
    message: str  # a sentence for the log
    module: str | None = None  # dotted name, "" for the model itself
    parameter: str | None = None  # dotted name
    ids: list[str] = field(default_factory=list)  # utterances whose rows are not finite, where rows are utterances
    nan: int = 0  # values of the tensor that are NaN, infinite, and all
    inf: int = 0
    values: int = 0


class FoundError(Exception):
    """Carries a finding out of a forward pass, of which the rest is of no interest."""

    def __init__(self, finding: Finding):
        super().__init__(finding.message)
        self.finding = finding


class Doctor:
    """Examines steps of `model`; `loss_of(model, batch)` is the loss as training computes it."""

    def __init__(self, model: nn.Module, loss_of: Callable[[nn.Module, dict[str, Any]], Losses]):
        self.model = model
        self.loss_of = loss_of
        learned = model.state_dict().keys() & dict(model.named_buffers()).keys()  # the others stay as they were built
        homes = [(name.rpartition("."), name) for name in learned]
        self.homes = [(model.get_submodule(module), leaf, name) for (module, _, leaf), name in homes]
        self.remember()

    def remember(self) -> None:
        """Keeps the random state and the buffers that a step begins with."""
        self.before = rng_state(), {name: getattr(module, leaf).clone() for module, leaf, name in self.homes}

    def restore_buffers(self) -> None:
        """Takes back what the step did to the buffers: batch statistics with a NaN in them would stay NaN."""
        self._set_buffers(self.before[1])

    def examine(self, batches: list[dict[str, Any]]) -> Finding:
        """The first thing that is not finite in the step on `batches`, for which `remember` was called."""
        after = rng_state(), {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        try:
            set_rng_state(self.before[0])
            self._set_buffers(self.before[1])
            return self._search(batches)
        except Exception as error:  # whatever it is, a run that is to go on goes on
            reason = (str(error).strip() or "no message").splitlines()[0]
            return Finding("failed", f"The search for its origin failed ({type(error).__name__}: {reason})")
        finally:
            set_rng_state(after[0])
            self._set_buffers(after[1])

    @torch.no_grad()
    def _set_buffers(self, values: dict[str, Tensor]) -> None:
        for name, buffer in self.model.named_buffers():
            if name in values and values[name].shape == buffer.shape:
                buffer.copy_(values[name])

    def _search(self, batches: list[dict[str, Any]]) -> Finding:
        for name, parameter in self.model.named_parameters():
            if not finite(parameter):
                message = f"The weights {name} were not finite before the step"
                return described(parameter, [], Finding("weights", message, parameter=name))
        largest = (0.0, "")
        for batch in batches:
            for key, value in batch.items():
                if isinstance(value, Tensor) and not finite(value):
                    return described(value, batch["ids"], Finding("batch", f"The batch's own '{key}' is not finite"))
            watch = Watch(self.model, batch["ids"])
            try:
                found, peak = watch.run(partial(self.loss_of, self.model, batch))
            except FoundError as error:
                return error.finding
            if found:
                return found
            largest = max(largest, peak)
        if largest[0] > HUGE:
            message = f"Only the norm of the gradients is not finite; the largest, {largest[0]:.1e}, is of {largest[1]}"
            return Finding("norm", message, parameter=largest[1])
        return Finding("nothing", "Run again, the batches of this rank are finite; see the files of other ranks if any")


@dataclass(frozen=True)
class Point:
    """A tensor between modules; `module` is the one whose code a gradient goes into after it."""

    name: str
    module: str | None


class Watch:
    """Hooks on every module and parameter for one forward and backward pass over a batch with `ids`."""

    def __init__(self, model: nn.Module, ids: list[str]):
        self.model, self.ids = model, ids
        self.running: list[str] = []  # modules that have been called and not returned, outermost first
        self.passed = Point("the loss", None)  # the last point of the backward pass where the gradient was finite
        self.found: Finding | None = None

    def run(self, loss_of: Callable[[], Losses]) -> tuple[Finding | None, tuple[float, str]]:
        """What is not finite in loss or gradient, if anything; the largest gradient and its parameter.

        Raises FoundError for what is not finite before the loss.
        """
        handles = []
        try:
            for name, module in self.model.named_modules():
                handles.append(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
                handles.append(module.register_forward_hook(partial(self._leave, name)))
            learned = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            for name, parameter in learned.items():
                handles.append(parameter.register_hook(partial(self._parameter_gradient, name)))
            total = loss_of().total
            if not finite(total):
                message = "Every module's output is finite, the loss is not"
                return described(total, [], Finding("loss", message)), (0.0, "")
            gradients = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
        peaks = [(float(g.abs().max()), n) for n, g in zip(learned, gradients, strict=True) if g is not None]
        # What reached no parameter (a ReLU gives 0 for it) is not what the step was refused for.
        return self.found if self.found and self.found.parameter else None, max(peaks, default=(0.0, ""))

    def _enter(self, name: str, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        caller = self.running[-1] if self.running else ""
        for tensor in tensors((args, kwargs)):
            # A mask of -inf is meant, and asks for no gradient; the batch itself has been looked at.
            if tensor.requires_grad and not finite(tensor):
                message = f"First not finite: what {self._called(caller)} computed before it called {name}"
                raise FoundError(described(tensor, self.ids, Finding("forward", message, caller)))
            self._follow(tensor, Point(f"the input of {name}", caller))
        self.running.append(name)

    def _leave(self, name: str, module: nn.Module, args: tuple, output: Any) -> None:
        self.running.pop()
        for tensor in tensors(output):
            if not finite(tensor):
                message = f"First not finite: the output of {self._called(name)}"
                raise FoundError(described(tensor, self.ids, Finding("forward", message, name)))
            self._follow(tensor, Point(f"the output of {self._called(name)}", name))

    def _follow(self, tensor: Tensor, point: Point) -> None:
        """Looks at the gradient here, once for a tensor that is handed on from module to module as it is."""
        if tensor.grad_fn is not None and getattr(tensor, "followed", None) != tensor._version:
            tensor.followed = tensor._version
            tensor.register_hook(partial(self._gradient, point))

    def _gradient(self, point: Point, gradient: Tensor) -> None:
        if self.found is None and finite(gradient):
            self.passed = point
        elif self.found is None:
            self.found = described(gradient, self.ids, self._lost_before(point.name))

    def _parameter_gradient(self, name: str, gradient: Tensor) -> None:
        if finite(gradient) or (self.found and self.found.parameter):
            return
        self.found = self.found or described(gradient, [], self._lost_before(f"the parameter {name}"))
        self.found.parameter = name
        self.found.message += f"; the first parameter with a bad gradient is {name}"

    def _lost_before(self, point: str) -> Finding:
        message = f"The gradient was finite at {self.passed.name}, and is not at {point}"
        return Finding("gradient", message, module=self.passed.module)

    def _called(self, name: str) -> str:
        kind = type(self.model.get_submodule(name)).__name__
        return f"{name} ({kind})" if name else f"the model ({kind})"


def finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return bool(torch.isfinite(tensor.detach()).all())


def described(tensor: Tensor, ids: list[str], finding: Finding) -> Finding:
    """`finding` with the numbers of the tensor's bad values, and with those `ids` whose rows have some."""
    bad = ~torch.isfinite(tensor.detach())
    finding.nan, finding.values = int(tensor.detach().isnan().sum()), tensor.numel()
    finding.inf = int(bad.sum()) - finding.nan
    finding.message += f" ({finding.nan} NaN and {finding.inf} infinite of {finding.values} values)"
    if ids and tensor.dim() > 0 and tensor.shape[0] == len(ids):
        rows = bad.reshape(len(ids), -1).any(dim=1).tolist()
        finding.ids = [name for name, row in zip(ids, rows, strict=True) if row]
    return finding


def tensors(value: Any) -> Iterator[Tensor]:
    """Every floating-point tensor in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors([getattr(value, part.name) for part in fields(value)])
