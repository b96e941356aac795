"""`rompy-hydra plugins [GROUP [NAME]] [--json]`: show the installed plugins, their states and settings."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Sequence

from rompy_hydra.cli.report import say, table
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.compose.plugin_listing import BROKEN, OK, PluginInfo, inspect_plugin, list_plugins
from rompy_hydra.errors import ConfigError, PluginError, closest
from rompy_hydra.plugins import registry

_SLOW_IMPORT = 0.5  # seconds; slower imports are reported
_WIDTH = 100
_MAX_DEFAULT = 40  # characters


def main(argv: Sequence[str]) -> int:
    """Print the plugins and return 0. ConfigError or PluginError if the named one is unknown or broken."""
    arguments = _parser().parse_args(list(argv))
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
    known = {category: group for group, category in GROUPS.items()} | {group: group for group in GROUPS}
    key = name.replace("-", "_")
    if key not in known:
        raise ConfigError(f"there is no group '{name}' of plugins. {closest(key, GROUPS)}")
    return known[key]


def _overview(found: Sequence[PluginInfo]) -> list[str]:
    rows = [["group", "name", "distribution", "state"]]
    rows += [[each.group, each.name, f"{each.distribution} {each.version}", _state(each)] for each in found]
    for tree in registry.configuration_trees():
        state = OK if tree.directory else f"{BROKEN}: there is no directory {tree.target}"
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
            default = "required" if each.required else json.dumps(each.default, ensure_ascii=False)
            default = default if len(default) <= _MAX_DEFAULT else f"{default[: _MAX_DEFAULT - 3]}..."
            rows.append([f"{plugin.group}.{each.name}", each.type, default, each.meaning])
        lines += ["", *table(rows)]
    return lines
