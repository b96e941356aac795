"""What Hydra finds wrong with a composition, in this package's words."""

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


class Explained:
    """Turns Hydra's composition errors into messages with the closest valid name."""

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
            raise ConfigError(f"{where}is no valid YAML: {error.problem}") from error

    def _explain(self, error: BaseException) -> str:
        text = whole_text(error)
        if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
            group, _, option = found[1].rpartition("/")
            options = self._hydra.config_loader.get_group_options(group) if group else []
            if group and options:
                return f"{group}={option}: there is no such option. {closest(option, options)}"
            return f"there is no configuration '{found[1]}' on the search path"
        if found := re.search(r"Could not override '([^']+)'", text):
            return self._unknown(found[1], f"Add a key that is not there yet with +{found[1]}=...")
        if found := re.search(r"No match in the defaults list.*'([^']+)'|Override (\S+) looks", text):
            return self._unknown((found[1] or found[2]).split("=")[0], "")
        if "Config group override must be" in text:
            return self._no_option() or first_line(error)
        return first_line(error) if len(text) > 400 else text

    def _no_option(self) -> str:
        """The override that gives a group what is no name of an option."""
        for override in parse(list(self._overrides)):
            options = self._hydra.config_loader.get_group_options(override.key_or_group)
            value = override.value()
            if options and not override.is_sweep_override() and not isinstance(value, str | list):
                hint = closest(str(value), options)
                return f"{override.input_line}: the option of a group must be a name. {hint}"
        return ""

    def _unknown(self, key: str, way_out: str) -> str:
        parent, _, last = key.rpartition(".")
        wrong = [line for line in self._overrides if line.split("=")[0].lstrip("+~") == key]
        base = [each for line in self._overrides if line not in wrong for each in _of_a_group(line)]
        names: list[str] = []
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
            names = []  # another override is wrong as well; this one is told without a suggestion
        if last in names:
            return f"{key}: a key inside the value is new. {way_out.replace('=...', '.NAME=VALUE')}"
        where = f"{parent} has no key '{last}'" if parent else f"there is no key or group '{last}'"
        return " ".join(part for part in (f"{key}: {where}.", closest(last, names), way_out) if part)


def _of_a_group(line: str) -> list[str]:
    """An override if it may choose a group's option, with the first one where it is swept; else nothing."""
    [override] = parse([line])
    if "." in override.key_or_group or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    if override.is_discrete_sweep():
        return [f"{override.get_key_element()}={next(override.sweep_string_iterator())}"]
    return [] if override.is_sweep_override() else [line]
