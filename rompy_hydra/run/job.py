"""What a run backend gets: a model run, and the job that it makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Protocol, runtime_checkable

from rompy_hydra.errors import ConfigError, shortened
from rompy_hydra.jsonable import Json
from rompy_hydra.process import StopSignal
from rompy_hydra.redaction import is_secret_variable
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.script import Command


@runtime_checkable
class RunLike(Protocol):
    """What a backend needs of a model run; rompy's `ModelRun` has it as well."""

    run_id: str
    output_dir: Path
    config: object


def check_model_run(model_run: object) -> None:
    """ValueError, as in the reference, if `model_run` is not a model run."""
    if model_run is None:
        raise ValueError("model_run cannot be None")
    if not hasattr(model_run, "run_id"):
        raise ValueError("model_run must have a run_id attribute")


def check_workspace_dir(value: object) -> None:
    """ConfigError for something else than a path, or None; an empty text would be the working directory."""
    if value is not None and not (isinstance(value, str | PathLike) and os.fspath(value)):
        raise ConfigError(f"workspace_dir must be the path of a directory, not {shortened(value)}")


def ignore(_facts: Mapping[str, Json]) -> None:
    """Report nothing."""


def nothing() -> None:
    """Check nothing."""


@dataclass(frozen=True)
class Job:
    """One run of one script: everything that a backend needs to start it, and no more."""

    run_id: str
    workspace: Workspace
    commands: tuple[Command, ...]
    env: Mapping[str, str]
    # Seconds; None for no limit.
    timeout: float | None
    image: str | None = None
    stop: StopSignal | None = None
    # Called with facts (process, container, batch job) as soon as the backend has them.
    report: Callable[[Mapping[str, Json]], None] = field(default=ignore)
    # Called at intervals while the model runs; what it raises stops the model.
    check: Callable[[], None] = field(default=nothing)
    # For models and backends that are called in Python rather than started by `run.sh`.
    model_run: RunLike | None = None

    @property
    def secrets(self) -> dict[str, str]:
        """The variables whose values `run.sh` does not contain: they are passed with the process."""
        return {name: value for name, value in self.env.items() if is_secret_variable(name, value)}
