"""Hydra's composition: with the two modules below, the one place that uses its private parts.

Tested with hydra-core 1.3.8. What is private here: `Hydra.create_main_hydra2` and the argument
parser; in `shared_composition` `ConfigLoaderImpl`; in `declared_parameters` `ConfigRepository`.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from rompy_hydra import __version__
from rompy_hydra.compose import rompy_variables, stored_config
from rompy_hydra.compose.allowed_targets import KEY as TARGETS
from rompy_hydra.compose.allowed_targets import user_prefixes
from rompy_hydra.compose.checked_loader import CheckedLoader, without_typed_secrets
from rompy_hydra.compose.config_files import ConfigFiles
from rompy_hydra.compose.entry_points import extend
from rompy_hydra.compose.hydra_errors import group_choices, raise_interrupt, readable_errors, reason_of
from rompy_hydra.compose.override_parser import label_of, parse, path_of
from rompy_hydra.compose.processor_settings import long_prefix, may_be_long, merge_long_form, shortened
from rompy_hydra.errors import ConfigError
from rompy_hydra.redaction import remember
from rompy_hydra.redaction.names import is_secret
from rompy_hydra.sweep.label import DEFAULT_LABEL, is_processing

# An option of a group, added.
_ADDED_GROUP = re.compile(r"\+{1,2}([\w/-]+)=")


def config_dir() -> Path:
    """The directory of the configurations that come with this package."""
    package = Path(__file__).parent.parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


@dataclass(frozen=True)
class Composed:
    """One composed configuration: Hydra's own object, and its overrides."""

    config: DictConfig
    overrides: tuple[str, ...]
    # The files that it was composed of by their name; none if a launcher of Hydra's composed it.
    files: Mapping[str, ConfigResult] = field(default_factory=dict)
    # What a person should know of these files.
    cautions: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The configuration without Hydra's part, resolved, as plain data (`???` stays `???`)."""
        return {str(key): self.resolved(str(key)) for key in self.config if key != "hydra"}

    def resolved(self, key: str) -> Any:
        """One top-level node, resolved."""
        # Key by key, in place: an interpolation may point anywhere, also into Hydra's part.
        try:
            if OmegaConf.is_missing(self.config, key):
                return "???"
            value = self.config[key]
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            raise_interrupt(error)
            raise ConfigError(f"{error.full_key or key}: {reason_of(error)}") from error

    def without_hydra(self) -> DictConfig:
        """A copy without Hydra's part, interpolations as they are."""
        copied = self.config.copy()
        OmegaConf.set_struct(copied, False)
        copied.pop("hydra")
        OmegaConf.set_struct(copied, True)
        return copied


class Composer:
    """Composes this application's configuration; holds Hydra's loader with its search path."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        version.setbase("1.3")
        register_resolvers()
        self.config_name = arguments.config_name or "config"
        # What the user, and no file, allows to be called.
        self.trusted = user_prefixes(parse([line for line in arguments.overrides if TARGETS in line]))
        path = _search_path(arguments)
        hydra = _CheckedHydra.create_main_hydra2("rompy_hydra", path)
        assert isinstance(hydra, _CheckedHydra)
        self.loader = CheckedLoader(path)
        self.loader.repository = ConfigFiles(path)
        self.loader.trusted = self.trusted
        hydra.config_loader = self.loader
        hydra.is_stored = stored_config.is_stored(arguments.config_path)
        self.hydra = hydra

    def close(self) -> None:
        GlobalHydra.instance().clear()

    def compose(self, overrides: Sequence[str]) -> Composed:
        """The configuration of one run; ConfigError says what is wrong with an override."""
        with readable_errors(self, overrides):
            config = self.compose_config(overrides)
        HydraConfig.instance().set_config(config)
        # A stored configuration is a model's own: nobody has set its values in this command.
        loaded = self.loader.files
        files = {} if self.hydra.is_stored else dict(loaded)
        return Composed(config, tuple(_typed()), files, loaded.cautions)

    def without_plus(self, overrides: Sequence[str]) -> list[str]:
        """Overrides in which `+GROUP=OPTION`, as in other programs, selects an option of a known group."""
        loader: Any = self.hydra.config_loader
        added = {
            match[1]
            for line in overrides
            if (match := _ADDED_GROUP.match(line)) and loader.repository.group_exists(match[1])
        }
        if added:
            found = loader.compute_defaults_list(self.config_name, [], RunMode.RUN)
            added &= found.overrides.known_choices.keys()
        return [
            line.lstrip("+") if (match := _ADDED_GROUP.match(line)) and match[1] in added else line
            for line in overrides
        ]

    def asks_for_sweep(self, overrides: Sequence[str]) -> bool:
        """Whether a configuration has `hydra.mode: MULTIRUN`."""
        return self.hydra.get_mode(self.config_name, list(overrides)) is RunMode.MULTIRUN

    def compose_config(self, overrides: Sequence[str]) -> DictConfig:
        """What Hydra composes, with its own errors."""
        return self.hydra.compose_config(
            config_name=self.config_name,
            overrides=list(overrides),
            run_mode=RunMode.RUN,
            with_log_configuration=False,
        )


class _CheckedHydra(Hydra):
    """Hydra, composing only what it may instantiate afterwards."""

    # Whether the main configuration is the one that a run has stored.
    is_stored = False
    # Called once with the configuration of a sweep, before its sweeper is created.
    accept: Callable[[DictConfig], None] | None = None

    def compose_config(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        # `--help` would configure logging, which may create files.
        kwargs["with_log_configuration"] = False
        if self.is_stored and config_name is not None:
            overrides = [*stored_config.HYDRA_OVERRIDES, *overrides]
        try:
            config = super().compose_config(config_name, overrides, *args, **kwargs)
        except ConfigCompositionException:
            shorter = self._short_forms(config_name, overrides)
            if shorter == overrides:
                raise
            config = super().compose_config(config_name, shorter, *args, **kwargs)
        merge_long_form(config, {path_of(each) for each in parse(overrides)})
        if self.is_stored:
            stored_config.check_complete(config)
        HydraConfig.instance().set_config(config)  # for interpolations that need it
        OmegaConf.set_readonly(config.hydra, None)
        if kwargs.get("run_mode") is RunMode.MULTIRUN and not _is_own(config.hydra.launcher):
            # Such a launcher would write the configuration of each job with its secrets: the job does it.
            config.hydra.overrides.hydra.append("hydra.output_subdir=null")
        if kwargs.get("run_mode") is RunMode.MULTIRUN and self.accept is not None:
            # Not kept: a launcher may send this object to other processes.
            accept, self.accept = self.accept, None
            accept(config)
        return config

    def _short_forms(self, config_name: str | None, overrides: list[str]) -> list[str]:
        """Overrides with `processor.dpi` for `processor.map.dpi`, where `map` is the only processor."""
        if not may_be_long(overrides):
            return overrides
        prefix = long_prefix(super().compose_config(config_name, group_choices(overrides), RunMode.RUN))
        return [shortened(line, prefix) for line in overrides]

    def get_help(self, help_cfg: DictConfig, *args: Any, **kwargs: Any) -> str:
        try:
            return super().get_help(help_cfg, *args, **kwargs)
        except (KeyError, ValueError, TypeError) as error:
            key = help_cfg._get_full_key("template")
            raise ConfigError(f"{key}: cannot be filled in: {error}. Write $$ for a dollar sign") from error

    def get_sanitized_cfg(self, cfg: DictConfig, cfg_type: str) -> DictConfig:
        shown = super().get_sanitized_cfg(cfg, cfg_type)
        return without_typed_secrets(shown) if cfg_type == "all" else shown

    @staticmethod
    def get_sanitized_hydra_cfg(src_cfg: DictConfig) -> DictConfig:
        return without_typed_secrets(Hydra.get_sanitized_hydra_cfg(src_cfg))


def _is_own(plugin: DictConfig) -> bool:
    return str(plugin.get("_target_")).startswith("hydra_plugins.rompy_hydra.")


def _search_path(arguments: argparse.Namespace) -> ConfigSearchPath:
    main = str(config_dir()) if arguments.config_path is None else arguments.config_path
    path = create_config_search_path(main if "://" in main else _url("--config-path", main))
    if arguments.config_dir is not None:
        # Before this package's own: a user's option of the same name wins.
        extra = _url("--config-dir", arguments.config_dir)
        path.prepend("command-line", extra, SearchPathQuery(provider="main"))
    if arguments.rompy:
        from rompy_hydra.compose import rompy_source

        rompy_source.prepend(path, arguments.rompy)
    schema = path.get_path().pop()  # Hydra wants its schemas to stay last
    if stored_config.is_stored(arguments.config_path):
        path.append("rompy_hydra", f"file://{config_dir()}")
    extend(path)
    path.get_path().append(schema)
    return path


def _url(flag: str, directory: str) -> str:
    if not os.path.isdir(directory):
        raise ConfigError(f"{flag}: {directory} is not a directory")
    return f"file://{os.path.abspath(directory)}"


def parser() -> argparse.ArgumentParser:
    """Hydra's own parser of the command line, with `--debug`."""
    found = get_args_parser()
    found.prog = "rompy-hydra"
    found.add_argument(
        "--rompy", metavar="FILE", action="append", help="Run a configuration file of rompy's as it is"
    )
    found.add_argument(
        "--rompy-include", metavar="DIR", action="append", help="Where such a file may include files from"
    )
    for action in found._actions:
        if "--version" in action.option_strings:
            action.version = f"rompy-hydra {__version__}"  # type: ignore[attr-defined]
    found.add_argument("--dry-run", action="store_true", help="List a sweep's points and stop")
    found.add_argument("--debug", action="store_true", help="Show the traceback of an error")
    return found


@functools.cache
def register_resolvers() -> None:
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)
    rompy_variables.register()
    OmegaConf.register_new_resolver("run_label", _run_label, replace=True)
    OmegaConf.register_new_resolver("point_label", _point_label, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _base_name, replace=True)


def _env(key: str, *default: Any) -> Any:
    """As OmegaConf's own `oc.env`; a value that by its name is a secret is remembered as one."""
    value = oc.env(key, *default)
    if is_secret(key):
        remember(value)
    return value


def _run_label() -> str:
    """The default name of a run: its experiment or model, and what the command line changed."""
    base = "experiment" if HydraConfig.get().runtime.choices.get("experiment") else "model"
    rest = label_of(_typed(), omits=lambda key: key == base or is_processing(key))
    return f"{_base_name()},{rest}" if rest else _base_name()


def _point_label() -> str:
    """The name of a point of a sweep, as `sweep.points.Point` makes it, for other launchers."""
    return label_of(_typed()) or DEFAULT_LABEL


def _typed() -> list[str]:
    # Iterating over the list would resolve interpolations in them.
    return OmegaConf.to_container(HydraConfig.get().overrides.task)  # type: ignore[return-value]


def _base_name() -> str:
    choices = HydraConfig.get().runtime.choices
    if "model" not in choices:  # a stored configuration, or one without groups
        sources = HydraConfig.get().runtime.config_sources
        main = next(each.path for each in sources if each.provider == "main")
        return stored_config.name_of(main, str(HydraConfig.get().job.config_name))
    return str(choices.get("experiment") or choices["model"]).replace("/", "_")
