"""Hydra's loader, with checks of every composition before anything in it is used."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.config_files import ConfigFiles, Loaded
from rompy_hydra.compose.hydra_node import OF_RUNS, OF_SWEEPS, settle_hydra_node
from rompy_hydra.errors import ConfigError
from rompy_hydra.redaction import redacted, redacted_overrides, remember_secrets

# Entries of all defaults lists of a composition; each counts several times.
_MOST_DEFAULTS = 5_000


class _CountingRepository(CachingConfigRepository):
    """Ends compositions in which options include each other too often, as twice at each of 30 levels."""

    loaded = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self.loaded += 1
        if self.loaded > _MOST_DEFAULTS:
            raise ConfigError(
                f"the defaults lists include more than {_MOST_DEFAULTS} options, because they include the "
                f"same ones repeatedly, such as {config_path}"
            )
        return super().load_config(config_path)


class CheckedLoader(ConfigLoaderImpl):
    """Refuses compositions in which Hydra would call what it must not, and notices their secrets.

    Also those of each job of a sweep, which Hydra's own launchers compose by themselves.
    """

    # The prefixes of names that the user allows.
    trusted: Sequence[str] = ()
    # Compositions are only shown, without their secrets. None if they are used, else whether interpolations
    # are resolved before that.
    shown_resolved: bool | None = None

    @property
    def files(self) -> Loaded:
        """The files of the last composition."""
        assert isinstance(self.repository, ConfigFiles)
        return self.repository.loaded

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        self.files.clear()
        try:
            config = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        except (TypeError, ValueError, AssertionError) as error:
            if isinstance(error, ConfigError):
                raise
            # How it refuses some overrides, such as null for a group, or a key inside of a list.
            raise ConfigCompositionException(str(error) or "an override cannot be applied") from error
        except AttributeError as error:
            # How OmegaConf merges a mapping into one that has no value.
            if not (found := re.search(r"full_key: (\S+)", str(error))):
                raise
            key = found[1]
            instead = f"Write +{key}.NAME=VALUE"
            if key == "hydra.sweeper.params":
                instead = "Write the values into the command: model.friction=..."
            raise ConfigError(
                f"{key} has no value, which a command cannot replace by a mapping. {instead}"
            ) from error
        except KeyError as error:
            # How it looks up the environment variables that are to be copied.
            raise ConfigError(
                f"hydra.job.env_copy: the environment variable {error.args[0]} is not set"
            ) from error
        except RecursionError as error:
            raise ConfigCompositionException(
                "the configuration is nested too deeply, or one of its options includes itself (defaults)"
            ) from error
        HydraConfig.instance().set_config(config)  # for interpolations that need it
        OmegaConf.set_readonly(config.hydra, None)
        if self.shown_resolved is None:
            settle_hydra_node(config, self.trusted, OF_SWEEPS if run_mode is RunMode.MULTIRUN else OF_RUNS)
        else:
            settle_hydra_node(copy.deepcopy(config), self.trusted, ())  # shown as it is written
        remember_secrets(OmegaConf.to_container(config, resolve=False))
        return config if self.shown_resolved is None else redacted_config(config, self.shown_resolved)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, caching = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        # Making another one would copy the repository again.
        caching.__class__ = _CountingRepository
        return parsed, caching

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: Any
    ) -> None:
        typed = any(each.get_key_element() == "hydra.searchpath" for each in parsed_overrides)
        loaded = None if config_name is None or typed else repo.load_config(config_path=config_name)
        paths = None
        if loaded is not None and isinstance(loaded.config, DictConfig):
            try:
                paths = OmegaConf.select(loaded.config, "hydra.searchpath")
            except OmegaConfBaseException as error:
                raise ConfigCompositionException(f"hydra.searchpath: {error}") from error
        for path in paths if isinstance(paths, list | ListConfig) else ():
            scheme, separator, _ = str(path).partition("://")
            if separator and scheme != "file":
                raise ConfigError(
                    f"hydra.searchpath: {path} is requested by the configuration file {config_name}, and "
                    "looking for it would import code. If you trust it, add it to the command: "
                    f"'hydra.searchpath=[{path}]'"
                )
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


def redacted_config(config: DictConfig, resolved: bool) -> DictConfig:
    """A copy of a composition without secrets, to be shown. Other interpolations are kept as they are.

    `resolved`: an interpolation under the key of a secret is hidden as well, because it is to be resolved.
    """
    shown = copy.deepcopy(config)
    before: Any = OmegaConf.to_container(config, resolve=False)
    after = redacted(before, interpolations=not resolved)
    # Names of runs are made of the overrides: see `without_typed_secrets`.
    after["hydra"]["overrides"] = before["hydra"]["overrides"]
    after["hydra"]["job"]["override_dirname"] = before["hydra"]["job"]["override_dirname"]
    with flag_override(shown, ["struct", "readonly"], [False, False]):
        _replace(shown, before, after)
    return shown


def without_typed_secrets(config: DictConfig) -> DictConfig:
    """A copy of a composition whose list of overrides is fit to be shown."""
    shown = copy.deepcopy(config)
    with flag_override(shown, ["struct", "readonly"], [False, False]):
        typed = shown.hydra.overrides
        OmegaConf.set_readonly(shown.hydra, False)
        for kind in ("task", "hydra"):
            lines: Any = OmegaConf.to_container(typed[kind], resolve=False)
            typed[kind] = redacted_overrides(lines)
        shown.hydra.job.override_dirname = ",".join(sorted(typed.task))
    return shown


def _replace(node: Any, before: Any, after: Any) -> None:
    """Put what differs into a node of OmegaConf's."""
    if isinstance(before, Mapping):
        keys = list(after)
        for key, new in zip(list(before), keys, strict=True):
            if key != new:
                del node[key]
                node[new] = after[new]
            else:
                _replace_item(node, key, before[key], after[key])
    else:
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            _replace_item(node, number, old, new)


def _replace_item(node: Any, key: Any, old: Any, new: Any) -> None:
    if isinstance(old, dict | list) and type(old) is type(new):
        if old != new:
            _replace(node._get_node(key), old, new)
    elif old != new:
        node[key] = new
