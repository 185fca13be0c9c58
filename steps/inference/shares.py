"""How work is divided: among jobs, and into batches."""

from collections.abc import Iterable, Iterator
from typing import Any


def of_job(items: list, job: int, num_jobs: int) -> list:
    """Every `num_jobs`-th item from the `job`-th (counted from 1): of items sorted by length, an even share."""
    if not 1 <= job <= num_jobs:
        raise ValueError(f"--job {job}: expected a number from 1 to --num-jobs ({num_jobs})")
    return items[job - 1 :: num_jobs]


def groups_by_seconds(items: Iterable[tuple[float, Any]], batch_seconds: float) -> Iterator[list[Any]]:
    """Consecutive items in groups whose longest item times their number is at most `batch_seconds`.

    items are pairs (seconds, item); an item longer than `batch_seconds` is a group of its own.
    """
    group: list[Any] = []
    longest = 0.0
    for seconds, item in items:
        longest = max(longest, seconds)
        if group and longest * (len(group) + 1) > batch_seconds:
            yield group
            group, longest = [], seconds
        group.append(item)
    if group:
        yield group
