"""Which recordings of noise and of rooms a split may use, where the corpus has not divided them."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection

from steps.data.mixture_config import SPLITS

HELD_OUT = 0.1  # share of the recordings that each of dev and test gets


def share_of(ids: Collection[str], split: str, what: str) -> set[str]:
    """The recordings that a split may use, about HELD_OUT of each sort for dev and test, by a hash of their names.

    A sort is what the names have in common when their digits are taken out, such as the folder. Raises ValueError where
    dev, test or train would have none.
    """
    sorts: dict[str, list[str]] = defaultdict(list)
    for id in ids:
        sorts[re.sub(r"\d+", "", id)].append(id)
    shares: dict[str, set[str]] = {name: set() for name in SPLITS}
    small: list[str] = []
    for _, members in sorted(sorts.items()):
        if len(members) < len(SPLITS):
            small += members
            continue
        _divide(members, shares)
    _divide(small, shares)
    if not shares[split]:
        raise ValueError(f"{len(ids)} {what} are too few to give {split} its own; at least {len(SPLITS)} are needed")
    return shares[split]


def _divide(members: list[str], shares: dict[str, set[str]]) -> None:
    ordered = sorted(members, key=lambda id: hashlib.sha256(id.encode()).hexdigest())
    count = max(1, round(HELD_OUT * len(ordered)))
    shares["test"].update(ordered[:count])
    shares["dev"].update(ordered[count : 2 * count])
    shares["train"].update(ordered[2 * count :])
