"""Model configurations in rompy's shape as a `BaseConfig` of this package.

Such a configuration is called with a run, and its `render` with the result; both write into the run
directory.
"""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import platform
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import BaseModel, PrivateAttr

from rompy_hydra.errors import (
    ConfigError,
    GenerateError,
    ModelRaised,
    RompyHydraError,
    shortened,
)
from rompy_hydra.jsonable import Json, plain, to_plain
from rompy_hydra.models.base import BaseConfig, target_of
from rompy_hydra.models.inputs import RunFacts
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.log import log_messages, print_messages
from rompy_hydra.plugins.model_types import find_model_type, model_types
from rompy_hydra.plugins.signatures import construct
from rompy_hydra.process.pickled import child_command, received
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import EVERYTHING

_NO_CHECKS = SuccessChecks.model_construct()
_FIELDS = ("model_type", "run_id", "period", "output_dir", "config", "delete_existing", "run_id_subdir")


def resolve_model(config: object, success: SuccessChecks | None = None) -> BaseConfig:
    """A model configuration of any shape as a `BaseConfig`, with further success checks of its run.

    One of this package without such checks is returned unchanged.
    """
    model = config if isinstance(config, BaseConfig) else ForeignModel.wrapping(config)
    if callable(config) and isinstance(config, BaseConfig):
        name = type(config).__name__
        raise ConfigError(
            f"{name} has a method __call__, which rompy would call to write the inputs, but is one of "
            f"rompy_hydra's. Give {name} a template directory or a method inputs(), or derive it from "
            "rompy.core.config.BaseConfig"
        )
    if success is None or success.is_default:
        return model
    if not isinstance(model.success, SuccessChecks):
        raise ConfigError(
            f"success: {type(config).__name__} has success checks of its own kind, which cannot be "
            "combined with these; set them in model.success"
        )
    return model.model_copy(update={"success": model.success.plus(success)})


def typed_config(config: object) -> object:
    """The model configuration that plain data with `model_type` describe; anything else as it is.

    `model_type` is the name of an installed model configuration, or the one that its class declares,
    as in rompy. ConfigError if the data describe none, UnknownPlugin for an unknown one.
    """
    if isinstance(config, str | bytes | list | int | float | None):
        raise ConfigError(
            f"{shortened(config)} is not a model configuration: give an object, or data with model_type"
        )
    if not isinstance(config, Mapping):
        return config
    kind = config.get("model_type")
    if not isinstance(kind, str):
        choices = ", ".join(sorted(registry.names("config")))
        raise ConfigError(
            f"the data have no model_type, the name of a model configuration. Choices: {choices}"
        )
    found = find_model_type(kind).load()
    keeps = kind in model_types(found)
    return construct(found, {k: v for k, v in config.items() if keeps or k != "model_type"})


class ForeignModel(BaseConfig):
    """A configuration of another package, with the attributes of `BaseConfig` that it has."""

    renders_itself: ClassVar[bool] = True

    _config: Any = PrivateAttr()

    @classmethod
    def wrapping(cls, config: Any) -> ForeignModel:
        found = {
            "commands": tuple(getattr(config, "commands", ())),
            "env": dict(getattr(config, "env", {})),
            "success": getattr(config, "success", None) or SuccessChecks(),
            "outputs": tuple(getattr(config, "outputs", None) or (EVERYTHING,)),
            "image": getattr(config, "image", None),
            "needs_execution": bool(getattr(config, "needs_execution", True)),
        }
        # Not validated: another package's attributes of these names may hold anything.
        model = cls.model_construct(**found)  # type: ignore[arg-type]
        model._config = config
        return model

    @property
    def kind(self) -> str:  # type: ignore[override]
        return str(getattr(self._config, "kind", type(self._config).__name__))

    @property
    def run(self) -> Any:
        """The configuration's own `run(model_run)`, if it has one."""
        return getattr(self._config, "run", None)

    def plain_data(self) -> dict[str, Json]:
        config = self._config
        data = to_plain(config if isinstance(config, BaseModel) else getattr(config, "__dict__", {}))
        found = {"_target_": target_of(type(config)), **plain(cast("Mapping[str, Json]", data))}
        own = getattr(config, "success", None) or _NO_CHECKS
        if isinstance(self.success, SuccessChecks) and self.success != own:  # with those of the run
            found["success"] = self.success.plain_data
        return found

    def render_into(self, run: RunFacts) -> None:
        """Let the configuration write its inputs; GenerateError if it cannot.

        It gets a copy of itself, because rompy's configurations change themselves on the way. In
        any thread but the main one it works in a child process: rendering with cookiecutter
        changes the working directory.
        """
        config = self._config
        if not (callable(config) or callable(getattr(config, "render", None))):
            return
        if threading.current_thread() is threading.main_thread():
            _render(copy.deepcopy(config), run)
        else:
            _render_in_child(config, run)


@dataclass
class Runtime:
    """What such a configuration sees of its run: what rompy's `ModelRun` has."""

    run_id: str
    period: Any
    output_dir: Path
    config: Any
    staging_dir: Path
    model_type: str = "modelrun"
    delete_existing: bool = False
    run_id_subdir: bool = True
    _datefmt: str = "%Y%m%d.%H%M%S"

    def generate(self) -> str:
        """Nothing: it is being generated."""
        return str(self.staging_dir)

    def model_dump(self, **_how: object) -> dict[str, Any]:
        """The fields of rompy's `ModelRun` as a dict."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {
            name: value.model_dump() if isinstance(value, BaseModel) else value
            for name, value in fields.items()
        }


def _render(config: Any, run: RunFacts) -> None:
    directory = Path(run.workspace)
    # Without a directory of its name, the run is in the output directory itself.
    subdir = directory.name == run.run_id
    output_dir = directory.parent if subdir else directory
    period = _period_for(config, run.period)
    runtime = Runtime(run.run_id, period, output_dir, config, directory, run_id_subdir=subdir)
    try:
        context = {"runtime": _context_of(runtime)}
        context["config"] = config(runtime) if callable(config) else config
        if callable(getattr(config, "render", None)):
            config.render(context, runtime.output_dir)
    except RompyHydraError:
        raise
    except Exception as error:
        what = f"{type(config).__name__} could not write its inputs:"
        if isinstance(error, FileNotFoundError) and not _is_inside(error.filename, directory):
            hint = "Correct the path in the model's settings"
            raise ModelRaised(f"{what} {error.filename or error} does not exist. {hint}") from error
        if isinstance(error, OSError):
            raise
        raise ModelRaised(
            f"{what} {type(error).__name__}: {error}. Check the model's settings; --debug shows where it "
            "happened"
        ) from error


def _is_inside(path: object, directory: Path) -> bool:
    """Whether a path is in a directory; not if it is unknown."""
    return isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(directory)


def _context_of(runtime: Runtime) -> dict[str, Any]:
    return {
        **runtime.model_dump(),
        "staging_dir": runtime.staging_dir,
        "_generated_at": str(datetime.now(UTC)),
        "_generated_by": os.environ.get("USER"),
        "_generated_on": platform.node(),
        "_datefmt": runtime._datefmt,
    }


def _period_for(config: object, period: TimeRange | None) -> Any:
    """The period as the configuration's own package knows it: rompy's classes take rompy's only."""
    if period is None or not any(base.__module__.split(".")[0] == "rompy" for base in type(config).__mro__):
        return period
    theirs = importlib.import_module("rompy.core.time").TimeRange
    fields = {"start": period.start, "end": period.end, "interval": period.interval}
    return theirs(**fields, include_end=period.include_end)


def _render_in_child(config: object, run: RunFacts) -> None:
    kind = type(config).__name__
    what = f"the inputs of {kind} cannot be written"
    with child_command(__name__, "child", (config, run), what, GenerateError) as command:
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, RUN_MARK: run.workspace},
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        left = Path(command[-1]).with_suffix(".error")
        message, raised = pickle.loads(left.read_bytes()) if left.exists() else ("", None)
    log_messages(finished.stdout)
    if raised is not None:
        raise ModelRaised(message) from raised
    if finished.returncode:
        last = "\n".join(finished.stdout.splitlines()[-15:])
        raise GenerateError(
            message
            or f"the process that writes the inputs of {kind} exited with {finished.returncode}:\n{last}"
        )


def child(path: str) -> int:
    """In the child: write the inputs that the file describes; an error is left beside it."""
    print_messages()
    try:
        _render(*cast("tuple[Any, RunFacts]", received(path)))
    except (RompyHydraError, OSError) as error:
        raised = error.__cause__ if isinstance(error, ModelRaised) else None
        Path(path).with_suffix(".error").write_bytes(_pickled(str(error), raised))
        return 1
    return 0


def _pickled(message: str, raised: BaseException | None) -> bytes:
    """An error for another process: without the exception, if that cannot be read there."""
    try:
        data = pickle.dumps((message, raised))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - an exception may do anything when it is copied
        return pickle.dumps((message, None))
    return data
