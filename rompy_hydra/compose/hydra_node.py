"""Hydra's own part of a configuration: it makes objects by name as well, before anything else runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.allowed_targets import resolved
from rompy_hydra.errors import ConfigError, InvalidConfig, Problem

# What Hydra instantiates: nodes with `_target_`.
_INSTANTIATED = ("launcher", "sweeper", "callbacks")
_PLUGINS = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
# What goes to `logging.config.dictConfig`: classes and factories by name.
_LOGGING = ("hydra_logging", "job_logging")
_LOGGERS = ("logging.", "colorlog.", "rompy_hydra.")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_hydra_part(config: DictConfig, prefixes: Sequence[str]) -> None:
    """InvalidConfig if a file would make Hydra call something that is neither its own nor allowed."""
    found: list[Problem] = []
    for key in _INSTANTIATED:
        for path, name in _named(config, f"hydra.{key}", ("_target_",)):
            if reason := _not_a_plugin(name, [*_PLUGINS, *prefixes]):
                found.append(Problem(path, name, reason))
    for key in _LOGGING:
        for path, name in _named(config, f"hydra.{key}", ("()", "class")):
            if reason := _no_logger(name, [*_LOGGERS, *prefixes]):
                found.append(Problem(path, name, reason))
        for path, value in _values(config, f"hydra.{key}"):
            if isinstance(value, str) and value.startswith("ext://") and value not in _STREAMS:
                found.append(Problem(path, value, f"is not allowed; only {' and '.join(_STREAMS)} are"))
    if found:
        raise InvalidConfig(found)


def _named(config: DictConfig, path: str, keys: Sequence[str]) -> Iterator[tuple[str, object]]:
    for where, value in _values(config, path):
        if where.rpartition(".")[2] in keys:
            yield where, value


def _values(config: DictConfig, path: str) -> Iterator[tuple[str, object]]:
    """All values below a node, also those that its interpolations lead to."""
    node = OmegaConf.select(config, path, throw_on_missing=False)
    yield from _below(node, path)


def _below(node: Any, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for key in node:
            yield from _below(_value(node, key), f"{path}.{key!s}")
    elif isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        for number in range(len(node)):
            yield from _below(_value(node, number), f"{path}[{number}]")
    else:
        yield path, node


def _value(node: Any, key: Any) -> Any:
    try:
        return None if OmegaConf.is_missing(node, key) else node[key]
    except OmegaConfBaseException:
        # What is only known later, such as the number of a job; an object is nothing of that kind.
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]


def _not_a_plugin(name: object, prefixes: Sequence[str]) -> str | None:
    """Why Hydra must not instantiate something; None if it may."""
    if not isinstance(name, str) or not name.startswith(tuple(prefixes)):
        return "is neither a plugin of Hydra nor allowed"
    try:
        found = resolved(name)
    except ImportError:
        return None  # Hydra says what is missing
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    return None if home.startswith(tuple(prefixes)) else f"is really {home}, which is not allowed"


def _no_logger(name: object, prefixes: Sequence[str]) -> str | None:
    kinds = (logging.Handler, logging.Formatter, logging.Filter)
    if isinstance(name, str) and name.startswith(tuple(prefixes)):
        try:
            found = resolved(name)
        except (ImportError, ConfigError):
            return None
        if isinstance(found, type) and issubclass(found, kinds):
            return None
    return "is no handler, formatter or filter of logging that is allowed"
