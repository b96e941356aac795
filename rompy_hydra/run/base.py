"""What all run backends share: their configuration, the checks of arguments, the job that they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rompy_hydra.errors import ConfigError, ModelTimedOut, RompyHydraError, RunError
from rompy_hydra.jsonable import Json
from rompy_hydra.process import StopSignal
from rompy_hydra.run.job import Job, RunLike, check_model_run, nothing
from rompy_hydra.run.outcome import CheckLike, Outcome, check_success, error_with_log
from rompy_hydra.run.programs import missing_program
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.script import Command, Env, script_text

__all__ = [
    "BackendConfig",
    "BaseRunBackend",
    "CheckLike",
    "Job",
    "Outcome",
    "RunLike",
    "check_model_run",
    "check_success",
    "error_with_log",
    "failure",
    "missing_program",
    "validated",
]


# The name by which plugins know it.
failure = error_with_log


class BackendConfig(BaseModel):
    """Fields that every run backend knows. Plain data: it never looks at this machine."""

    # Its validator is made when it is first used: most programs use few of its kind.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    # Fields that change how one waits or what one sees, not what comes out.
    transient: ClassVar[frozenset[str]] = frozenset({"timeout"})

    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    env_vars: Env = {}
    working_dir: str | None = None

    def get_backend_class(self) -> type[BaseRunBackend]:
        """The backend that this configuration is for."""
        raise NotImplementedError(f"{type(self).__name__} names no backend")


class BaseRunBackend(ABC):
    """Where a model executes. A subclass names its `config_class` and says how to `execute` a job.

    Fields of the configuration may be given to the constructor, as in YAML, or a configuration
    object to `run`, as in the reference.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[BackendConfig]]
    # Whether `report` is called as soon as there is something to report, with nothing slow before it.
    reports_at_once: ClassVar[bool] = False

    def __init__(self, config: BackendConfig | None = None, **fields: object) -> None:
        if config is not None and fields:
            raise ConfigError("give either a configuration object or fields, not both")
        self.config = config or validated(self.config_class, fields, f"{self.name} run backend")

    @abstractmethod
    def execute(self, job: Job) -> Outcome:
        """Start the job's script and wait for its end.

        Raises RunError if it cannot start or is lost, ModelTimedOut if its time was up.
        """

    def check(self, model_config: object, files: set[str]) -> None:
        """Raise ConfigError if a run of this model cannot work here; change nothing.

        `files` are the names of the files that generating will make.
        """
        commands = self.commands(model_config)
        if not commands and not callable(getattr(model_config, "run", None)):
            raise ConfigError(self._nothing_to_execute())
        self.preflight(commands, files, getattr(model_config, "image", None))

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        """The part of `check` that is about these commands in this place."""
        return

    def run(
        self,
        model_run: RunLike,
        config: BackendConfig | None = None,
        workspace_dir: str | Path | None = None,
    ) -> bool:
        """Run a model: True if it succeeded, with its success checks; generates first if need be.

        Raises ValueError for a `model_run` that is none, TimeoutError if its time was up.
        """
        check_model_run(model_run)
        if config is not None:
            return type(self)(config).run(model_run, None, workspace_dir)
        try:
            if workspace_dir is None:
                workspace_dir = str(model_run.generate() or "")
            workspace = Workspace(workspace_dir or Path(model_run.output_dir) / model_run.run_id)
            outcome = Outcome(0, 0.0)
            if getattr(model_run.config, "needs_execution", True):
                job = self.job(model_run, workspace)
                workspace.forget_exit_code()
                outcome = self.carry_out(job, model_run)
            check_success(model_run, workspace, outcome)
        except ModelTimedOut:
            raise
        except (RompyHydraError, OSError) as error:
            logger.error("{}", error)
            return False
        return True

    def carry_out(self, job: Job, model_run: RunLike) -> Outcome:
        """Execute a job, or call the model configuration's own `run` where there are no commands."""
        if job.commands:
            return self.execute(job)
        if callable(getattr(model_run.config, "run", None)):
            return self.call(job, model_run)
        raise RunError(self._nothing_to_execute())

    def call(self, job: Job, model_run: RunLike) -> Outcome:
        """Call `model_run.config.run(model_run)`, if that is possible where this backend executes."""
        raise RunError(
            f"{type(model_run.config).__name__} has no commands but a run() method of its own, which "
            f"the {self.name} backend cannot call; choose run_backend=local"
        )

    def adopt(self, job: Job) -> Outcome | None:
        """The outcome of this same job, started by a driver that died; None if there is nothing of it.

        It is waited for if it still runs. Here: the exit code that an ended `run.sh` left.
        """
        code = job.workspace.exit_code()
        return None if code is None else Outcome(code, None, facts={"adopted": True})

    def clean_up(self, workspace: Workspace) -> None:
        """End and remove what a dead driver left of a run directory, besides processes on this machine."""
        return

    def job(
        self,
        model_run: RunLike,
        workspace: Workspace,
        stop: StopSignal | None = None,
        report: Callable[[Mapping[str, Json]], None] = nothing,
        reported: Mapping[str, Json] = MappingProxyType({}),
    ) -> Job:
        """The job of a model run here, with its `run.sh` written into the workspace."""
        if not workspace.exists():
            raise RunError(f"the workspace {workspace.path} does not exist; generate it first")
        commands = self.commands(model_run.config)
        env = self.environment(model_run.config)
        if commands:
            text = script_text(
                commands, env, title=f"Runs {model_run.run_id}", working_dir=self.working_dir()
            )
            workspace.write_script(text)
        image = getattr(model_run.config, "image", None)
        return Job(
            run_id=model_run.run_id,
            workspace=workspace,
            commands=commands,
            env=env,
            timeout=self.config.timeout,
            image=image,
            stop=stop,
            report=report,
            reported=reported,
        )

    def commands(self, model_config: object) -> tuple[Command, ...]:
        """The commands to run: the backend's own if it has any, else the model's."""
        command: Command | None = getattr(self.config, "command", None)
        if command is not None:
            return (command,)
        return tuple(getattr(model_config, "commands", ()))

    def _nothing_to_execute(self) -> str:
        own = "executable" if "executable" in self.config_class.model_fields else "command"
        return (
            f"nothing to execute: the model has no commands. Give model.commands or run_backend.{own}, "
            "or say model.needs_execution=false"
        )

    def working_dir(self) -> str | None:
        """The directory in which the commands run, as `run.sh` says it; None is the workspace."""
        return self.config.working_dir

    def environment(self, model_config: object) -> dict[str, str]:
        """The variables of the script: the model's, then the backend's own."""
        return {**getattr(model_config, "env", {}), **self.config.env_vars}


def validated(cls: type[BackendConfig], fields: Mapping[str, object], what: str) -> BackendConfig:
    """A configuration from fields; ConfigError lists everything that is wrong with them."""
    try:
        return cls.model_validate(dict(fields))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'fields'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(
            f"{what}: {problems}. Its fields: {', '.join(sorted(cls.model_fields))}"
        ) from error
