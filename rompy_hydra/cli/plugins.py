"""`rompy-hydra plugins [GROUP [NAME]] [--json]`: what is installed, in what state, with which settings."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Sequence

from rompy_hydra.cli.report import say
from rompy_hydra.cli.tables import table
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.compose.plugin_listing import BROKEN, OK, Listed, examined, listed
from rompy_hydra.errors import ConfigError, PluginError, closest
from rompy_hydra.plugins import registry

# A plugin that takes longer to import than this is told so, in seconds.
_SLOW = 0.5
_WIDTH = 100
_LONGEST = 40


def main(argv: Sequence[str]) -> int:
    """0; 2 for a group or a plugin that does not exist, or the one asked for is broken."""
    arguments = _parser().parse_args(list(argv))
    groups = [_group(arguments.group)] if arguments.group else list(GROUPS)
    if arguments.name:
        found = [examined(groups[0], registry.find(GROUPS[groups[0]], arguments.name))]
    else:
        found = [each for group in groups for each in listed(group)]
    if arguments.json:
        say([json.dumps([dataclasses.asdict(each) for each in found], indent=2)])
    elif arguments.name:
        say(_detail(found[0], arguments.name))
    else:
        say(_overview(found))
    if arguments.name and found[0].state == BROKEN:
        one = found[0]
        raise PluginError(f"{one.name} of {one.distribution} {one.version} is broken: {one.why}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rompy-hydra plugins", description=__doc__)
    parser.add_argument("group", nargs="?", help=f"{', '.join(GROUPS)}; all, if left out")
    parser.add_argument("name", nargs="?", help="one plugin, with its settings: NAME or DISTRIBUTION:NAME")
    parser.add_argument("--json", action="store_true", help="everything, for a program")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _group(name: str) -> str:
    """A config group from its name or that of its category of plugins."""
    known = {category: group for group, category in GROUPS.items()} | {group: group for group in GROUPS}
    plain = name.replace("-", "_")
    if plain not in known:
        raise ConfigError(f"there is no group '{name}' of plugins. {closest(plain, GROUPS)}")
    return known[plain]


def _overview(found: Sequence[Listed]) -> list[str]:
    rows = [["group", "name", "distribution", "state"]]
    rows += [[each.group, each.name, f"{each.distribution} {each.version}", _state(each)] for each in found]
    for tree in registry.configuration_trees():
        state = OK if tree.directory else f"{BROKEN}: there is no directory {tree.target}"
        whose = f"{tree.distribution} {tree.version}"
        rows.append(["configs", tree.name, whose, state])
    return [*table(rows), "", "rompy-hydra plugins GROUP NAME shows the settings of one."]


def _state(one: Listed) -> str:
    if one.state == OK:
        slow = one.seconds is not None and one.seconds > _SLOW
        return f"ok, but takes {one.seconds} s to import" if slow else OK
    return f"{one.state}: {' '.join(one.why.split())}"


def _detail(one: Listed, name: str) -> list[str]:
    lines = [
        f"{one.group}={name}",
        f"  from      {one.distribution} {one.version}, {one.entry_point}",
        f"  state     {_state(one)}",
    ]
    if one.about:
        lines += ["", *textwrap.wrap(one.about.split("\n\n")[0], _WIDTH, break_on_hyphens=False)]
    if one.settings:
        rows = [["setting", "type", "default", "meaning"]]
        for each in one.settings:
            default = "required" if each.required else json.dumps(each.default, ensure_ascii=False)
            default = default if len(default) <= _LONGEST else f"{default[: _LONGEST - 3]}..."
            rows.append([f"{one.group}.{each.name}", each.type, default, each.meaning])
        lines += ["", *table(rows)]
    return lines
