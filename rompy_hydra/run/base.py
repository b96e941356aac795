"""What all run backends share: their configuration, the checks of arguments, the job that they start."""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from loguru import logger
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rompy_hydra.errors import ConfigError, ModelFailed, ModelTimedOut, RompyHydraError, RunError
from rompy_hydra.process import StopSignal, signal_name
from rompy_hydra.provenance import Json
from rompy_hydra.workspace import (
    Command,
    Workspace,
    check_env_names,
    is_secret,
    script_text,
    write_atomic,
)

# First words of a shell line that are no programs, so their absence from PATH says nothing.
_SHELL_WORDS = {"alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "eval"}
_SHELL_WORDS |= {"exec", "exit", "export", "false", "fg", "for", "getopts", "hash", "if", "jobs", "kill"}
_SHELL_WORDS |= {"printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "times", "trap"}
_SHELL_WORDS |= {"true", "type", "ulimit", "umask", "unset", "until", "wait", "while", ".", ":", "["}


@runtime_checkable
class RunLike(Protocol):
    """What a backend needs of a model run; rompy's `ModelRun` has it as well."""

    run_id: str
    output_dir: Path
    config: object

    def generate(self) -> object:
        """Make the workspace and return its path."""


class CheckLike(Protocol):
    """The outcome of one success check."""

    check: str
    ok: bool
    message: str

    def facts(self) -> dict[str, Json]: ...


@runtime_checkable
class SuccessLike(Protocol):
    """A model configuration's declaration of success."""

    def judge(self, workspace: Workspace) -> Sequence[CheckLike]: ...


class BackendConfig(BaseModel):
    """Fields that every run backend knows. Plain data: it never looks at this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Fields that change how one waits or what one sees, not what comes out.
    transient: ClassVar[frozenset[str]] = frozenset({"timeout"})

    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    env_vars: Annotated[dict[str, str], AfterValidator(check_env_names)] = {}
    working_dir: str | None = None

    def get_backend_class(self) -> type[BaseRunBackend]:
        """The backend that this configuration is for."""
        raise NotImplementedError(f"{type(self).__name__} names no backend")


def _nothing(_facts: Mapping[str, Json]) -> None:
    return None


@dataclass(frozen=True)
class Job:
    """One run of one script: everything that a backend needs to start it, and no more."""

    run_id: str
    workspace: Workspace
    commands: tuple[Command, ...]
    env: Mapping[str, str]
    timeout: float | None
    image: str | None = None
    stop: StopSignal | None = None
    # Called with facts (process, container, batch job) as soon as the backend has them.
    report: Callable[[Mapping[str, Json]], None] = field(default=_nothing)

    @property
    def secrets(self) -> dict[str, str]:
        """The variables whose values `run.sh` does not hold: they go with the process."""
        return {name: value for name, value in self.env.items() if is_secret(name)}


@dataclass(frozen=True)
class Outcome:
    """How a model ended: its exit code, times in seconds, memory in bytes, and the backend's facts."""

    exit_code: int
    seconds: float
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


class BaseRunBackend(ABC):
    """Where a model executes. A subclass names its `config_class` and says how to `execute` a job.

    Fields of the configuration may be given to the constructor, as in YAML, or a configuration
    object to `run`, as in the reference.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[BackendConfig]]

    def __init__(self, config: BackendConfig | None = None, **fields: object) -> None:
        if config is not None and fields:
            raise ConfigError("give either a configuration object or fields, not both")
        self.config = config or validated(self.config_class, fields, f"{self.name} run backend")

    @abstractmethod
    def execute(self, job: Job) -> Outcome:
        """Start the job's script and wait for its end.

        Raises RunError if it cannot start or is lost, ModelTimedOut if its time was up.
        """

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        """Raise ConfigError if a run of these commands cannot work here; change nothing."""

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
            outcome = self.execute(self.job(model_run, workspace))
            judge(model_run, workspace, outcome)
        except ModelTimedOut:
            raise
        except RompyHydraError as error:
            logger.error("{}", error)
            return False
        return True

    def job(
        self,
        model_run: RunLike,
        workspace: Workspace,
        stop: StopSignal | None = None,
        report: Callable[[Mapping[str, Json]], None] = _nothing,
    ) -> Job:
        """The job of a model run here, with its `run.sh` written into the workspace."""
        if not workspace.path.is_dir():
            raise RunError(f"the workspace {workspace.path} does not exist; generate it first")
        commands = self.commands(model_run.config)
        env = self.environment(model_run.config)
        if commands:
            text = script_text(
                commands, env, title=f"Runs {model_run.run_id}", working_dir=self.config.working_dir
            )
            if not workspace.script.exists() or workspace.script.read_text() != text:
                write_atomic(workspace.script, text, mode=0o755)
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
        )

    def commands(self, model_config: object) -> tuple[Command, ...]:
        """The commands to run: the backend's own if it has any, else the model's."""
        command: Command | None = getattr(self.config, "command", None)
        if command is not None:
            return (command,)
        return tuple(getattr(model_config, "commands", ()))

    def environment(self, model_config: object) -> dict[str, str]:
        """The variables of the script: the model's, then the backend's own."""
        return {**getattr(model_config, "env", {}), **self.config.env_vars}


def check_model_run(model_run: object) -> None:
    """ValueError, as the reference has it, for something that is no model run."""
    if model_run is None:
        raise ValueError("model_run cannot be None")
    if not hasattr(model_run, "run_id"):
        raise ValueError("model_run must have a run_id attribute")


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


def judge(model_run: RunLike, workspace: Workspace, outcome: Outcome) -> list[dict[str, Json]]:
    """The outcome of a model against what its configuration calls success.

    Returns the facts of all checks; ModelFailed names what did not hold.
    """
    success = getattr(model_run.config, "success", None)
    checks = success.judge(workspace) if isinstance(success, SuccessLike) else []
    failed = [check for check in checks if not check.ok]
    facts = [check.facts() for check in checks]
    reasons = [f"check {check.check}: {check.message}" for check in failed]
    kind = getattr(model_run.config, "kind", type(model_run.config).__name__)
    if outcome.exit_code == 0 and not reasons:
        return facts
    name = signal_name(outcome.exit_code)
    ended = f"{kind} exited with {outcome.exit_code}" + (f" ({name})" if name else "")
    detail = outcome.facts.get("why")
    text = "; ".join([*([str(detail)] if detail else []), *reasons])
    separator = " but " if outcome.exit_code == 0 else "; "
    raise failure(ModelFailed, workspace, f"{ended}{separator + text if text else ''}", facts)


def failure(
    kind: type[RompyHydraError],
    workspace: Workspace,
    message: str,
    checks: list[dict[str, Json]] | None = None,
) -> RompyHydraError:
    """An error about a run, with where it was, the end of its log and how to start it by hand."""
    lines = workspace.last_log_lines()
    text = f"{message} in {workspace.path}."
    if lines:
        text += "\nLast lines of run.log:\n" + "\n".join(f"  {line}" for line in lines)
    else:
        text += " run.log is empty."
    if workspace.script.exists():
        text += f"\nRerun by hand: sh {workspace.script}"
    error = kind(text)
    error.checks = checks or []  # type: ignore[attr-defined]
    error.log = lines  # type: ignore[attr-defined]
    return error


def missing_program(command: Command, files: set[str], path: str | None) -> str | None:
    """The program of a command that is neither on PATH nor among the run's files, or None."""
    if isinstance(command, str):
        first = re.match(r"\s*([A-Za-z0-9_./+-]+)(?=\s|;|&|$)", command)
        if first is None or "=" in command.split()[0]:
            return None
        program = first[1]
        if program in _SHELL_WORDS:
            return None
    else:
        program = command[0]
    if "/" in program and not program.startswith("/"):
        return None if os.path.normpath(program) in files else program
    return None if shutil.which(program, path=path) else program
