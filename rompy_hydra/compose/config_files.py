"""Configuration files as Hydra finds them, with a readable error for a file that is not a configuration."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from rompy_hydra.compose.declared_parameters import separate_limits
from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import MOST_NODES, expands_too_much
from rompy_hydra.regular_files import read_chosen

# Groups whose options configure a class: an empty file cannot be one of them.
_WITH_CLASS = {"model", "period", "run_backend", "pipeline"}
_LINES = "Write lines such as 'key: value'"


class ConfigFiles(ConfigRepository):
    """The configurations on the search path. ConfigError names a file that cannot be one."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        self._check_aliases(config_path)
        try:
            found = super().load_config(config_path)
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{self._file(config_path)} is not a text file (byte {error.start} is not UTF-8). A "
                "configuration is YAML text"
            ) from error
        if found is None:
            return None
        if found.path.startswith("file:"):
            self._check(found, config_path)
        if isinstance(found.config, DictConfig):
            separate_limits(found.config, config_path)
        return found

    def _check(self, found: ConfigResult, config_path: str) -> None:
        config, file = found.config, self._file(config_path)
        if not isinstance(config, DictConfig):
            raise ConfigError(f"{file} is a list, and a configuration has keys. {_LINES}")
        if not config and not found.defaults_list and config_path.partition("/")[0] in _WITH_CLASS:
            raise ConfigError(f"{file} is empty. Write its keys into it, starting with _target_")
        # OmegaConf reads a text as a key without a value.
        [*keys] = config
        if len(keys) == 1 and config._get_node(keys[0])._is_none() and ":" not in file.read_text():  # type: ignore[union-attr]
            raise ConfigError(f"{file} is plain text, and a configuration has keys. {_LINES}")

    def _check_aliases(self, config_path: str) -> None:
        """ConfigError if the aliases of a file stand for more values than fit into memory."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return
        file = self._file(config_path)
        try:
            text = read_chosen(file).decode(errors="replace")
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        if expands_too_much(text):
            raise ConfigError(f"{file}: its aliases stand for more than {MOST_NODES} values")

    def _file(self, config_path: str) -> Path:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        name = config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml"
        return Path(source.path if source else "", name)
