"""Plugins by name, from entry points. A plugin is imported only when it is loaded."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path

from rompy_hydra.errors import PluginError, UnknownPlugin, closest

# The category of a plugin, which is the last part of its entry-point group, and its name in messages.
WHAT = {
    "run": "run backend",
    "postprocess": "postprocessor",
    "pipeline": "pipeline backend",
    "config": "model configuration",
}
_OWN = "rompy-hydra"
# Where rompy 0.6 finds the configurations of postprocessors, each of which names its postprocessor.
_CONFIGURATIONS = "rompy.postprocess.config"


@dataclass(frozen=True)
class Plugin:
    """One registered plugin; `load` imports it."""

    name: str
    value: str
    group: str
    # The normalised name of its distribution: lower case, with dashes.
    key: str
    found_in: Distribution | None = field(default=None, compare=False, repr=False)

    @property
    def category(self) -> str:
        return "postprocess" if self.group == _CONFIGURATIONS else self.group.rpartition(".")[2]

    @property
    def own(self) -> bool:
        """Whether it is part of this package."""
        return self.key == _OWN

    @property
    def distribution(self) -> str:
        """The name of its distribution, as the author writes it."""
        return (self.found_in.name if self.found_in else None) or self.key

    @property
    def version(self) -> str:
        return (self.found_in.version if self.found_in else None) or ""

    @property
    def target(self) -> str:
        """The dotted path of the object that its entry point names."""
        return self._path.replace(":", ".").rstrip(".")

    @property
    def _path(self) -> str:
        return self.value.partition("[")[0].replace(" ", "")

    @property
    def qualified(self) -> str:
        """The name that no other plugin has."""
        return f"{self.key}:{self.name}"

    @property
    def directory(self) -> Path | None:
        """The path of the package that it names, found without an import; None if it does not exist."""
        top, *rest = self.target.split(".")
        with contextlib.suppress(ImportError, ValueError):
            if spec := importlib.util.find_spec(top):
                paths = [Path(place, *rest) for place in spec.submodule_search_locations or ()]
                return next(filter(Path.is_dir, paths), None)
        return None

    def load(self) -> object:
        """The object that the entry point names; PluginError if importing it fails."""
        module, _, attribute = self._path.partition(":")
        try:
            return functools.reduce(getattr, filter(None, attribute.split(".")), import_module(module))
        # A module may also exit when it is imported.
        except (Exception, SystemExit) as error:
            what = WHAT[self.category]
            raise PluginError(
                f"the {what} '{self.name}' of the distribution {self.distribution} {self.version} "
                f"(entry-point group {self.group}, {self.value}) cannot be imported: "
                f"{type(error).__name__}: {error}. Update or uninstall {self.distribution}, or choose "
                f"another {what}"
            ) from error


def import_module(name: str) -> object:
    """A module; changes that importing it makes to the configuration of logging are undone."""
    root, kind = logging.getLogger(), logging.getLoggerClass()
    handlers, level = list(root.handlers), root.level
    try:
        return importlib.import_module(name)
    finally:
        logging.setLoggerClass(kind)
        if root.handlers != handlers:
            root.handlers[:] = handlers
            root.setLevel(level)


@functools.cache
def plugins(category: str) -> dict[str, list[Plugin]]:
    """All plugins of a category by name; the first of each list wins."""
    own = f"rompy_hydra.{category}"
    both = _groups().get(own, []) + _groups().get(f"rompy.{category}", [])
    if category == "postprocess":
        known = {(plugin.key, plugin.name) for plugin in both}
        both += [p for p in _groups().get(_CONFIGURATIONS, []) if (p.key, p.name) not in known]
    found: dict[str, list[Plugin]] = {}
    for plugin in sorted(both, key=lambda p: (not p.own, p.group != own, p.key)):
        found.setdefault(plugin.name, []).append(plugin)
    return found


def rivals(found: list[Plugin]) -> list[Plugin]:
    """The plugins among which a name alone does not decide, one of each distribution; empty if it does."""
    first_of = {plugin.key: plugin for plugin in reversed(found)}
    return [] if found[0].own or len(first_of) == 1 else [first_of[key] for key in sorted(first_of)]


def find(category: str, name: str) -> Plugin:
    """The plugin of this name, or `distribution:name` where two distributions share one.

    UnknownPlugin if there is none, PluginError if the name is ambiguous.
    """
    found = candidates(category, name)
    if not found:
        raise UnknownPlugin(
            f"there is no {WHAT[category]} '{name}'. {closest(name, names(category))} "
            "Install the package that provides it"
        )
    if clash := rivals(found):
        raise PluginError(
            f"{len(clash)} distributions provide a {WHAT[category]} '{name}': "
            f"{', '.join(f'{rival.distribution} {rival.version}' for rival in clash)}. "
            f"Choose one with {' or '.join(repr(rival.qualified) for rival in clash)}"
        )
    return found[0]


def candidates(category: str, name: str) -> list[Plugin]:
    """The plugins of this name, even if it is ambiguous or they are broken."""
    known = plugins(category)
    distribution, _, short = name.partition(":")
    return known.get(name) or [p for p in known.get(short, []) if p.key == _normalise(distribution)]


def names(category: str) -> list[str]:
    """The names that select a plugin, with the distribution where the name alone is ambiguous."""
    chosen: list[str] = []
    for name, found in plugins(category).items():
        clash = rivals(found)
        chosen += [] if clash else [name]
        chosen += [p.qualified for p in clash or found if clash or p.key != found[0].key]
    return chosen


def _all() -> Iterator[Plugin]:
    return (plugin for category in WHAT for found in plugins(category).values() for plugin in found)


def find_by_target(target: str) -> Plugin | None:
    """The third-party plugin with this dotted path, so that an error can name its distribution."""
    return next((plugin for plugin in _all() if not plugin.own and plugin.target == target), None)


@functools.cache
def registered_targets() -> frozenset[str]:
    """The dotted paths of all registered plugins, which a configuration may name as `_target_`."""
    # The last ones are rompy's configuration objects for postprocessors.
    return frozenset(plugin.target for plugin in [*_all(), *_groups().get(_CONFIGURATIONS, [])])


def configuration_trees() -> list[Plugin]:
    """The packages that contain a directory of configurations."""
    return _groups().get("rompy_hydra.conf", [])


@functools.cache
def _groups() -> dict[str, list[Plugin]]:
    """This package's and rompy's entry points by group; each distribution is read once."""
    found: dict[str, list[Plugin]] = {}
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # Parsing is slow, and few distributions have such entry points.
        if "rompy" not in (distribution.read_text("entry_points.txt") or ""):
            continue
        key = _key(distribution)
        if key in seen:  # another version, further down on sys.path
            continue
        seen.add(key)
        for point in distribution.entry_points:
            plugin = Plugin(point.name, point.value, point.group, key, distribution)
            found.setdefault(point.group, []).append(plugin)
    project = Path(__file__).parents[2] / "pyproject.toml"
    if _OWN not in seen and project.is_file():  # used from a checkout without being installed
        import tomllib

        for group, points in tomllib.loads(project.read_text())["project"]["entry-points"].items():
            own = [Plugin(name, value, group, _OWN) for name, value in points.items()]
            found[group] = own + found.get(group, [])
    return found


def _key(distribution: Distribution) -> str:
    """A distribution's normalised name, from its directory: reading its metadata takes 1 ms."""
    directory = getattr(distribution, "_path", None)
    stem = re.fullmatch(r"([^-]+)-.+\.(?:dist|egg)-info", getattr(directory, "name", ""))
    return _normalise(stem[1] if stem else distribution.name)


def _normalise(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
