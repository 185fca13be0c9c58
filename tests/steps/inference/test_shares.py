"""How work is shared out among jobs and into batches."""

import pytest

from steps.inference.shares import groups_by_seconds, of_job


def test_groups_hold_no_more_than_their_padded_seconds() -> None:
    items = [(3.0, "a"), (3.0, "b"), (9.0, "c"), (1.0, "d"), (1.0, "e"), (20.0, "f"), (2.0, "g")]
    groups = list(groups_by_seconds(items, 10.0))
    assert groups == [["a", "b"], ["c"], ["d", "e"], ["f"], ["g"]]
    assert list(groups_by_seconds([], 10.0)) == []


def test_jobs_outside_the_range_are_refused() -> None:
    assert of_job([1, 2, 3], 2, 4) == [2]
    assert of_job([1, 2, 3], 4, 4) == []
    for job in (0, 5):
        with pytest.raises(ValueError, match=rf"--job {job}: expected a number from 1 to --num-jobs \(4\)"):
            of_job([1, 2, 3], job, 4)
