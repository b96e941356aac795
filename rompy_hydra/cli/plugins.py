"""`rompy-hydra plugins [GROUP [NAME]] [--json]`: show the installed plugins, their states and settings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import json
import re
import sys
import textwrap
import time
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any

from rompy_hydra.cli import explain_usage
from rompy_hydra.cli.report import say, table
from rompy_hydra.compose.composer import config_dir
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.errors import ConfigError, PluginError, closest
from rompy_hydra.jsonable import plain
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.registry import Plugin
from rompy_hydra.plugins.signatures import METHODS, defaults, key_of, method_of, settings_model

OK, BROKEN, SHADOWED, AMBIGUOUS = "ok", "broken", "shadowed", "ambiguous"
# The method of a configuration object, which may replace the plugin itself.
_OF_CONFIG = {"run": "get_backend_class", "postprocess": "get_postprocessor_class"}
_SLOW_IMPORT = 0.5  # seconds; slower imports are reported
_WIDTH = 100
_MAX_DEFAULT = 40  # characters


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
    # The name, type, default (None if it is required) and meaning of each.
    settings: list[dict[str, Any]] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    """Print the plugins and return 0. ConfigError or PluginError if the named one is unknown or broken."""
    arguments = explain_usage(_parser()).parse_args(list(argv))
    groups = [_group(arguments.group)] if arguments.group else list(GROUPS)
    if arguments.name:
        found = [inspect_plugin(groups[0], registry.find(GROUPS[groups[0]], arguments.name))]
    else:
        found = [each for group in groups for each in list_plugins(group)]
    if arguments.json:
        say([json.dumps([dataclasses.asdict(each) for each in found], indent=2)])
    elif arguments.name:
        say(_detail(found[0], arguments.name))
    else:
        say(_overview(found))
    if arguments.name and found[0].state == BROKEN:
        plugin = found[0]
        raise PluginError(
            f"{plugin.name} of {plugin.distribution} {plugin.version} is broken: {plugin.why}. Update or "
            f"uninstall {plugin.distribution}, or choose another option of {plugin.group}"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rompy-hydra plugins", description=__doc__)
    parser.add_argument("group", nargs="?", help=f"{', '.join(GROUPS)}; default: all")
    parser.add_argument(
        "name", nargs="?", help="show the settings of one plugin: NAME or DISTRIBUTION:NAME"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _group(name: str) -> str:
    """A config group, by its name or by its category of plugins."""
    key = name.replace("-", "_")
    for group, category in GROUPS.items():
        if key in (group, category):
            return group
    raise ConfigError(f"there is no group '{name}' of plugins. {closest(key, GROUPS)}")


def _overview(found: Sequence[PluginInfo]) -> list[str]:
    rows = [["group", "name", "distribution", "state"]]
    rows += [[each.group, each.name, f"{each.distribution} {each.version}", _state(each)] for each in found]
    for tree in registry.configuration_trees():
        state = OK if tree.directory else f"{BROKEN}: the directory {tree.target} does not exist"
        distribution = f"{tree.distribution} {tree.version}"
        rows.append(["configs", tree.name, distribution, state])
    return [*table(rows), "", "rompy-hydra plugins GROUP NAME shows the settings of a plugin."]


def _state(plugin: PluginInfo) -> str:
    if plugin.state == OK:
        slow = plugin.seconds is not None and plugin.seconds > _SLOW_IMPORT
        return f"ok, but takes {plugin.seconds} s to import" if slow else OK
    return f"{plugin.state}: {' '.join(plugin.why.split())}"


def _detail(plugin: PluginInfo, name: str) -> list[str]:
    lines = [
        f"{plugin.group}={name}",
        f"  from      {plugin.distribution} {plugin.version}, {plugin.entry_point}",
        f"  state     {_state(plugin)}",
    ]
    if plugin.about:
        lines += ["", *textwrap.wrap(plugin.about.split("\n\n")[0], _WIDTH, break_on_hyphens=False)]
    if plugin.settings:
        rows = [["setting", "type", "default", "meaning"]]
        for each in plugin.settings:
            default = "required" if each["required"] else json.dumps(each["default"], ensure_ascii=False)
            default = default if len(default) <= _MAX_DEFAULT else f"{default[: _MAX_DEFAULT - 3]}..."
            rows.append([f"{plugin.group}.{each['name']}", each["type"], default, each["meaning"]])
        lines += ["", *table(rows)]
    return lines


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


def _settings(group: str, plugin: Plugin, found: object) -> Iterator[dict[str, Any]]:
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
        yield {
            "name": key,
            "type": kind,
            "default": default_of.get(key),
            "required": info.is_required(),
            "meaning": meaning,
        }


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
