"""Plugins by name: entry points to classes. Nothing is imported until it is asked for."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rompy_hydra.errors import PluginError, closest

# The category of a plugin, which is the last part of its entry-point group, and what it is called.
WHAT = {
    "run": "run backend",
    "postprocess": "postprocessor",
    "pipeline": "pipeline backend",
    "config": "model configuration",
}
# Packages with whole trees of configurations.
TREES = "rompy_hydra.conf"
_OWN = "rompy-hydra"


@dataclass(frozen=True)
class Plugin:
    """One registered plugin; `load` imports it."""

    category: str
    name: str
    value: str
    group: str
    distribution: str
    version: str

    @property
    def own(self) -> bool:
        """Whether it comes with this package."""
        return self.distribution == _OWN

    def load(self) -> object:
        """The object behind the entry point; PluginError tells what is broken, and whose it is."""
        module, _, attribute = self.value.partition(":")
        try:
            found: object = importlib.import_module(module.strip())
            for part in attribute.split("[")[0].strip().split("."):
                found = getattr(found, part)
        except Exception as error:
            raise PluginError(
                f"the {WHAT[self.category]} '{self.name}' of the distribution {self.distribution} "
                f"{self.version} (entry-point group {self.group}, {self.value}) cannot be "
                f"imported: {type(error).__name__}: {error}. Update or uninstall "
                f"{self.distribution}, or choose another {WHAT[self.category]}"
            ) from error
        return found


def plugins(category: str) -> dict[str, list[Plugin]]:
    """All plugins of a category by name; the first of each list wins."""
    found: dict[str, list[Plugin]] = {}
    for plugin in sorted(_registered(category), key=lambda p: (not p.own, p.group, p.distribution)):
        found.setdefault(plugin.name, []).append(plugin)
    return found


def find(category: str, name: str) -> Plugin:
    """The plugin of this name, or `distribution:name` where two distributions share one."""
    distribution, _, short = name.rpartition(":")
    candidates = plugins(category)
    chosen = candidates.get(short, [])
    if distribution:
        chosen = [p for p in chosen if _normal(p.distribution) == _normal(distribution)]
    if not chosen:
        raise PluginError(
            f"there is no {WHAT[category]} '{name}'. {closest(name, candidates)} "
            f"Install the package that brings it"
        )
    first = chosen[0]
    rivals = {p.distribution for p in chosen}
    if len(rivals) > 1 and not first.own:
        choices = " or ".join(f"'{rival}:{short}'" for rival in sorted(rivals))
        raise PluginError(
            f"{len(rivals)} distributions bring a {WHAT[category]} '{short}': "
            f"{', '.join(sorted(rivals))}. Choose one with {choices}"
        )
    return first


def load(category: str, name: str) -> object:
    """The class of a plugin by its name; PluginError if there is none, or it is broken."""
    return find(category, name).load()


def name_of(category: str, cls: type) -> str:
    """The name under which a class is registered, or else the class's own."""
    value = f"{cls.__module__}:{cls.__qualname__}"
    return next((p.name for p in _registered(category) if p.value == value), cls.__name__)


@functools.cache
def registered_targets() -> frozenset[str]:
    """The dotted paths of all registered plugins: what a configuration may name as `_target_`."""
    found = (plugin for category in WHAT for plugin in _registered(category))
    return frozenset(plugin.value.split("[")[0].strip().replace(":", ".") for plugin in found)


@functools.cache
def configuration_trees() -> tuple[tuple[str, str], ...]:
    """Packages that bring configurations: (distribution, package)."""
    points = importlib.metadata.entry_points(group=TREES)
    return tuple((p.dist.name if p.dist else "unknown", p.value) for p in points)


def _normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


@functools.cache
def _registered(category: str) -> tuple[Plugin, ...]:
    own = f"rompy_hydra.{category}"
    found = list(_entry_points(category, [own, f"rompy.{category}"]))
    if not any(p.own for p in found):
        found += _own_from_checkout(category, own)
    return tuple(found)


def _entry_points(category: str, groups: Iterable[str]) -> Iterable[Plugin]:
    for group in groups:
        for point in importlib.metadata.entry_points(group=group):
            dist = point.dist
            name, version = (dist.name, dist.version) if dist else ("unknown", "")
            yield Plugin(category, point.name, point.value, group, name, version)


def _own_from_checkout(category: str, group: str) -> Iterable[Plugin]:
    """This package's own plugins where it is not installed, but used from its checkout."""
    project = Path(__file__).parent.with_name("pyproject.toml")
    if not project.is_file():
        return
    data = tomllib.loads(project.read_text())["project"]
    for name, value in data["entry-points"].get(group, {}).items():
        yield Plugin(category, name, value, group, _OWN, data["version"])
