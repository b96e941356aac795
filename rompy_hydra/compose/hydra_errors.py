"""Hydra's composition errors as messages of this package, with the closest valid name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.error import MarkedYAMLError

from rompy_hydra.compose.override_parser import first_line, parse, whole_text
from rompy_hydra.errors import ConfigError, closest


class Composing(Protocol):
    """What an explanation needs of the composer."""

    hydra: Any

    def compose_config(self, overrides: Sequence[str]) -> DictConfig: ...


@contextlib.contextmanager
def readable_errors(composer: Composing, overrides: Sequence[str]) -> Iterator[None]:
    """A context in which Hydra's composition errors are raised as ConfigError with a readable message."""
    parse(overrides)
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise_interrupt(error)
        raise ConfigError(_explain(error, composer, overrides)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{where}is not valid YAML: {error.problem}") from error


def raise_interrupt(error: BaseException) -> None:
    """Raise the KeyboardInterrupt that an error hides: one in the middle of OmegaConf's own clean-up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__cause__ or cause.__context__


def _explain(error: BaseException, composer: Composing, overrides: Sequence[str]) -> str:
    text = whole_text(error)
    get_options = composer.hydra.config_loader.get_group_options
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = get_options(group) if group else []
        if options:
            return f"{group}={option}: there is no such option. {closest(option, options)}"
        return (
            f"there is no configuration '{found[1]}' on the search path; correct the name, or add its "
            "directory with --config-dir"
        )
    key, advice = "", ""
    if found := re.search(r"Could not override '([^']+)'", text):
        key, advice = found[1], f"To add a new key, use +{found[1]}=..."
    elif found := re.search(r"No match in the defaults list.*'([^']+)'|Override (\S+) looks", text):
        key = (found[1] or found[2]).split("=")[0]
    if key:
        others = [line for line in overrides if line.split("=")[0].lstrip("+~") != key]
        return _unknown_key(key, advice, composer, others)
    if "Config group override must be" in text:
        for override in parse(overrides):
            options, value = get_options(override.key_or_group), override.value()
            if options and not override.is_sweep_override() and not isinstance(value, str | list):
                hint = closest(str(value), options)
                return f"{override.input_line}: the option of a group must be a name. {hint}"
        return first_line(error)
    return first_line(error) if len(text) > 400 else text


def _unknown_key(key: str, advice: str, composer: Composing, others: Sequence[str]) -> str:
    parent, _, last = key.rpartition(".")
    try:
        config = composer.compose_config([choice for line in others for choice in _group_choice(line)])
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
