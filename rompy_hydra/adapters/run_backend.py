"""Run backends of other packages, or in the shape of the reference, as a `BaseRunBackend`."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from rompy_hydra.errors import (
    ConfigError,
    ModelFailed,
    ModelTimedOut,
    NotAPlugin,
    RompyHydraError,
    RunError,
)
from rompy_hydra.jsonable import Json, to_plain
from rompy_hydra.plugins.answers import as_bool, describe
from rompy_hydra.plugins.configured import name_of
from rompy_hydra.plugins.signatures import check_arguments, construct, instantiate, takes
from rompy_hydra.redaction import is_secret_variable
from rompy_hydra.run.base import BackendConfig, BaseRunBackend, Job, Outcome, RunLike
from rompy_hydra.run.outcome import error_with_log
from rompy_hydra.workspace import LOG, Workspace

# Backends that know nothing of this package's models start the one script of the run, in its directory.
_START = "sh {script} > {log} 2>&1"


class ForeignRunBackend(BaseRunBackend):
    """A backend with `run(model_run, **settings)` or `run(model_run, config)`, and its settings."""

    name: ClassVar[str] = "foreign"
    config_class = BackendConfig

    def __init__(self, backend: Any, settings: Mapping[str, object], name: str = "") -> None:
        super().__init__(BackendConfig())
        if isinstance(backend, type) and hasattr(backend, "get_backend_class"):
            backend, settings = construct(backend, settings), {}
        self._arguments: dict[str, Any]
        if hasattr(backend, "get_backend_class"):
            self.instance = construct(backend.get_backend_class(), {})
            self._arguments = {"config": backend}
        else:
            self.instance, self._arguments = instantiate(backend, settings, "run")
        self._run = getattr(self.instance, "run", None)
        if not callable(self._run):
            raise NotAPlugin(f"{describe(self.instance)} is not a run backend: it has no run()")
        check_arguments(self._run, self._arguments)  # now, and not when the model is to start
        config = self._arguments.get("config")
        data = to_plain(config if config is not None else dict(settings))
        self._settings: dict[str, Json] = data if isinstance(data, dict) else {}
        self._name = name_of("run", type(self.instance), name)

    @property
    def plugin_name(self) -> str:
        return self._name

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def transient(self) -> frozenset[str]:
        return frozenset()

    @property
    def has_command(self) -> bool:
        return self._takes("command") and bool(self._given("command"))

    def check(self, model: object, files: set[str]) -> None:
        """ConfigError if it would execute nothing, and report success."""
        runs_itself = callable(getattr(model, "run", None))
        if self._lacks_command() and not self.commands(model) and not runs_itself:
            raise ConfigError(
                f"nothing to execute: {getattr(model, 'kind', type(model).__name__)} has no commands. Set "
                "run_backend.command, or model.needs_execution=false if the model needs no execution"
            )

    def execution_key(self, model: object) -> list[Json]:
        return [[], None]

    def run(
        self,
        model_run: RunLike,
        config: BackendConfig | None = None,
        workspace_dir: str | Path | None = None,
    ) -> bool:
        """Run a model in a workspace that somebody else made."""
        return self._call(model_run, Workspace(workspace_dir or "")) is True

    def start(self, job: Job) -> Outcome:
        assert job.model_run is not None
        begin = time.monotonic()
        try:
            success = self._call(job.model_run, job.workspace)
        except RompyHydraError:
            raise
        except TimeoutError as error:
            message = f"the run backend {self.plugin_name}: {error}"
            raise error_with_log(ModelTimedOut, job.workspace, message) from error
        except Exception as error:
            raise RunError(
                f"the run backend {self.plugin_name} failed: {type(error).__name__}: {error}"
            ) from error
        if not success:
            message = f"the run backend {self.plugin_name} reported a failure"
            raise error_with_log(ModelFailed, job.workspace, message)
        return Outcome(0, time.monotonic() - begin)

    def reattach(self, job: Job, facts: Mapping[str, Json]) -> None:
        """Nothing: how such a backend runs models is not known."""

    def _call(self, model_run: RunLike, workspace: Workspace) -> bool:
        """Call the plugin; RunError if whether it succeeded cannot be determined."""
        model = model_run.config
        self.check(model, set())
        arguments = {**self._for_model(model, workspace), "workspace_dir": workspace.root}
        assert self._run is not None
        returned = self._run(model_run, **check_arguments(self._run, arguments))
        success = as_bool(returned)
        name = type(self.instance).__qualname__
        if success is None:
            raise RunError(
                f"{name}.run() returned {describe(returned)} instead of True or False, so whether it "
                "succeeded cannot be determined"
            )
        code = workspace.exit_code()
        if success and code:
            raise RunError(f"{name}.run() returned True, but {workspace.script_name} exited with {code}")
        return success

    def _for_model(self, model: object, workspace: Workspace) -> dict[str, Any]:
        """The arguments, with the model's own command and secrets where the backend takes such."""
        filled: dict[str, object] = {}
        if self._lacks_command() and self.commands(model):
            elsewhere = getattr(self._arguments.get("config"), "working_dir", None)
            files = (workspace.script_name, LOG)
            names = [shlex.quote(workspace.at(name)) if elsewhere else name for name in files]
            filled["command"] = _START.format(script=names[0], log=names[1])
        env = getattr(model, "env", {})
        secrets = {key: value for key, value in env.items() if is_secret_variable(key, value)}
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


def _replaced(config: Any, fields: Mapping[str, object]) -> Any:
    if isinstance(config, BaseModel):
        return config.model_copy(update=fields)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.replace(config, **fields)
    return type(config)({**config, **fields}) if isinstance(config, dict) else config
