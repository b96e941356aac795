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
_SAMPLERS = "optuna.samplers."  # which Hydra's plugin for Optuna names; they only compute
# Nodes that Hydra passes to `logging.config.dictConfig`, which calls classes and factories by name.
_LOGGING = ("hydra_logging", "job_logging")
_LOGGERS = ("logging.", "colorlog.", "rompy_hydra.")
_KINDS = (logging.Handler, logging.Formatter, logging.Filter)
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_hydra_node(config: DictConfig, prefixes: Sequence[str]) -> None:
    """InvalidConfig if Hydra would call something that is neither its own nor allowed."""
    found: list[Problem] = []
    for key in (*_INSTANTIATED, *_LOGGING):
        for_logging = key in _LOGGING
        allowed = [*(_LOGGERS if for_logging else _PLUGINS), *prefixes]
        if key == "sweeper":
            allowed.append(_SAMPLERS)
        node = OmegaConf.select(config, f"hydra.{key}", throw_on_missing=False)
        for path, value in walk(node, f"hydra.{key}", _value):
            name = path.rpartition(".")[2]
            reason = None
            if OmegaConf.is_config(value):
                continue
            if name in (("()", "class") if for_logging else ("_target_",)):
                reason = _refusal(value, allowed, for_logging)
            elif (
                for_logging
                and isinstance(value, str)
                and value.startswith("ext://")
                and value not in _STREAMS
            ):
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


def _refusal(name: object, prefixes: Sequence[str], for_logging: bool) -> str | None:
    """Why Hydra, or the configuration of logging, must not create something; None if it may."""
    refusal = "is neither a plugin of Hydra nor allowed"
    if for_logging:
        refusal = "is not an allowed handler, formatter or filter of logging"
    if not isinstance(name, str) or not has_prefix(name, prefixes):
        return refusal
    try:
        found = import_object(name)
    except ImportError:
        return None  # reported by what imports it
    if for_logging:
        return None if isinstance(found, type) and issubclass(found, _KINDS) else refusal
    home = defined_at(found)
    return None if has_prefix(home, prefixes) else f"is really {home}, which is not allowed"
