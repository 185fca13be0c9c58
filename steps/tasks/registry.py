"""The task of each name that a YAML's `task:` may have."""

from typing import Any

from steps.tasks.asr import AsrTask
from steps.tasks.base import Task

TASKS = {"asr": AsrTask}


def build_task(config: Any) -> Task:
    """The task that `config.task` names, with its configuration."""
    if config.task not in TASKS:
        raise ValueError(f"task: one of {', '.join(TASKS)}; got '{config.task}'")
    return TASKS[config.task](config)
