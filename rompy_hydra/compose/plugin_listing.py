"""What is known of the installed plugins: their states, and their settings with types and defaults."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any

from rompy_hydra.compose.composer import config_dir
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.errors import PluginError
from rompy_hydra.jsonable import Json, plain
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.registry import Plugin
from rompy_hydra.plugins.signatures import defaults, key_of, method_of, settings_model

OK, BROKEN, SHADOWED, AMBIGUOUS = "ok", "broken", "shadowed", "ambiguous"
_REQUIRED = object()
# What a plugin of each category must have, or else its configuration.
_NEEDED = {"run": "get_backend_class", "postprocess": "get_postprocessor_class", "pipeline": ""}


@dataclass(frozen=True)
class Setting:
    """One setting of a plugin: `default` is its JSON, None where a value must be given."""

    name: str
    type: str
    default: Json
    required: bool
    meaning: str


@dataclass(frozen=True)
class Listed:
    """One plugin: how it is chosen, whose it is, and in what state it is."""

    group: str
    name: str
    distribution: str
    version: str
    entry_point: str
    state: str
    why: str = ""
    about: str = ""
    seconds: float | None = None
    settings: list[Setting] = field(default_factory=list)


def listed(group: str) -> Iterator[Listed]:
    """All plugins of a config group; those that a name chooses are imported to tell their state."""
    for _name, found in sorted(registry.plugins(GROUPS[group]).items()):
        clash = registry.rivals(found)
        for plugin in found:
            if clash:
                choices = " or ".join(rival.qualified for rival in clash)
                yield _listed(group, plugin, AMBIGUOUS, f"choose {choices}")
            elif plugin is found[0]:
                yield examined(group, plugin)
            elif plugin.key != found[0].key:
                why = f"by that of {found[0].distribution}; choose {plugin.qualified}"
                yield _listed(group, plugin, SHADOWED, why)


def examined(group: str, plugin: Plugin) -> Listed:
    """A plugin, imported: it is broken if that fails, or if it is nothing that could be called."""
    begin = time.monotonic()
    try:
        # What a module prints when it is imported is no part of a list.
        with contextlib.redirect_stdout(sys.stderr):
            found = plugin.load()
        _check(plugin, found)
        settings = list(_settings(group, plugin, found))
    except PluginError as error:
        cause = error.__cause__
        why = f"{type(cause).__name__}: {cause}" if cause else str(error)
        return _listed(group, plugin, BROKEN, why)
    about = (inspect.getdoc(found) or "") if isinstance(found, type) else ""
    return _listed(
        group, plugin, OK, about=about, seconds=round(time.monotonic() - begin, 2), settings=settings
    )


def _listed(group: str, plugin: Plugin, state: str, why: str = "", **facts: Any) -> Listed:
    return Listed(
        group, plugin.name, plugin.distribution, plugin.version, plugin.value, state, why, **facts
    )


def _check(plugin: Plugin, found: object) -> None:
    needed = _NEEDED.get(plugin.category)
    if needed is None and not callable(found):
        raise PluginError(f"{plugin.value} is neither a class nor a function")
    if needed is not None and method_of(found, plugin.category) is None and not hasattr(found, needed):
        raise PluginError(f"{plugin.value} is no {registry.WHAT[plugin.category]}: it has no such method")


def _settings(group: str, plugin: Plugin, found: object) -> Iterator[Setting]:
    model = settings_model(found, plugin.category)
    if model is None:
        return
    known = plain(dict(defaults(model, None)))
    comments = _comments(group, plugin) if plugin.own else {}
    for name, info in model.model_fields.items():
        key = key_of(model, name)
        meaning = info.description or comments.get(key, "")
        kind = ", ".join([type_text(info.annotation), *map(_limit, info.metadata)]).rstrip(", ")
        yield Setting(key, kind, known.get(key), info.is_required(), meaning)


def _comments(group: str, plugin: Plugin) -> dict[str, str]:
    """The meanings of this package's own settings, which its YAML files tell."""
    path = config_dir() / group / f"{plugin.name}.yaml"
    text = path.read_text() if path.is_file() else ""
    return dict(re.findall(r"(?m)^(\w+):.*?\s#\s*(.+?)\s*$", text))


def _limit(constraint: object) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of"}
    told = [f"{s} {getattr(constraint, n)}" for n, s in signs.items() if hasattr(constraint, n)]
    return " ".join(told)


def type_text(kind: Any) -> str:
    """A type as a person reads it.

    >>> type_text(dict[str, int | None])
    'dict[str, int | None]'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return "anything"
    if kind in (None, NoneType):
        return "null"
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " | ".join(repr(each) for each in arguments)
    if origin in (typing.Union, UnionType):
        return " | ".join(dict.fromkeys(type_text(each) for each in arguments))
    name = getattr(origin or kind, "__name__", str(kind))
    if arguments:
        inner = [
            "..." if each is ... else type_text(each) for each in arguments if not isinstance(each, list)
        ]
        return f"{name}[{', '.join(inner)}]"
    return str(name)
