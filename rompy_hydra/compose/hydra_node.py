"""Checks of the `hydra` node: what Hydra would create from it, and what this program does not use of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.allowed_targets import defined_at, has_prefix, import_object
from rompy_hydra.compose.config_files import files_setting
from rompy_hydra.compose.hydra_keys import without_effect
from rompy_hydra.compose.validate import walk
from rompy_hydra.errors import NO_VALUE, InvalidConfig, Problem

# Nodes of which Hydra instantiates each `_target_`.
_INSTANTIATED = ("launcher", "sweeper", "callbacks")
_PLUGINS = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
_SAMPLERS = "optuna.samplers."  # which Hydra's plugin for Optuna names; they only compute
# Nodes that Hydra passes to `logging.config.dictConfig`, which calls classes and factories by name.
_LOGGING = ("hydra_logging", "job_logging")
_LOGGERS = ("logging.", "colorlog.", "rompy_hydra.")
_KINDS = (logging.Handler, logging.Formatter, logging.Filter)
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# The sweeper and the launcher of this package.
_OWN = "hydra_plugins.rompy_hydra."


class Refused(NamedTuple):
    """A setting that is not used: its values without effect, and what to use instead."""

    harmless: tuple[object, ...]
    instead: str


_PLACE = "the directory of a sweep is set by sweep.directory=DIR and sweep.name=NAME"
_ENVIRONMENT = "environment variables of the model are set in model.env, as +model.env.NAME=VALUE"
_LOG = (
    "messages go to standard error: set log_level=DEBUG for more of them, log_level=ERROR for less, and "
    "2>FILE to keep them"
)
# Of Hydra's default configuration and of this package's.
REFUSED = {
    "hydra.run.dir": Refused(
        ("${output_dir}/${run_id}", "outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}"),
        "the directory of a run is set by output_dir=DIR and run_id=NAME",
    ),
    "hydra.sweep.dir": Refused(
        ("${sweep.directory}/${sweep.name}", "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"), _PLACE
    ),
    "hydra.sweep.subdir": Refused(("${point_label:}", "${hydra.job.num}"), _PLACE),
    "hydra.output_subdir": Refused((".hydra",), "the configuration of a run is always stored in .hydra"),
    "hydra.job.chdir": Refused(
        (None, False),
        "this program stays where it was started, and a model starts in its run directory, or in "
        "run_backend.working_dir=DIR",
    ),
    "hydra.job.env_copy": Refused(([],), _ENVIRONMENT),
    "hydra.job.env_set": Refused(({},), _ENVIRONMENT),
    "hydra.verbose": Refused((False,), "set log_level=DEBUG"),
    "hydra.job_logging": Refused((), _LOG),
    "hydra.hydra_logging": Refused((), _LOG),
}
_OWN_LOGGING = {
    "version": 1,
    "handlers": {"loguru": {"class": "rompy_hydra.compose.logging_setup.InterceptHandler"}},
    "root": {"level": "INFO", "handlers": ["loguru"]},
    "loggers": {},
    "disable_existing_loggers": False,
}


def check_hydra_settings(config: DictConfig, files: Mapping[str, ConfigResult], *, is_sweep: bool) -> None:
    """InvalidConfig if a setting of Hydra would have no effect on a run or a sweep.

    `files` are those that it was composed of. Hydra's own launchers use its settings in a sweep.
    """
    hydra = config.hydra
    own_launcher = str(hydra.launcher.get("_target_")).startswith(_OWN)
    own_sweeper = str(hydra.sweeper.get("_target_")).startswith(_OWN)
    found = list(without_effect(config, files_setting(files, "hydra"), REFUSED, is_sweep=is_sweep))
    for key, (harmless, instead) in REFUSED.items():
        by_hydra = is_sweep and not own_launcher and key != "hydra.run.dir"
        if by_hydra and not (own_sweeper and key.startswith("hydra.sweep.")):
            continue
        node: Any = config
        for name in key.split("."):
            node = node._get_node(name)
        value = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node._value()
        if key in ("hydra.job_logging", "hydra.hydra_logging"):
            # A main configuration of its own, not based on this package's, has Hydra's default.
            option = hydra.runtime.choices.get(key.replace(".", "/"))
            is_default = option == "default" and not own_launcher
            harmless, value = (_OWN_LOGGING,), _OWN_LOGGING if is_default else value
        if value not in harmless:
            shown = value if isinstance(value, str | bool) else NO_VALUE
            found.append(Problem(key, shown, "has no effect here", instead[0].upper() + instead[1:]))
    if not is_sweep or own_launcher:
        found += _uncalled(config, is_sweep)
    if found:
        raise InvalidConfig(found)


def _uncalled(config: DictConfig, is_sweep: bool) -> Iterator[Problem]:
    """The callbacks that nobody would call: those of a single run, and of jobs of our own launcher."""
    from hydra.experimental.callback import Callback

    for name in config.hydra.callbacks or {}:
        key = f"hydra.callbacks.{name}"
        if not is_sweep:
            hint = f"Write a postprocessor or a pipeline plugin, or leave it out: ~{key}"
            yield Problem(key, NO_VALUE, "is called in sweeps (-m) only", hint)
            continue
        target = OmegaConf.select(config, f"{key}._target_")
        found = import_object(target) if isinstance(target, str) else None
        of_jobs = [each for each in ("on_job_start", "on_job_end") if hasattr(found, each)]
        if mine := [each for each in of_jobs if getattr(found, each) is not getattr(Callback, each)]:
            reason = f"{' and '.join(mine)} would not be called for the runs of a sweep"
            yield Problem(key, target, reason, "Write a postprocessor, or choose hydra/launcher=basic")


def check_hydra_node(config: DictConfig, prefixes: Sequence[str]) -> None:
    """InvalidConfig if Hydra would call something that is neither its own nor allowed."""
    found: list[Problem] = []
    for key in (*_INSTANTIATED, *_LOGGING):
        for_logging = key in _LOGGING
        allowed = [*(_LOGGERS if for_logging else _PLUGINS), *prefixes]
        if key == "sweeper":
            allowed.append(_SAMPLERS)
        node = OmegaConf.select(config, f"hydra.{key}", throw_on_missing=False)
        for path, value in walk(node, f"hydra.{key}", _value):
            name = path.rpartition(".")[2]
            reason = None
            if OmegaConf.is_config(value):
                continue
            if name in (("()", "class") if for_logging else ("_target_",)):
                reason = _refusal(value, allowed, for_logging)
            elif (
                for_logging
                and isinstance(value, str)
                and value.startswith("ext://")
                and value not in _STREAMS
            ):
                reason = f"is not allowed; use {' or '.join(_STREAMS)}"
            if reason:
                found.append(Problem(path, value, reason))
    if found:
        raise InvalidConfig(found)


def _value(node: Any, key: Any) -> Any:
    try:
        return None if OmegaConf.is_missing(node, key) else node[key]
    except OmegaConfBaseException:
        # An interpolation that resolves only later, such as the number of a job; never an object.
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]


def _refusal(name: object, prefixes: Sequence[str], for_logging: bool) -> str | None:
    """Why Hydra, or the configuration of logging, must not create something; None if it may."""
    refusal = "is neither a plugin of Hydra nor allowed"
    if for_logging:
        refusal = "is not an allowed handler, formatter or filter of logging"
    if not isinstance(name, str) or not has_prefix(name, prefixes):
        return refusal
    try:
        found = import_object(name)
    except ImportError:
        return None  # reported by what imports it
    if for_logging:
        return None if isinstance(found, type) and issubclass(found, _KINDS) else refusal
    home = defined_at(found)
    return None if has_prefix(home, prefixes) else f"is really {home}, which is not allowed"
