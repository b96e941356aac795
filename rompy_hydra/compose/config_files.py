"""Configuration files as Hydra finds them, with a readable error for a file that is not a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, Node

from rompy_hydra.compose.declared_parameters import separate_limits
from rompy_hydra.compose.hydra_keys import check_hydra_file
from rompy_hydra.compose.yaml_words import misread_parameters
from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import MOST_NODES, expands_too_much
from rompy_hydra.regular_files import read_chosen

# Groups whose options configure a class: an empty file cannot be one of them.
_WITH_CLASS = {"model", "period", "run_backend", "pipeline"}
_LINES = "Write lines such as 'key: value'"


class Loaded(dict[str, ConfigResult]):
    """Shared by the copies of a repository, which Hydra makes for each composition."""

    # What a person should know of the files.
    cautions: tuple[str, ...] = ()

    def clear(self) -> None:
        super().clear()
        self.cautions = ()

    def __deepcopy__(self, memo: object) -> Loaded:
        return self


class ConfigFiles(ConfigRepository):
    """The configurations on the search path. ConfigError names a file that cannot be one."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        # The files of the present composition by their name, without their suffix.
        self.loaded = Loaded()

    def load_config(self, config_path: str) -> ConfigResult | None:
        text = self._checked_text(config_path)
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
        name = config_path.removesuffix(".yaml")
        self.loaded[name] = found
        in_model = package_of(name, found) == "model"
        self.loaded.cautions += misread_parameters(text, in_model, f"{name}.yaml")
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
        for key in keys:
            if isinstance(key, str) and "." in key:
                first, rest = key.split(".", 1)
                tree = f"{first}: {{{rest.replace('.', ': {')}: ...{'}' * (1 + rest.count('.'))}"
                raise ConfigError(
                    f"{file}: the key '{key}' has a dot, which YAML does not divide. Write: {tree}"
                )
        if package_of(config_path, found) == "" and "hydra" in keys:
            check_hydra_file(config._get_node("hydra"), f"{config_path.removesuffix('.yaml')}.yaml")

    def _checked_text(self, config_path: str) -> str:
        """The text of a file, '' for another source.

        ConfigError if its aliases stand for more values than fit into memory.
        """
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return ""
        file = self._file(config_path)
        try:
            text = read_chosen(file).decode(errors="replace")
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        if text.startswith("\ufeff"):
            raise ConfigError(f"{file} starts with a byte order mark. Save it as UTF-8 without one")
        if expands_too_much(text):
            raise ConfigError(f"{file}: its aliases stand for more than {MOST_NODES} values")
        return text

    def _file(self, config_path: str) -> Path:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        name = config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml"
        return Path(source.path if source else "", name)


def package_of(name: str, found: ConfigResult) -> str:
    """Where a file's keys belong in the configuration: '' for its root."""
    package = found.header.get("package")
    if package is None:
        return name.rpartition("/")[0].replace("/", ".")
    return "" if package == "_global_" else package


def files_setting(files: Mapping[str, ConfigResult], key: str) -> Iterator[tuple[str, Node]]:
    """The files for the whole configuration that set a top-level key, with its node."""
    for name, found in files.items():
        if package_of(name, found) == "" and isinstance(found.config, DictConfig):
            node = found.config._get_node(key, validate_access=False)
            if isinstance(node, Node):
                yield name, node


def file_selecting(files: Mapping[str, ConfigResult], group: str) -> str:
    """A file that sets values of a group or selects its option, for a part of all runs; '' if none does.

    Files beside the groups, such as the main one, hold what is the default of all runs.
    """
    names = [name for name, _ in files_setting(files, group)]
    for name, found in files.items():
        selected = (each for each in found.defaults_list or () if isinstance(each, GroupDefault))
        if any((each.group or "").lstrip("/") == group for each in selected):
            names.append(name)
    return next((name for name in names if "/" in name), "")
