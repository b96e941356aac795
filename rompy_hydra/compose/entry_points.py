"""Installed plugins as options of config groups, without YAML files.

A Hydra config source, appended to the search path: it lists and finds options by their entry points,
and imports a plugin only when it is selected.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from rompy_hydra.plugins import registry
from rompy_hydra.plugins.signatures import defaults, settings_model

SCHEME = "entry-points"
# The category of plugins in each config group.
GROUPS = {"run_backend": "run", "processor": "postprocess", "pipeline": "pipeline", "model": "config"}


class EntryPointSource(ConfigSource):
    """The options of `run_backend`, `processor`, `pipeline` and `model` from installed packages."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in GROUPS

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return group in GROUPS and bool(registry.candidates(GROUPS[group], name))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else sorted(GROUPS)
        if config_path not in GROUPS or results_filter is ObjectType.GROUP:
            return []
        return sorted(registry.names(GROUPS[config_path]))

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        node = OmegaConf.create(node_of(GROUPS[group], name))
        path = f"{SCHEME}://{config_path}"
        return ConfigResult(self.provider, path, config=node, header={"package": None})


def node_of(category: str, name: str) -> dict[str, Any]:
    """The configuration of a plugin: its class as `_target_`, and its settings with their defaults.

    Settings without a default are `???`. PluginError if the plugin is unknown, ambiguous or broken.
    """
    plugin = registry.find(category, name)
    model = settings_model(plugin.load(), category)
    return {"_target_": plugin.target, **(dict(defaults(model, "???")) if model else {})}


def extend(path: ConfigSearchPath) -> None:
    """Append the configurations and plugins of installed packages, after this package's own."""
    Plugins.instance().register(EntryPointSource)
    for tree in registry.configuration_trees():
        if tree.directory is not None:
            path.append(tree.key, f"file://{tree.directory}")
    path.append("plugins", f"{SCHEME}://")
