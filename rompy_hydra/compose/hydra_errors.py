"""Hydra's composition errors as messages of this package, with the closest valid name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.error import MarkedYAMLError

from rompy_hydra.compose.override_parser import first_line, parse, whole_text
from rompy_hydra.errors import ConfigError, closest

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra


class ReadableErrors:
    """A context in which Hydra's composition errors are raised as ConfigError with a readable message."""

    def __init__(self, hydra: Hydra, config_name: str, overrides: Sequence[str]) -> None:
        self._hydra = hydra
        self._config_name = config_name
        self._overrides = overrides

    def __enter__(self) -> None:
        parse(list(self._overrides))

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, HydraException | OmegaConfBaseException):
            raise ConfigError(self._explain(error)) from error
        if isinstance(error, MarkedYAMLError):
            mark = error.problem_mark
            where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
            raise ConfigError(f"{where}is not valid YAML: {error.problem}") from error

    def _explain(self, error: BaseException) -> str:
        text = whole_text(error)
        if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
            group, _, option = found[1].rpartition("/")
            options = self._hydra.config_loader.get_group_options(group) if group else []
            if group and options:
                return f"{group}={option}: there is no such option. {closest(option, options)}"
            return (
                f"there is no configuration '{found[1]}' on the search path; correct the name, or add its "
                "directory with --config-dir"
            )
        if found := re.search(r"Could not override '([^']+)'", text):
            return self._unknown_key(found[1], f"To add a new key, use +{found[1]}=...")
        if found := re.search(r"No match in the defaults list.*'([^']+)'|Override (\S+) looks", text):
            return self._unknown_key((found[1] or found[2]).split("=")[0], "")
        if "Config group override must be" in text:
            return self._invalid_option() or first_line(error)
        return first_line(error) if len(text) > 400 else text

    def _invalid_option(self) -> str:
        """The message about an override that sets a group to something other than a name."""
        for override in parse(list(self._overrides)):
            options = self._hydra.config_loader.get_group_options(override.key_or_group)
            value = override.value()
            if options and not override.is_sweep_override() and not isinstance(value, str | list):
                hint = closest(str(value), options)
                return f"{override.input_line}: the option of a group must be a name. {hint}"
        return ""

    def _unknown_key(self, key: str, advice: str) -> str:
        """The message about an unknown key, with the closest name that its parent has."""
        parent, _, last = key.rpartition(".")
        others = [line for line in self._overrides if line.split("=")[0].lstrip("+~") != key]
        base = [choice for line in others for choice in _group_choice(line)]
        try:
            config = self._hydra.compose_config(
                config_name=self._config_name,
                overrides=base,
                run_mode=RunMode.RUN,
                with_log_configuration=False,
            )
            HydraConfig.instance().set_config(config)
            while parent and not isinstance(OmegaConf.select(config, parent), DictConfig):
                parent, _, last = parent.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
            names = [str(name) for name in node if name != "hydra"]
        except (HydraException, OmegaConfBaseException):
            names = []  # another override is wrong as well; report this one without a suggestion
        if last in names:
            return f"{key}: the value contains an unknown key. {advice.replace('=...', '.NAME=VALUE')}"
        where = f"{parent} has no key '{last}'" if parent else f"there is no key or group '{last}'"
        return " ".join(part for part in (f"{key}: {where}.", closest(last, names), advice) if part)


def _group_choice(line: str) -> list[str]:
    """An override that may select an option of a group, reduced to the first one if several are swept."""
    [override] = parse([line])
    if "." in override.key_or_group or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    if override.is_discrete_sweep():
        return [f"{override.get_key_element()}={next(override.sweep_string_iterator())}"]
    return [] if override.is_sweep_override() else [line]
