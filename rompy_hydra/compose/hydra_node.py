"""Checks of the `hydra` node: what Hydra would create from it, and what this program does not use of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.allowed_targets import defined_at, has_prefix, import_object
from rompy_hydra.compose.config_files import files_setting
from rompy_hydra.compose.hydra_errors import raise_interrupt, reason_of
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
_OF_HYDRA = {"launcher": Launcher, "sweeper": Sweeper}
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# The keys whose values are imported by name: by Hydra and its plugin for Optuna, and by logging.
_TARGETS = ("_target_", "custom_search_space")
_CALLED = ("()", "class", "queue", "listener")
# What Hydra uses of the composition of a run or of a job, and of that of a sweep.
OF_RUNS = ("callbacks", *_LOGGING)
OF_SWEEPS = (*_INSTANTIATED, *_LOGGING)
# In place of `hydra.runtime.output_dir`, while nodes are resolved.
_DIRECTORY = "<the directory of the job>"
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


def check_hydra_settings(
    config: DictConfig,
    files: Mapping[str, ConfigResult],
    *,
    is_sweep: bool,
    trusted: Sequence[str] = (),
) -> None:
    """InvalidConfig if a setting of Hydra would have no effect on a run or a sweep.

    `files` are those that it was composed of. Hydra's own launchers use its settings in a sweep. `trusted`
    are the prefixes that the user allows.
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
        found += _uncalled(config, is_sweep, trusted)
    if found:
        raise InvalidConfig(found)


def _uncalled(config: DictConfig, is_sweep: bool, trusted: Sequence[str]) -> Iterator[Problem]:
    """The callbacks that nobody would call: those of a single run, and of jobs of our own launcher."""
    from hydra.experimental.callback import Callback

    callbacks = config.hydra.callbacks
    for name in callbacks or {}:
        key = f"hydra.callbacks.{name}"
        if not is_sweep:
            hint = f"Write a postprocessor or a pipeline plugin, or leave it out: ~{key}"
            yield Problem(key, NO_VALUE, "is called in sweeps (-m) only", hint)
            continue
        target = callbacks[name].get("_target_") if isinstance(callbacks[name], DictConfig) else None
        if target is None or _refusal(target, "callbacks", False, trusted):
            continue  # refused by `settle_hydra_node`, or nothing that could be called
        found = import_object(target)
        of_jobs = [each for each in ("on_job_start", "on_job_end") if hasattr(found, each)]
        if mine := [each for each in of_jobs if getattr(found, each) is not getattr(Callback, each)]:
            reason = f"{' and '.join(mine)} would not be called for the runs of a sweep"
            yield Problem(key, target, reason, "Write a postprocessor, or choose hydra/launcher=basic")


def settle_hydra_node(config: DictConfig, prefixes: Sequence[str], used: Collection[str]) -> None:
    """Resolve what Hydra would create, once: what is checked is then what it uses, whatever changes later.

    InvalidConfig if Hydra would call something that is neither its own nor allowed, or if one of the nodes
    that are `used` cannot be resolved yet.
    """
    found: list[Problem] = []
    runtime = config.hydra.runtime
    directory = runtime._get_node("output_dir")._value()
    runtime.output_dir = _DIRECTORY
    try:
        for key in OF_SWEEPS:
            try:
                found += _forbidden(_settled(config.hydra, key), key, prefixes)
            except (OmegaConfBaseException, RecursionError) as error:
                raise_interrupt(error)
                path = getattr(error, "full_key", None) or f"hydra.{key}"
                reason = "refers to itself" if isinstance(error, RecursionError) else reason_of(error)
                found += [Problem(path, NO_VALUE, reason)] if key in used else []
    finally:
        runtime.output_dir = directory
    if found:
        raise InvalidConfig(found)


def _settled(hydra: DictConfig, key: str) -> Any:
    """The plain, resolved data of a node of Hydra's, which replace the node."""
    if OmegaConf.is_missing(hydra, key):
        return None
    node, value = hydra._get_node(key), hydra[key]
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if plain != (OmegaConf.to_container(node) if OmegaConf.is_config(node) else None):
        with flag_override(hydra, ["struct", "readonly"], [False, False]):
            hydra[key] = _with_directory(plain)
    return plain


def _with_directory(value: Any) -> Any:
    """Plain data in which each job fills in its own directory, which is always an absolute path."""
    if isinstance(value, dict):
        return {key: _with_directory(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_directory(item) for item in value]
    return value.replace(_DIRECTORY, "${hydra.runtime.output_dir}") if isinstance(value, str) else value


def _forbidden(plain: Any, key: str, trusted: Sequence[str]) -> Iterator[Problem]:
    """What Hydra must not create of a node's plain data."""
    for_logging = key in _LOGGING
    for path, value in walk(plain, f"hydra.{key}"):
        name = path.rpartition(".")[2]
        reason = None
        if isinstance(value, dict | list):
            continue
        if name == "custom_search_space" and value is None:
            continue
        if name in (_CALLED if for_logging else _TARGETS):
            reason = _refusal(value, key, path == f"hydra.{key}._target_", trusted)
        elif not isinstance(value, str):
            continue
        elif "${" in value:
            reason = "would be resolved a second time"
        elif _DIRECTORY in value:
            if not (for_logging and name == "filename" and value.rfind(_DIRECTORY) == 0):
                reason = "is only known to a job; only the filename of a handler may begin with it"
                value = "${hydra.runtime.output_dir}"
        elif for_logging and value.startswith("ext://") and value not in _STREAMS:
            reason = f"is not allowed; use {' or '.join(_STREAMS)}"
        if reason:
            yield Problem(path, value, reason)


def _refusal(name: object, key: str, is_plugin: bool, trusted: Sequence[str]) -> str | None:
    """Why a node of Hydra's must not name something that is called; None if it may.

    `is_plugin` is true for the launcher or the sweeper itself, false for what is created inside of it.
    """
    refusal = "is neither a plugin of Hydra nor allowed"
    kinds: tuple[type, ...] = (object,)
    allowed = [*_PLUGINS, *trusted]
    if key in _LOGGING:
        refusal, kinds = "is not an allowed handler, formatter or filter of logging", _KINDS
        allowed = [*_LOGGERS, *trusted]
    elif is_plugin and key in _OF_HYDRA:
        refusal, kinds = f"is not a {key} of Hydra", (_OF_HYDRA[key],)
        allowed = list(_PLUGINS)  # Hydra takes no others
    elif key == "sweeper":
        allowed.append(_SAMPLERS)
    if not isinstance(name, str) or not has_prefix(name, allowed):
        return refusal
    try:
        found = import_object(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        return f"cannot be imported: {error}"
    is_class = isinstance(found, type) and issubclass(found, kinds)
    if not is_class and (kinds != (object,) or not has_prefix(name, trusted)):
        return refusal  # a function may do anything: only the user allows it
    home = defined_at(found)
    return None if has_prefix(home, allowed) else f"is really {home}, which is not allowed"
