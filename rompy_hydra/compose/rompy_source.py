"""rompy's files as a source of Hydra's configurations: the options of `rompy_files`, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from rompy_hydra.compose.build import ROMPY
from rompy_hydra.compose.rompy_files import RompyFile

_SCHEME = "rompy-file"


class RompySource(ConfigSource):
    """The options that a file of rompy's stands for."""

    # What was loaded, by path: Hydra creates sources from paths.
    loaded: ClassVar[dict[str, RompyFile]] = {}

    @staticmethod
    def scheme() -> str:
        return _SCHEME

    @property
    def _options(self) -> dict[str, Any]:
        return self.loaded[self.path].options

    def available(self) -> bool:
        return self.path in self.loaded

    def is_group(self, config_path: str) -> bool:
        return any(option.partition("/")[0] == config_path for option in self._options)

    def is_config(self, config_path: str) -> bool:
        return config_path.removesuffix(".yaml") in self._options

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        pairs = [option.split("/") for option in self._options]
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else sorted({group for group, _ in pairs})
        if results_filter is ObjectType.GROUP:
            return []
        return [name for group, name in pairs if group == config_path]

    def load_config(self, config_path: str) -> ConfigResult:
        option = config_path.removesuffix(".yaml")
        if option not in self._options:
            raise ConfigLoadError(f"Config not found : {config_path}")
        header = {"package": "_global_" if option.startswith("experiment/") else None}
        node = OmegaConf.create(self._options[option])
        return ConfigResult(self.provider, f"{_SCHEME}://{self.path}", config=node, header=header)


def prepend(path: ConfigSearchPath, files: Sequence[RompyFile]) -> None:
    """Put the options of files before all others of the same names."""
    if not files:
        return
    Plugins.instance().register(RompySource)
    RompySource.loaded = {str(file.path.absolute()): file for file in files}
    for where in RompySource.loaded:
        path.prepend(ROMPY, f"{_SCHEME}://{where}", SearchPathQuery(provider="main"))
