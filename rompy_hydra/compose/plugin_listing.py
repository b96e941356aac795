"""The installed plugins: whether each can be used, and its settings with types and defaults."""

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
from rompy_hydra.plugins.signatures import METHODS, defaults, key_of, method_of, settings_model

OK, BROKEN, SHADOWED, AMBIGUOUS = "ok", "broken", "shadowed", "ambiguous"
# The method of a configuration object, which may replace the plugin itself.
_OF_CONFIG = {"run": "get_backend_class", "postprocess": "get_postprocessor_class"}


@dataclass(frozen=True)
class Setting:
    """A setting of a plugin. `default` is plain data, None if the setting is required."""

    name: str
    type: str
    default: Json
    required: bool
    meaning: str


@dataclass(frozen=True)
class PluginInfo:
    """A plugin: how to select it, its distribution, and its state. `seconds` is its import time."""

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


def list_plugins(group: str) -> Iterator[PluginInfo]:
    """All plugins of a config group; those that a name alone selects are imported to find their state."""
    for _name, found in sorted(registry.plugins(GROUPS[group]).items()):
        clash = registry.rivals(found)
        for plugin in found:
            if clash:
                choices = " or ".join(rival.qualified for rival in clash)
                yield _info(group, plugin, AMBIGUOUS, f"choose {choices}")
            elif plugin is found[0]:
                yield inspect_plugin(group, plugin)
            elif plugin.key != found[0].key:
                why = f"by that of {found[0].distribution}; choose {plugin.qualified}"
                yield _info(group, plugin, SHADOWED, why)


def inspect_plugin(group: str, plugin: Plugin) -> PluginInfo:
    """Import a plugin; it is broken if that fails, or if it lacks the method of its category."""
    begin = time.monotonic()
    try:
        # A module may print something when it is imported.
        with contextlib.redirect_stdout(sys.stderr):
            found = plugin.load()
        _check(plugin, found)
        settings = list(_settings(group, plugin, found))
    except PluginError as error:
        cause = error.__cause__
        why = f"{type(cause).__name__}: {cause}" if cause else str(error)
        return _info(group, plugin, BROKEN, why)
    about = (inspect.getdoc(found) or "") if isinstance(found, type) else ""
    seconds = round(time.monotonic() - begin, 2)
    return _info(group, plugin, OK, about=about, seconds=seconds, settings=settings)


def _info(group: str, plugin: Plugin, state: str, why: str = "", **facts: Any) -> PluginInfo:
    return PluginInfo(
        group, plugin.name, plugin.distribution, plugin.version, plugin.value, state, why, **facts
    )


def _check(plugin: Plugin, found: object) -> None:
    """PluginError if a plugin cannot be called as its category requires."""
    method = METHODS.get(plugin.category)
    if method is None:
        if not callable(found):
            raise PluginError(f"{plugin.value} is neither a class nor a function")
    elif not method_of(found, plugin.category) and not hasattr(found, _OF_CONFIG.get(plugin.category, "")):
        what = registry.WHAT[plugin.category]
        raise PluginError(f"{plugin.value} is not a {what}: it has no method {method}()")


def _settings(group: str, plugin: Plugin, found: object) -> Iterator[Setting]:
    model = settings_model(found, plugin.category)
    if model is None:
        return
    default_of = plain(dict(defaults(model, None)))
    # The comments of this package's own YAML files say what the settings mean.
    path = config_dir() / group / f"{plugin.name}.yaml"
    text = path.read_text() if plugin.own and path.is_file() else ""
    comments = dict(re.findall(r"(?m)^(\w+):.*?\s#\s*(.+?)\s*$", text))
    for name, info in model.model_fields.items():
        key = key_of(model, name)
        meaning = info.description or comments.get(key, "")
        kind = ", ".join([type_text(info.annotation), *map(_bound, info.metadata)]).rstrip(", ")
        yield Setting(key, kind, default_of.get(key), info.is_required(), meaning)


def _bound(constraint: object) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of"}
    return " ".join(f"{s} {getattr(constraint, n)}" for n, s in signs.items() if hasattr(constraint, n))


def type_text(kind: Any) -> str:
    """A type in a readable form.

    >>> type_text(dict[str, int | None])
    'dict[str, int | null]'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return "anything"
    if kind in (None, NoneType):
        return "null"
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin in (typing.Union, UnionType):
        return " | ".join(dict.fromkeys(type_text(each) for each in arguments))
    name = str(getattr(origin or kind, "__name__", kind))
    inner = ["..." if each is ... else type_text(each) for each in arguments if not isinstance(each, list)]
    return f"{name}[{', '.join(inner)}]" if arguments else name
