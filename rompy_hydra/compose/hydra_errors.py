"""Hydra's composition errors as messages of this package, with the closest valid name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.error import MarkedYAMLError
from yaml.reader import ReaderError

from rompy_hydra.compose.config_files import package_of
from rompy_hydra.compose.override_parser import first_line, parse, whole_text
from rompy_hydra.compose.processor_settings import wrong_form
from rompy_hydra.compose.unread_keys import meant
from rompy_hydra.compose.validate import option_as_text, walk
from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.models.parameters import ParameterLimits

# Packages with Hydra's other plugins, by their option.
_PACKAGES = {
    "hydra/sweeper/optuna": "hydra-optuna-sweeper",
    "hydra/sweeper/ax": "hydra-ax-sweeper",
    "hydra/sweeper/nevergrad": "hydra-nevergrad-sweeper",
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/ray": "hydra-ray-launcher",
    "hydra/launcher/rq": "hydra-rq-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
}
_NOT_SET = re.compile(r"Environment variable '([^']+)' not found")


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
    except RecursionError as error:
        raise ConfigError("the configuration is nested too deeply") from error
    except UnicodeError as error:
        raise ConfigError(f"a text of the configuration is not valid Unicode: {error}") from error
    except ReaderError as error:
        raise ConfigError(
            f"{error.name}: is not valid YAML: {error.reason} (#x{error.character:04x})"
        ) from error
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


def reason_of(error: BaseException) -> str:
    """Why a value cannot be resolved."""
    if found := _NOT_SET.search(whole_text(error)):
        default = f"${{oc.env:{found[1]},DEFAULT}}"
        return f"the environment variable {found[1]} is not set. Set it, or give a default: {default}"
    return first_line(error)


def _explain(error: BaseException, composer: Composing, overrides: Sequence[str]) -> str:
    text = whole_text(error)
    get_options = composer.hydra.config_loader.get_group_options
    if reason := _mistake_in_defaults(text, overrides):
        return reason
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = get_options(group) if group else []
        if package := _PACKAGES.get(found[1]):
            return f"{group}={option} is not installed. Run: pip install {package}"
        if file := _with_other_suffix(composer, found[1]):
            return (
                f"{group}={option}: there is no such option, but a file {file}. Rename it to {option}.yaml"
            )
        if options:
            return f"{group}={option}: there is no such option. {closest(option, options)}"
        return (
            f"there is no configuration '{found[1]}' on the search path; correct the name, or add its "
            "directory with --config-dir"
        )
    if found := re.search(r"'hydra\.sweeper\.params\.([^'=]+)(=[^']*)?'", text):
        return (
            f"hydra.sweeper.params.{found[1]}: the command line cannot set one of hydra.sweeper.params. "
            f"Instead, write the values into the command: {found[1]}{found[2] or '=...'}"
        )
    if "Cannot merge" in text and (reason := _mismatch(text, composer)):
        return reason
    key, advice = "", ""
    if found := re.search(r"Could not override '([^']+)'", text):
        # A new key at the top would be read by nobody.
        key, advice = found[1], f"To add a new key, use +{found[1]}=..." if "." in found[1] else ""
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
    if _NOT_SET.search(text):
        return reason_of(error)
    return first_line(error) if len(text) > 400 else text


def _with_other_suffix(composer: Composing, name: str) -> str:
    """The file of an option that does not end in .yaml; '' if there is none."""
    sources = composer.hydra.config_loader.get_sources()
    files = (f"{name}{suffix}" for suffix in (".yml", ".YAML", ".YML", ".json"))
    places = [source.path for source in sources if source.scheme() == "file"]
    return next((file for file in files if any(Path(each, file).is_file() for each in places)), "")


def _mismatch(text: str, composer: Composing) -> str:
    """Which key has a mapping for a list, or a list for a mapping; '' if that is not known."""
    if found := re.search(r"Error merging override \+*([^=\s]+)=(.*)", text):
        key, value = found.groups()
        if value.startswith("{"):
            return f"{key} is a list, and not a mapping. Write {key}=[{value}]"
        return f"{key} is a mapping, and not a list"
    if not (found := re.search(r"In '([^']+)'", text)):
        return ""
    files = composer.hydra.config_loader.files
    mine = dict(_containers(found[1], files[found[1]])) if found[1] in files else {}
    for name, each in files.items():
        for path, node in _containers(name, each) if name != found[1] else ():
            other = mine.get(path)
            if isinstance(node, ListConfig) and isinstance(other, DictConfig):
                return f"{path} is a mapping in {found[1]}.yaml, and must be a list: [{{...}}]"
            if isinstance(node, DictConfig) and isinstance(other, ListConfig):
                problem = option_as_text(path, OmegaConf.to_container(other, resolve=False))
                known = f"{path} is a list in {found[1]}.yaml, and must have keys"
                return str(problem) if problem else known
    return ""


def _containers(name: str, found: ConfigResult) -> Iterator[tuple[str, Any]]:
    """The mappings and lists of a file with their paths in the whole configuration."""
    package = package_of(name, found)
    for path, node in walk(found.config, package, lambda node, key: node._get_node(key)):
        if OmegaConf.is_config(node) and not node._is_none():
            yield path, node


def _mistake_in_defaults(text: str, overrides: Sequence[str]) -> str:
    """What is wrong in the defaults list of a file, if it is a common mistake; '' otherwise."""
    if found := re.search(r"In '([^']+)': Could not override '([^'@]+)@([^']+)'", text):
        file, selected, package = found.groups()
        group = file.partition("/")[0]
        if selected.startswith(f"{group}/"):
            name = selected.removeprefix(f"{group}/")
            return f"'override {name}' in {file}.yaml has no slash. Write: override /{name}: OPTION"
        if package.startswith(f"{group}."):
            return (
                f"'override /{selected}' in {file}.yaml applies below '{group}', where nothing is "
                "selected. Start the file with '# @package _global_'"
            )
    if found := re.search(r"In '([^']+)': Could not find '([^']+)'", text):
        file, (group, _, rest) = found[1], found[2].partition("/")
        if "/" in rest and file.startswith(f"{group}/") and group != "hydra":
            name, option = rest.split("/", 1)
            return (
                f"'{name}: {option}' in {file}.yaml selects an option below '{group}'. Write: override "
                f"/{name}: {option}"
            )
    if found := re.search(r"^(\S+) appears more than once in the final defaults list", text):
        file = next((line for line in overrides if "=" in line and "." not in line.split("=")[0]), "a file")
        return (
            f"{found[1]} is selected a second time, by the defaults list of {file}. Write there: override "
            f"/{found[1]}: OPTION"
        )
    return ""


def _unknown_key(key: str, advice: str, composer: Composing, others: Sequence[str]) -> str:
    if composer.hydra.is_stored and composer.hydra.config_loader.get_group_options(key):
        return (
            f"{key}: a stored configuration has values, and no options to select. Set its values, or start "
            "with the overrides that are stored beside it in overrides.yaml"
        )
    parent, _, last = key.rpartition(".")
    plain: dict[str, Any] = {}
    try:
        config = composer.compose_config(group_choices(others))
        HydraConfig.instance().set_config(config)
        options = composer.hydra.config_loader.get_group_options(key.split(".")[0])
        if reason := wrong_form(key, config, options):
            return reason
        group = key.split(".")[0]
        found = option_as_text(group, OmegaConf.select(config, group)) if parent else None
        if found:
            hint = found.hint.replace("an option, write", "an option in a file, write")
            return f"{key}: {group} is the text '{found.value}'. {hint}"
        while parent and not isinstance(OmegaConf.select(config, parent), DictConfig):
            parent, _, last = parent.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        names = [str(name) for name in node if name != "hydra"]
        plain = OmegaConf.to_container(config)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException):
        names = []  # another override is wrong as well; report this one without a suggestion
    if last in names and f"{parent}.{last}".lstrip(".") != key:
        return _below_a_value(f"{parent}.{last}".lstrip("."), key, config)
    if last in names:
        return f"{key}: the value contains an unknown key. {advice.replace('=...', '.NAME=VALUE')}"
    if parent:
        parts = [f"{key}: {parent} has no key '{last}'.", closest(last, names), advice]
    else:
        near = meant(key, plain)
        choices = closest(last, names)
        parts = [
            f"{key}: there is no key or group '{last}'.",
            near,
            choices.partition("? ")[2] or choices if near else choices,
        ]
    return " ".join(part for part in parts if part)


def _below_a_value(path: str, key: str, config: DictConfig) -> str:
    """Why a key cannot be set below a path that has no keys."""
    if OmegaConf.select(config, path) is None:
        return f"{key}: {path} is null. Write +{key}=..."
    limits = key.replace("model.parameters.", "model.parameter_limits.", 1)
    near = limits != key and key.rpartition(".")[2] in ParameterLimits.model_fields
    return f"{key}: {path} is a plain value." + (f" Did you mean {limits}?" if near else "")


def group_choices(overrides: Sequence[str]) -> list[str]:
    """The overrides that may select an option of a group."""
    return [choice for line in overrides for choice in _group_choice(line)]


def _group_choice(line: str) -> list[str]:
    """An override that may select an option of a group, reduced to the first one if several are swept."""
    [override] = parse([line])
    if "." in override.key_or_group or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    if override.is_discrete_sweep():
        return [f"{override.get_key_element()}={next(override.sweep_string_iterator())}"]
    return [] if override.is_sweep_override() else [line]
