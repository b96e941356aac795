"""Checks of the `hydra` node: Hydra creates objects that it names, before anything else runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.allowed_targets import defined_at, has_prefix, import_object
from rompy_hydra.compose.validate import walk
from rompy_hydra.errors import InvalidConfig, Problem

# Nodes of which Hydra instantiates each `_target_`.
_INSTANTIATED = ("launcher", "sweeper", "callbacks")
_PLUGINS = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
# Nodes that Hydra passes to `logging.config.dictConfig`, which calls classes and factories by name.
_LOGGING = ("hydra_logging", "job_logging")
_LOGGERS = ("logging.", "colorlog.", "rompy_hydra.")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_hydra_node(config: DictConfig, prefixes: Sequence[str]) -> None:
    """InvalidConfig if Hydra would call something that is neither its own nor allowed."""
    found: list[Problem] = []
    for key in (*_INSTANTIATED, *_LOGGING):
        node = OmegaConf.select(config, f"hydra.{key}", throw_on_missing=False)
        for path, value in walk(node, f"hydra.{key}", _value):
            name = path.rpartition(".")[2]
            reason = None
            if OmegaConf.is_config(value):
                continue
            if key in _INSTANTIATED:
                if name == "_target_":
                    reason = _plugin_problem(value, [*_PLUGINS, *prefixes])
            elif name in ("()", "class"):
                reason = _logger_problem(value, [*_LOGGERS, *prefixes])
            elif isinstance(value, str) and value.startswith("ext://") and value not in _STREAMS:
                reason = f"is not allowed; use {' or '.join(_STREAMS)}"
            if reason:
                found.append(Problem(path, value, reason))
    if found:
        raise InvalidConfig(found)


def _value(node: Any, key: Any) -> Any:
    try:
        return None if OmegaConf.is_missing(node, key) else node[key]
    except OmegaConfBaseException:
        # An interpolation that resolves only later, such as the number of a job; never an object.
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]


def _plugin_problem(name: object, prefixes: Sequence[str]) -> str | None:
    """Why Hydra must not instantiate something; None if it may."""
    if not isinstance(name, str) or not has_prefix(name, prefixes):
        return "is neither a plugin of Hydra nor allowed"
    try:
        home = defined_at(import_object(name))
    except ImportError:
        return None  # Hydra reports it
    return None if has_prefix(home, prefixes) else f"is really {home}, which is not allowed"


def _logger_problem(name: object, prefixes: Sequence[str]) -> str | None:
    """Why the configuration of logging must not name something; None if it may."""
    kinds = (logging.Handler, logging.Formatter, logging.Filter)
    if isinstance(name, str) and has_prefix(name, prefixes):
        try:
            found = import_object(name)
        except ImportError:
            return None  # the configuration of logging reports it
        if isinstance(found, type) and issubclass(found, kinds):
            return None
    return "is not an allowed handler, formatter or filter of logging"
