"""The contract of run backends, what they share, and how they are configured."""

from __future__ import annotations

import importlib
import json
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar, cast

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rompy_hydra.errors import ConfigError, ModelTimedOut, RompyHydraError, RunError
from rompy_hydra.jsonable import Json, PathText, plain
from rompy_hydra.plugins.configured import Configured
from rompy_hydra.process import StopSignal
from rompy_hydra.redaction import without_secrets
from rompy_hydra.run.handle import Handle, Update, drive, outcome_of
from rompy_hydra.run.job import Job, RunLike, check_model_run, check_workspace_dir, ignore, nothing
from rompy_hydra.run.outcome import Ended, Outcome, check_success, error_with_log
from rompy_hydra.time_range import Seconds
from rompy_hydra.workspace import Workspace, directory_of
from rompy_hydra.workspace.script import Command, Env, script_text, secret_commands

__all__ = [
    "BackendConfig",
    "BaseRunBackend",
    "Handle",
    "Job",
    "Outcome",
    "RunLike",
    "Update",
    "check_model_run",
    "error_with_log",
    "failure",
]

# The name that plugins for version 0.1.0 import.
failure = error_with_log
T = TypeVar("T")
# Seconds that a model gets to stop where its configuration does not say.
KILL_GRACE = 5.0


class BackendConfig(BaseModel):
    """Fields that every run backend has. Plain data: validation never looks at this machine."""

    # The validator is built on first use: most programs use few classes of this kind.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    # Fields that do not change the result, such as a time limit.
    transient: ClassVar[frozenset[str]] = frozenset({"timeout"})
    # Those of them that nobody compares runs by: they are no part of a run's name.
    unnamed: ClassVar[frozenset[str]] = frozenset({"timeout"})

    timeout: Seconds | None = Field(default=None, gt=0, allow_inf_nan=False)
    env_vars: Env = {}
    working_dir: PathText | None = None

    # Where the backend is: `module:class`. Imported when it is needed, so the two need no circular import.
    backend: ClassVar[str] = ""

    def get_backend_class(self) -> type[BaseRunBackend]:
        """The backend that this configuration is for."""
        module, _, name = self.backend.partition(":")
        if not name:
            raise NotImplementedError(f"{type(self).__name__} names no backend")
        found: type[BaseRunBackend] = getattr(importlib.import_module(module), name)
        return found


class BaseRunBackend(Configured, ABC):
    """Where a model executes. A subclass names its `config_class` and implements one of

    - `execute`, which starts a job and blocks until it ends; or
    - `submit` and `poll`, for a system with a queue, which then holds thousands of jobs without a
      thread for each; and `cancel`.

    `reattach` finds a job again whose driver died. Fields of the configuration may be given to
    the constructor, as in YAML, or a configuration object to `run`, as in the reference.
    """

    category: ClassVar[str] = "run"
    config_class: ClassVar[type[BackendConfig]]
    # Seconds between two calls of `poll`.
    poll_seconds: float = 1.0

    def __init__(self, config: BackendConfig | None = None, **fields: object) -> None:
        if config is not None and fields:
            raise ConfigError("give either a configuration object or fields, not both")
        self.config = config or _validated(self.config_class, fields, f"{self.name} run backend")

    def execute(self, job: Job) -> Outcome:
        """Start the job's script and wait for it to end.

        Raises RunError if it cannot start or is lost, ModelTimedOut if its time limit was reached.
        """
        return drive(outcome_of(self.submit(job)))

    def submit(self, job: Job) -> Handle:
        """Submit the job's script and return at once. RunError if that is refused."""
        raise NotImplementedError(f"{type(self).__name__} implements neither execute() nor submit()")

    def poll(self, handles: Sequence[Handle]) -> Mapping[Handle, Update]:
        """What is known of submitted jobs: `"running"`, an Outcome, or an error; nothing for queued ones.

        RunError says that the system does not answer now; the jobs are polled again.
        """
        raise NotImplementedError(f"{type(self).__name__} implements submit() but not poll()")

    def cancel(self, handle: Handle) -> None:
        """Stop a submitted job, queued or running."""
        raise NotImplementedError(f"{type(self).__name__} implements submit() but not cancel()")

    def reattach(self, job: Job, facts: Mapping[str, Json]) -> Handle | Outcome | None:
        """The same job, started by a driver that died; None if nothing is left of it.

        `facts` are what was reported of it. A blocking backend waits for a job that still runs. Here:
        the exit code that `run.sh` left.
        """
        earlier = getattr(self, "adopt", None)  # as a backend for version 0.1.0 has it
        return earlier(job) if callable(earlier) else self.left_outcome(job)

    def left_outcome(self, job: Job) -> Outcome | None:
        """The outcome that an earlier start of `run.sh` left; None if it has not ended."""
        code = job.workspace.exit_code()
        return None if code is None else Outcome(code, None, facts={"adopted": True})

    def clean_up(self, workspace: Workspace) -> None:
        """Stop and remove what a dead driver left of a run, apart from processes on this machine."""

    @property
    def submits(self) -> bool:
        """Whether jobs are submitted and polled, rather than executed in the calling thread."""
        return type(self).submit is not BaseRunBackend.submit

    @property
    def reattaches(self) -> bool:
        """Whether it finds the running model of a dead driver again; else that model is stopped."""
        return type(self).reattach is not BaseRunBackend.reattach or hasattr(self, "adopt")

    def finds_jobs_of_other_hosts(self, workspace: Workspace) -> bool:
        """Whether a job that a driver on another host has started can be found, or excluded, from here.

        If not, and that driver is dead, the run begins anew in a fresh directory. Here: a backend that
        finds jobs again is assumed to ask a system that knows them all.
        """
        return self.reattaches

    @property
    def kill_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL when a model is stopped."""
        return float(getattr(self.config, "kill_grace", KILL_GRACE))

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return plain(self.config.model_dump(mode="json"))

    @property
    def transient(self) -> frozenset[str]:
        return type(self.config).transient

    def check(self, model: object, files: set[str]) -> None:
        """Raise ConfigError if a run of this model cannot work here; change nothing.

        `files` are the names of the files that generating will make.
        """
        commands = self.commands(model)
        if not commands and not _runs_itself(model):
            raise ConfigError(self._nothing_to_execute())
        self.preflight(commands, files, getattr(model, "image", None))

    def check_in(self, model: object, files: set[str], directory: str) -> None:
        """`check`, where the run's directory is known; it need not exist yet."""
        self.check(model, files)

    def check_outside(self, model: object) -> None:
        """The part of `check` that asks others, such as a registry: only before something runs."""

    def exposures(self, model: object) -> list[str]:
        """What a person should see before running a stranger's commands here.

        Settings that take away protection which this backend gives by default, and what it would fetch.
        Asks nobody but a local service.
        """
        return []

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        """The part of `check` that is about these commands in this place."""

    def execution_key(self, model: object) -> list[Json]:
        """What the result of a run depends on, besides the inputs and this backend's settings."""
        # Not the text of `run.sh`: another version of it gives the same result.
        commands: Json = [c if isinstance(c, str) else [*c] for c in self.commands(model)]
        env = cast("Json", dict(sorted(self.environment(model).items())))
        return [[commands, without_secrets({"env": env})], self.image_key(getattr(model, "image", None))]

    def image_key(self, image: str | None) -> str | None:
        """What identifies the content of the container image, if there is one."""
        return None

    def run(
        self,
        model_run: RunLike,
        config: BackendConfig | None = None,
        workspace_dir: str | Path | None = None,
    ) -> bool:
        """Run a model: True if it succeeded, with its success checks; generates first if need be.

        Raises ValueError if `model_run` is not a model run, TimeoutError if its time limit was reached.
        """
        check_model_run(model_run)
        check_workspace_dir(workspace_dir)
        if config is not None:
            return type(self)(config).run(model_run, None, workspace_dir)
        model = model_run.config
        try:
            if workspace_dir is None:
                workspace_dir = str(_generated(model_run) or "")
            workspace = Workspace(workspace_dir or directory_of(model_run))
            outcome = Outcome(0, 0.0)
            executed = getattr(model, "needs_execution", True) or self.has_command
            if executed:
                job = self.job(model_run, model, workspace)
                workspace.forget_exit_code()
                started = self.start(job)
                outcome = started if isinstance(started, Outcome) else drive(outcome_of(started))
            period, more = getattr(model_run, "period", None), getattr(model_run, "success", None)
            ended = Ended(self.commands(model), period, success=_both(model, more), executed=executed)
            check_success(model, workspace, outcome, ended)
        except ModelTimedOut:
            raise
        except (RompyHydraError, OSError) as error:
            logger.error("{}", error)
            return False
        return True

    def start(self, job: Job) -> Handle | Outcome:
        """Start a job: the handle of a submitted one, or the outcome of one that has ended.

        Where there are no commands, the model configuration's own `run` is called.
        """
        if job.commands:
            if self.submits:
                return _checked(self.submit(job), Handle, f"{type(self).__name__}.submit()")
            return _checked(self.execute(job), Outcome, f"{type(self).__name__}.execute()")
        if job.model_run is not None and _runs_itself(job.model_run.config):
            return self.call(job, job.model_run)
        raise RunError(self._nothing_to_execute())

    def call(self, job: Job, model_run: RunLike) -> Outcome:
        """Call `model_run.config.run(model_run)`, if that is possible where this backend executes."""
        raise RunError(
            f"{type(model_run.config).__name__} has no commands but a run() method of its own, which "
            f"the {self.name} backend cannot call; choose run_backend=local"
        )

    def job(
        self,
        model_run: RunLike,
        model: object,
        workspace: Workspace,
        stop: StopSignal | None = None,
        report: Callable[[Mapping[str, Json]], None] = ignore,
        check: Callable[[], None] = nothing,
    ) -> Job:
        """The job of a model run, with its `run.sh` written into the workspace."""
        if not workspace.exists():
            raise RunError(f"the workspace {workspace.path} does not exist; generate it first")
        commands = self.commands(model)
        env = self.environment(model)
        if commands:
            title = f"Runs {model_run.run_id}"
            text = script_text(commands, env, title=title, working_dir=self.working_dir())
            workspace.write_script(text, secret_commands(commands), self.script_mode(env))
        image = getattr(model, "image", None)
        return Job(
            model_run.run_id,
            workspace,
            commands,
            env,
            self.config.timeout,
            image,
            stop,
            report,
            check=check,
            model_run=model_run,
        )

    def commands(self, model: object) -> tuple[Command, ...]:
        """The commands to run: the backend's own if it has any, else the model's."""
        command: Command | None = getattr(self.config, "command", None)
        if command is not None:
            return (command,)
        return tuple(getattr(model, "commands", ()))

    @property
    def has_command(self) -> bool:
        """Whether it has a command of its own, which is run even for a model that needs no execution."""
        return bool(self.commands(None))

    def working_dir(self) -> str | None:
        """The directory in which the commands run, as `run.sh` says it; None is the workspace."""
        return self.config.working_dir

    def environment(self, model: object) -> dict[str, str]:
        """The variables of the script: the model's, then the backend's own."""
        return {**getattr(model, "env", {}), **self.config.env_vars}

    def script_mode(self, env: Mapping[str, str]) -> int:
        """The permissions of `run.sh`: nobody else reads a script with environment variables."""
        return 0o700 if env else 0o755

    def _nothing_to_execute(self) -> str:
        own = "executable" if "executable" in self.config_class.model_fields else "command"
        return (
            f"nothing to execute: the model has no commands. Set model.commands or run_backend.{own}, "
            "or model.needs_execution=false"
        )


def _both(model: object, more: object) -> object:
    """The success checks of a model and of its run together; None for the model's own."""
    own = getattr(model, "success", None)
    combine = getattr(own, "plus", None)
    return None if more is None else combine(more) if callable(combine) else more


def _checked(answer: T, kind: type[T], method: str) -> T:
    """What a backend's method returned; RunError if the plugin has a defect there."""
    if not isinstance(answer, kind):
        raise RunError(f"{method} returned {answer!r}: it must return {kind.__name__}(...)")
    code = answer.exit_code if isinstance(answer, Outcome) else 0
    if not isinstance(code, int):
        raise RunError(f"{method} returned the exit code {code!r}: it must be a number")
    try:
        json.dumps(dict(answer.facts))  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise RunError(f"the facts that {method} returned must be plain data: {error}") from error
    return answer


def _runs_itself(model: object) -> bool:
    return callable(getattr(model, "run", None))


def _generated(model_run: object) -> object:
    generate = getattr(model_run, "generate", None)
    return generate() if callable(generate) else None


def _validated(cls: type[BackendConfig], fields: Mapping[str, object], what: str) -> BackendConfig:
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
