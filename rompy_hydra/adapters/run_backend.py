"""Run backends that are none of this package's kind: rompy's own, or in the shape of the reference."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rompy_hydra.errors import ConfigError, PluginError, RunError
from rompy_hydra.jsonable import Json, to_plain
from rompy_hydra.plugins.answers import as_bool, describe
from rompy_hydra.plugins.construct import check_arguments, construct, instantiate, takes
from rompy_hydra.redaction import is_secret
from rompy_hydra.workspace import LOG, SCRIPT, Workspace

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

# Backends that know nothing of this package's models start the one script of the run, in its directory.
_START = "sh {script} > {log} 2>&1"


class ForeignBackend:
    """A backend with `run(model_run, **settings)` or `run(model_run, config)`, and what it is given."""

    def __init__(self, backend: Any, settings: Mapping[str, object]) -> None:
        if isinstance(backend, type) and hasattr(backend, "get_backend_class"):
            backend, settings = construct(backend, settings), {}
        if hasattr(backend, "get_backend_class"):
            self.instance = construct(backend.get_backend_class(), {})
            self._arguments: dict[str, Any] = {"config": backend}
        else:
            self.instance, self._arguments = instantiate(backend, settings, "run")
        self._run = getattr(self.instance, "run", None)
        if not callable(self._run):
            raise PluginError(f"{self.instance!r} is no run backend: it has no run()")
        check_arguments(self._run, self._arguments)  # told now, and not when the model is to start
        config = self._arguments.get("config")
        data = to_plain(config if config is not None else dict(settings))
        self.settings: dict[str, Json] = data if isinstance(data, dict) else {}

    def check(self, model_config: object) -> None:
        """ConfigError if it would execute nothing, and say that all is well."""
        if self._lacks_command() and not _commands(model_config) and not _runs_itself(model_config):
            raise ConfigError(
                f"nothing to execute: {type(model_config).__name__} has no commands. Give "
                "run_backend.command, or say model.needs_execution=false if the model knows that"
            )

    def call(self, model_run: ModelRun, workspace: Path) -> bool:
        """Run the model, and judge what the backend says of it; RunError if that cannot be judged."""
        self.check(model_run.config)
        arguments = {**self._for_model(model_run.config, workspace), "workspace_dir": str(workspace)}
        assert self._run is not None
        returned = self._run(model_run, **check_arguments(self._run, arguments))
        success = as_bool(returned)
        name = type(self.instance).__qualname__
        if success is None:
            raise RunError(
                f"{name}.run() returned {describe(returned)}, and not True or False, so that its success "
                "cannot be told"
            )
        code = Workspace(workspace).exit_code()
        if success and code:
            raise RunError(f"{name}.run() returned True, but {SCRIPT} ended with {code}")
        return success

    def _for_model(self, model_config: object, workspace: Path) -> dict[str, Any]:
        """The arguments, with the model's own command and secrets where the backend takes such."""
        filled: dict[str, object] = {}
        if self._lacks_command() and _commands(model_config):
            elsewhere = getattr(self._arguments.get("config"), "working_dir", None)
            names = [shlex.quote(str(workspace / name)) if elsewhere else name for name in (SCRIPT, LOG)]
            filled["command"] = _START.format(script=names[0], log=names[1])
        secrets = {k: v for k, v in getattr(model_config, "env", {}).items() if is_secret(k)}
        if secrets and self._takes("env_vars"):
            filled["env_vars"] = {**secrets, **(self._given("env_vars") or {})}
        config = self._arguments.get("config")
        if config is None or not filled:
            return {**self._arguments, **filled}
        return {**self._arguments, "config": _replaced(config, filled)}

    def _lacks_command(self) -> bool:
        return self._takes("command") and not self._given("command")

    def _takes(self, name: str) -> bool:
        config = self._arguments.get("config")
        return hasattr(config, name) if config is not None else takes(self._run, name)

    def _given(self, name: str) -> Any:
        config = self._arguments.get("config")
        return getattr(config, name) if config is not None else self._arguments.get(name)


def _commands(model_config: object) -> bool:
    return bool(getattr(model_config, "commands", ()))


def _runs_itself(model_config: object) -> bool:
    return callable(getattr(model_config, "run", None))


def _replaced(config: Any, fields: Mapping[str, object]) -> Any:
    if isinstance(config, BaseModel):
        return config.model_copy(update=fields)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.replace(config, **fields)
    return type(config)({**config, **fields}) if isinstance(config, dict) else config
