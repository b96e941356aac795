"""A plugin's name and settings as plain data: what a record stores of it, and their hashes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import ClassVar

from rompy_hydra.hashing import hash_json
from rompy_hydra.jsonable import Json
from rompy_hydra.plugins import registry
from rompy_hydra.redaction import redacted, without_secrets


class Configured:
    """A run backend, postprocessor or pipeline backend with its settings.

    A subclass says in `plugin_settings` what they are, and in `transient` which of them do not change
    the result.
    """

    category: ClassVar[str]
    name: ClassVar[str]

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return {}

    @property
    def transient(self) -> frozenset[str]:
        return frozenset()

    @functools.cached_property
    def plugin_name(self) -> str:
        """The name that chooses this plugin: that of its entry point, or else its own."""
        return name_of(self.category, type(self))

    @functools.cached_property
    def settings_hash(self) -> str:
        """A hash of the name and all settings."""
        return hash_json(self._with_name(self.plugin_settings))

    @functools.cached_property
    def result_hash(self) -> str:
        """A hash of the name and the settings that decide about the result."""
        kept = {
            key: without_secrets(value, key)
            for key, value in self.plugin_settings.items()
            if key not in self.transient
        }
        return hash_json(self._with_name(kept))

    @functools.cached_property
    def redacted(self) -> dict[str, Json]:
        """The name and the settings without secrets, as a record stores them."""
        return redacted(self._with_name(self.plugin_settings))

    def _with_name(self, settings: Mapping[str, Json]) -> dict[str, Json]:
        """The name beside the settings, one of which may be called `name` as well."""
        renamed = {"settings.name" if key == "name" else key: value for key, value in settings.items()}
        return {"name": self.plugin_name, **renamed}


def name_of(category: str, cls: type, given: str = "") -> str:
    """The name of a plugin's class: that of its entry point, else `given`, else the class's own."""
    own = getattr(cls, "name", None)
    return registered_name(category, cls) or given or (own if isinstance(own, str) else cls.__name__)


def registered_name(category: str, cls: type) -> str:
    """The name of the entry point of a class, with the distribution where the name is ambiguous; or ''."""
    path = f"{cls.__module__}.{cls.__qualname__}"
    for name, found in registry.plugins(category).items():
        for plugin in found:
            # It may name another path to the same class.
            home, _, attribute = plugin.target.rpartition(".")
            if plugin.target == path or getattr(sys.modules.get(home), attribute, None) is cls:
                is_enough = plugin is found[0] and not registry.rivals(found)
                return name if is_enough else plugin.qualified
    return ""
