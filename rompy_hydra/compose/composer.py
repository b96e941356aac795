"""Hydra's composition: with `shared_composition`, the one place that uses its private parts.

Tested with hydra-core 1.3.8. What is private here: `Hydra.create_main_hydra2` and the argument
parser; in `shared_composition` `ConfigLoaderImpl`.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.allowed_targets import KEY as TARGETS
from rompy_hydra.compose.allowed_targets import user_prefixes
from rompy_hydra.compose.entry_points import extend
from rompy_hydra.compose.hydra_errors import raise_interrupt, readable_errors
from rompy_hydra.compose.hydra_node import check_hydra_node
from rompy_hydra.compose.override_parser import first_line, label_of, parse
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.label import DEFAULT_LABEL, is_processing


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
            raise ConfigError(f"{error.full_key or key}: {first_line(error)}") from error

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
        hydra = _CheckedHydra.create_main_hydra2("rompy_hydra", _search_path(arguments))
        assert isinstance(hydra, _CheckedHydra)
        hydra.trusted = self.trusted
        self.hydra = hydra

    def close(self) -> None:
        GlobalHydra.instance().clear()

    def compose(self, overrides: Sequence[str]) -> Composed:
        """The configuration of one run; ConfigError says what is wrong with an override."""
        with readable_errors(self, overrides):
            config = self.compose_config(overrides)
        HydraConfig.instance().set_config(config)
        return Composed(config, tuple(_typed()))

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

    trusted: tuple[str, ...] = ()
    # Called once with the configuration of a sweep, before its sweeper is created.
    accept: Callable[[DictConfig], None] | None = None

    def compose_config(self, *args: Any, **kwargs: Any) -> DictConfig:
        try:
            config = super().compose_config(*args, **kwargs)
        except (TypeError, ValueError, AssertionError) as error:
            # How it refuses some overrides, such as null for a group, or a key inside of a list.
            raise ConfigCompositionException(str(error) or "an override cannot be applied") from error
        HydraConfig.instance().set_config(config)  # for interpolations that need it
        OmegaConf.set_readonly(config.hydra, None)
        check_hydra_node(config, self.trusted)
        if kwargs.get("run_mode") is RunMode.MULTIRUN and self.accept is not None:
            # Not kept: a launcher may send this object to other processes.
            accept, self.accept = self.accept, None
            accept(config)
        return config


def _search_path(arguments: argparse.Namespace) -> ConfigSearchPath:
    main = str(config_dir()) if arguments.config_path is None else arguments.config_path
    path = create_config_search_path(main if "://" in main else _url("--config-path", main))
    if arguments.config_dir is not None:
        # Before this package's own: a user's option of the same name wins.
        extra = _url("--config-dir", arguments.config_dir)
        path.prepend("command-line", extra, SearchPathQuery(provider="main"))
    schema = path.get_path().pop()  # Hydra wants its schemas to stay last
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
    found.add_argument("--dry-run", action="store_true", help="List a sweep's points and stop")
    found.add_argument("--debug", action="store_true", help="Show the traceback of an error")
    return found


@functools.cache
def register_resolvers() -> None:
    OmegaConf.register_new_resolver("run_label", _run_label, replace=True)
    OmegaConf.register_new_resolver("point_label", _point_label, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _base_name, replace=True)


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
    return str(choices.get("experiment") or choices["model"]).replace("/", "_")
