"""Whether a checkpoint belongs to the run that is asked for."""

from pathlib import Path
from typing import Any

from utils import config as config_file

# Options that may change between a run and its continuation: they do not shape the weights.
FREE = frozenset(
    {
        "data.num_workers",
        "data.batch_seconds",
        "data.dir",
        "data.lang",
        "training.log_every",
        "training.save_every",
        "training.keep_steps",
    }
    | {"training.keep_epochs", "training.nonfinite", "training.max_nonfinite", "training.init_from"}
)
FREE_SECTIONS = ("average.", "decode.", "score.", "ngram.", "graph.", "backend.")


def check_same_run(
    state: dict[str, Any], config: Any, inputs: dict[str, str], folder: Path, ranks_then: int, ranks_now: int
) -> None:
    """Raises ValueError with each difference between the stored run and this one."""
    then, now = _flat(_completed(state["config"], config)), _flat(config_file.to_dict(config))
    differences = [
        f"{key} was {then.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and key not in FREE and not key.startswith(FREE_SECTIONS)
    ]
    stored = {Path(path).name: value for path, value in state["inputs"].items()}
    for path, value in inputs.items():
        if stored.get(Path(path).name) != value:
            differences.append(f"{path} has changed")
    if ranks_then != ranks_now:
        differences.append(f"{ranks_then} processes trained it, now there are {ranks_now}")
    if differences:
        raise ValueError(
            f"{folder}/checkpoints holds a run that was made differently: {'; '.join(differences)}. "
            f"Use another --exp, or --force to start this one afresh."
        )


def _completed(values: dict[str, Any], config: Any) -> dict[str, Any]:
    """Stored values with the defaults of options that did not exist then; unchanged if they no longer fit."""
    try:
        return config_file.to_dict(config_file.from_dict(type(config), values))
    except config_file.ConfigError:
        return values


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
