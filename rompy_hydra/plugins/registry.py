"""Plugins by name, from entry points. A plugin is imported only when it is loaded."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path

from rompy_hydra.errors import PluginError, closest

# The category of a plugin, which is the last part of its entry-point group, and its name in messages.
WHAT = {
    "run": "run backend",
    "postprocess": "postprocessor",
    "pipeline": "pipeline backend",
    "config": "model configuration",
}
# The entry-point group of packages that contain a directory of configurations.
TREES = "rompy_hydra.conf"
# That of rompy's configuration objects for postprocessors, which a `_target_` may name.
_CONFIGURATIONS = "rompy.postprocess.config"
_OWN = "rompy-hydra"


@dataclass(frozen=True)
class Plugin:
    """One registered plugin; `load` imports it."""

    category: str
    name: str
    value: str
    group: str
    # The normalised name of its distribution: lower case, with dashes.
    key: str
    found_in: Distribution | None = field(default=None, compare=False, repr=False)

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
    def place(self) -> tuple[str, str]:
        """The module that its entry point names, and the dotted attribute there, which may be empty."""
        module, _, attribute = self.value.partition("[")[0].replace(" ", "").partition(":")
        return module, attribute

    @property
    def target(self) -> str:
        """The dotted path of the object that its entry point names."""
        return ".".join(filter(None, self.place))

    @property
    def qualified(self) -> str:
        """The name that no other plugin has."""
        return f"{self.key}:{self.name}"

    @property
    def directory(self) -> Path | None:
        """The path of the package that it names, found without an import; None if it does not exist."""
        top, *rest = self.target.split(".")
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        places = (spec.submodule_search_locations or []) if spec else []
        return next((path for place in places if (path := Path(place, *rest)).is_dir()), None)

    def load(self) -> object:
        """The object that the entry point names; PluginError if importing it fails."""
        module, attribute = self.place
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
    with _logging_kept():
        return importlib.import_module(name)


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    root, kind = logging.getLogger(), logging.getLoggerClass()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        logging.setLoggerClass(kind)
        if root.handlers != handlers:
            root.handlers[:] = handlers
            root.setLevel(level)


def plugins(category: str) -> dict[str, list[Plugin]]:
    """All plugins of a category by name; the first of each list wins."""
    found: dict[str, list[Plugin]] = {}
    for plugin in _registered(category):
        found.setdefault(plugin.name, []).append(plugin)
    return found


def rivals(found: list[Plugin]) -> list[Plugin]:
    """The plugins among which a name alone does not decide, one of each distribution; empty if it does."""
    first_of = {plugin.key: plugin for plugin in reversed(found)}
    return [] if found[0].own or len(first_of) == 1 else [first_of[key] for key in sorted(first_of)]


def find(category: str, name: str) -> Plugin:
    """The plugin of this name, or `distribution:name` where two distributions share one."""
    chosen = _candidates(category, name)
    if not chosen:
        raise PluginError(
            f"there is no {WHAT[category]} '{name}'. {closest(name, names(category))} "
            "Install the package that provides it"
        )
    if clash := rivals(chosen):
        choices = " or ".join(f"'{rival.qualified}'" for rival in clash)
        raise PluginError(
            f"{len(clash)} distributions provide a {WHAT[category]} '{name}': "
            f"{', '.join(f'{rival.distribution} {rival.version}' for rival in clash)}. "
            f"Choose one with {choices}"
        )
    return chosen[0]


def is_known(category: str, name: str) -> bool:
    """Whether a plugin has this name, even if it is broken or ambiguous."""
    return bool(_candidates(category, name))


def _candidates(category: str, name: str) -> list[Plugin]:
    known = plugins(category)
    distribution, _, short = name.partition(":")
    return known.get(name) or [p for p in known.get(short, []) if p.key == _normalise(distribution)]


def names(category: str) -> list[str]:
    """The names that select a plugin, with the distribution where the name alone is ambiguous."""
    chosen: list[str] = []
    for name, found in plugins(category).items():
        clash = rivals(found)
        hidden = clash or [plugin for plugin in found if plugin.key != found[0].key]
        chosen += [*([] if clash else [name]), *(plugin.qualified for plugin in hidden)]
    return chosen


def load(category: str, name: str) -> object:
    """The class of a plugin by its name; PluginError if it is unknown, ambiguous or broken."""
    return find(category, name).load()


def name_of(category: str, cls: type) -> str:
    """The name that selects a registered class; the class's own name if it is not registered."""
    for name, found in plugins(category).items():
        for plugin in found:
            if _names_class(plugin, cls):
                return name if plugin is found[0] and not rivals(found) else plugin.qualified
    return cls.__name__


def _names_class(plugin: Plugin, cls: type) -> bool:
    """Whether a plugin is this class, perhaps by another path to it; imports nothing."""
    module, attribute = plugin.place
    own_path = f"{cls.__module__}.{cls.__qualname__}"
    return plugin.target == own_path or getattr(sys.modules.get(module), attribute, None) is cls


def find_by_target(target: str) -> Plugin | None:
    """The third-party plugin with this dotted path, so that an error can name its distribution."""
    found = (plugin for category in WHAT for plugin in _registered(category) if not plugin.own)
    return next((plugin for plugin in found if plugin.target == target), None)


@functools.cache
def registered_targets() -> frozenset[str]:
    """The dotted paths of all registered plugins, which a configuration may name as `_target_`."""
    found = (plugin.target for category in WHAT for plugin in _registered(category))
    others = (_plugin("postprocess", point) for point in _points().get(_CONFIGURATIONS, []))
    return frozenset([*found, *(plugin.target for plugin in others)])


@functools.cache
def configuration_trees() -> tuple[Plugin, ...]:
    """The packages that contain a directory of configurations."""
    return tuple(_plugin("config", point) for point in _points().get(TREES, []))


@functools.cache
def _registered(category: str) -> tuple[Plugin, ...]:
    """The plugins of a category; of those with one name, the first wins."""
    own = f"rompy_hydra.{category}"
    points = [*_points().get(own, []), *_points().get(f"rompy.{category}", [])]
    found = [_plugin(category, point) for point in points]
    if not any(plugin.own for plugin in found):
        found += _own_from_checkout(category, own)
    return tuple(sorted(found, key=lambda p: (not p.own, p.group != own, p.key)))


def _plugin(category: str, point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = point.dist
    key = _key(distribution) if distribution else "unknown"
    return Plugin(category, point.name, point.value, point.group, key, distribution)


@functools.cache
def _points() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """This package's and rompy's entry points by group; each distribution is read once."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
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
            found.setdefault(point.group, []).append(point)
    return found


def _key(distribution: Distribution) -> str:
    """A distribution's normalised name, from its directory: reading its metadata takes 1 ms."""
    directory = getattr(distribution, "_path", None)
    stem = re.fullmatch(r"([^-]+)-.+\.(?:dist|egg)-info", getattr(directory, "name", ""))
    return _normalise(stem[1] if stem else distribution.name)


def _normalise(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _own_from_checkout(category: str, group: str) -> Iterable[Plugin]:
    """This package's own plugins where it is used from a checkout without being installed."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        return
    import tomllib

    data = tomllib.loads(project.read_text())["project"]
    for name, value in data["entry-points"].get(group, {}).items():
        yield Plugin(category, name, value, group, _OWN)
