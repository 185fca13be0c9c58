"""Typed configuration: a dataclass, a YAML file and `key=value` overrides become one checked value.

A default is written once, in the dataclass; a YAML file holds the values of one experiment. An unknown
key, a wrong type or a value that the dataclass's `__post_init__` refuses stops the run with the file,
the key and the nearest right one. Nothing writes to a config after it is loaded.
"""

import dataclasses
import difflib
import hashlib
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from utils import atomic

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that the user can mend: the message says where and how."""


def load(schema: type[T], file: Path | str | None = None, overrides: Sequence[str] = ()) -> T:
    """Returns an instance of the dataclass `schema`.

    `file` is a YAML file and `overrides` are strings such as `training.epochs=2`, which win over it.
    Raises ConfigError for an unknown key, a wrong type, a missing value, or one refused by the dataclass.
    """
    merged = OmegaConf.structured(schema)
    if file is not None:
        merged = _merge(merged, _read(Path(file)), str(file))
    for text in overrides:
        merged = _override(merged, text)
    return _checked(merged, str(file or schema.__name__))


def peek(file: Path | str, key: str) -> Any:
    """The value of one key at the top of a YAML file, None if it has none: to choose the schema by."""
    return OmegaConf.to_container(_read(Path(file))).get(key)


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested plain dicts and lists, as it goes into a checkpoint."""
    return typing.cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config), resolve=True))


def from_dict(schema: type[T], values: dict[str, Any]) -> T:
    """The inverse of `to_dict`, with the same checks as `load`."""
    source = "the stored config"
    return _checked(_merge(OmegaConf.structured(schema), OmegaConf.create(values), source), source)


def override(config: T, overrides: Sequence[str]) -> T:
    """The config with `key=value` overrides, checked as `load` does."""
    merged = OmegaConf.structured(config)
    for text in overrides:
        merged = _override(merged, text)
    return _checked(merged, "overrides")


def dump(config: Any, file: Path | str) -> None:
    """Writes the resolved config as YAML that `load` reads back to an equal value."""
    atomic.write_text(file, OmegaConf.to_yaml(OmegaConf.structured(config)))


def digest(config: Any) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the resolved config; equal configs, equal digests."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def _read(file: Path) -> Any:
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f"; {file.parent} has {', '.join(beside)}" if beside else ""
        raise ConfigError(f"{file}: no such file{hint}")
    try:
        content = OmegaConf.load(file)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {_one_line(error)}") from error
    if not OmegaConf.is_dict(content):
        raise ConfigError(f"{file}: expected a mapping of keys to values at the top")
    return content


def _override(merged: Any, text: str) -> Any:
    key, separator, _ = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"override '{text}': expected key=value, for instance training.epochs=2")
    try:
        update = OmegaConf.from_dotlist([text])
    except YAMLError as error:
        raise ConfigError(f"override '{text}': the value is not valid YAML: {_one_line(error)}") from error
    return _merge(merged, update, f"override '{text}'")


def _checked(merged: Any, source: str) -> Any:
    """The dataclass instance, with what its `__post_init__` says of it."""
    try:
        return OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"{source}: {_first_line(error)}") from error


def _merge(base: Any, update: Any, source: str) -> Any:
    _check_keys(OmegaConf.get_type(base), OmegaConf.to_container(update), source, "")
    try:
        return OmegaConf.merge(base, update)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise ConfigError(f"{source}: {f'{key}: ' if key else ''}{_first_line(error)}") from error


def _check_keys(schema: Any, values: Any, source: str, prefix: str) -> None:
    """Walks YAML and dataclass together, so that the error names the full key and the nearest right one."""
    if not dataclasses.is_dataclass(schema):
        return
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: {prefix.rstrip('.')}: expected keys and values, got {values!r}")
    fields = typing.get_type_hints(schema)
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known keys: {', '.join(fields)}"
            raise ConfigError(f"{source}: unknown key '{prefix}{key}'; {hint}")
        _check_keys(fields[key], value, source, f"{prefix}{key}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
