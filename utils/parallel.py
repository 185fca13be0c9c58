"""Work spread over processes that start clean and do not outlive the one that started them."""

import contextlib
import ctypes
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_PR_SET_PDEATHSIG = 1
_MOST_PER_MESSAGE = 64


def parallel(function: Callable[[Item], Result], items: Sequence[Item], num_jobs: int) -> Iterator[Result]:
    """`function` of each item, in the order of the items, computed by `num_jobs` processes.

    The processes are spawned, not forked, so that they have neither threads nor large modules of this one;
    function and items must be picklable.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=context, initializer=_die_with_parent) as pool:
        chunk = max(1, min(_MOST_PER_MESSAGE, len(items) // (4 * num_jobs)))
        yield from pool.map(function, items, chunksize=chunk)


def _die_with_parent() -> None:
    """A pool's process would wait for work for ever if its parent were killed; Linux can end it instead."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
