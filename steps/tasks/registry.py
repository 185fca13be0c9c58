"""The task of each name that a YAML's `task:` may have."""

from importlib import import_module
from typing import Any

from steps.tasks.base import Task

TASKS = {
    "asr": ("steps.tasks.asr", "AsrTask"),
    "speaker": ("steps.tasks.speaker", "SpeakerTask"),
    "separation": ("steps.tasks.separation", "SeparationTask"),
    "enhancement": ("steps.tasks.enhancement", "EnhancementTask"),
}


def build_task(config: Any) -> Task:
    """The task that `config.task` names, with its configuration; what other tasks need is not imported."""
    if config.task not in TASKS:
        raise ValueError(f"task: one of {', '.join(TASKS)}; got '{config.task}'")
    module, name = TASKS[config.task]
    return getattr(import_module(module), name)(config)
