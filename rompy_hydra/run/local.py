"""Run a model on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from rompy_hydra import process
from rompy_hydra.errors import ConfigError, ModelTimedOut, RunError, closest
from rompy_hydra.run.base import (
    BackendConfig,
    BaseRunBackend,
    Job,
    Outcome,
    RunLike,
    failure,
    missing_program,
)
from rompy_hydra.workspace import SCRIPT, Command, Workspace


class LocalConfig(BackendConfig):
    """How a model runs on this machine.

    `command` replaces the model's own commands; `working_dir` is where it starts instead of the
    run directory. `timeout` is in seconds. After it, or after an interrupt, the whole process tree
    gets SIGTERM, and SIGKILL `kill_grace` seconds later. `stream_output` shows the output live;
    it goes to `run.log` in any case.
    """

    transient: ClassVar[frozenset[str]] = frozenset({"timeout", "stream_output", "kill_grace"})

    command: str | None = None
    stream_output: bool = False
    kill_grace: float = Field(default=5.0, ge=0, le=3600)

    @field_validator("command")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("a command must not be empty; null runs the model's own")
        return value

    def get_backend_class(self) -> type[LocalRunBackend]:
        return LocalRunBackend


class LocalRunBackend(BaseRunBackend):
    """Runs `run.sh` in a session of its own, and ends all of it when its time is up."""

    name: ClassVar[str] = "local"
    config_class: ClassVar[type[LocalConfig]] = LocalConfig
    config: LocalConfig

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        path = self.config.env_vars.get("PATH")
        for command in commands:
            program = missing_program(command, files, path)
            if program is not None:
                raise ConfigError(
                    f"the program '{program}' was not found on PATH nor among the run's files "
                    f"(command: {command}). {_near(program)}Install it, give its full path, or set "
                    "run_backend.env_vars.PATH"
                )
        if self.config.working_dir and not Path(self.config.working_dir).is_dir():
            raise ConfigError(
                f"run_backend.working_dir: {self.config.working_dir} is no directory on this machine"
            )

    def execute(self, job: Job) -> Outcome:
        begin = time.monotonic()
        if not job.commands:
            raise RunError(
                f"nothing to execute for {job.run_id}: the model has no commands. Give "
                "model.commands or run_backend.command, or say model.needs_execution=false"
            )
        return self._run(job, ["/bin/sh", str(job.workspace.path / SCRIPT)], begin)

    def adopt(self, job: Job, pid: int) -> Outcome:
        """Wait for a model that a dead driver left running, and take its exit code."""
        begin = time.monotonic()
        mark = str(job.workspace.path)
        ended = process.wait_for(
            pid, mark, timeout=job.timeout, grace=self.config.kill_grace, stop=job.stop
        )
        if not ended:
            raise self._too_long(job)
        code = job.workspace.exit_code()
        if code is None:
            raise failure(RunError, job.workspace, "the model was ended from outside")
        return Outcome(code, time.monotonic() - begin, facts={"adopted": True})

    def call(self, job: Job, model_run: RunLike) -> Outcome:
        """Call `model_run.config.run(model_run)` in a process of its own, in the workspace."""
        from rompy_hydra.run.hook import pickled

        with pickled(model_run) as path:
            argv = [sys.executable, "-m", "rompy_hydra.run.hook", str(path)]
            return self._run(job, argv, time.monotonic())

    def _run(self, job: Job, argv: list[str], begin: float) -> Outcome:
        own = argv[0] != "/bin/sh"
        work = Path(self.config.working_dir) if own and self.config.working_dir else None
        try:
            finished = process.run(
                argv,
                cwd=work or job.workspace.path,
                env={**os.environ, **(job.env if own else job.secrets)},
                log=job.workspace.log,
                mark=str(job.workspace.path),
                timeout=job.timeout,
                grace=self.config.kill_grace,
                stream=self.config.stream_output,
                stop=job.stop,
                started=lambda pid: job.report({"pid": pid}),
            )
        except OSError as error:
            raise RunError(f"cannot start {argv[0]} for {job.run_id}: {error.strerror or error}") from error
        if finished.timed_out:
            raise self._too_long(job)
        assert finished.exit_code is not None
        facts = {"left_processes": finished.left_processes} if finished.left_processes else {}
        return Outcome(
            exit_code=finished.exit_code,
            seconds=time.monotonic() - begin,
            cpu_seconds=finished.cpu_seconds,
            peak_memory_bytes=finished.peak_memory_bytes,
            facts={**facts},
        )

    def _too_long(self, job: Job) -> Exception:
        return failure(
            ModelTimedOut,
            job.workspace,
            f"the model did not end within {job.timeout:g} s (run_backend.timeout) and was ended",
        )


def _near(program: str) -> str:
    """The program on PATH whose name is closest, as a hint."""
    if "/" in program:
        return ""
    names: set[str] = set()
    for directory in os.get_exec_path():
        try:
            names.update(os.listdir(directory))
        except OSError:
            continue
    hint = closest(program, (name for name in names if abs(len(name) - len(program)) <= 2))
    return hint.split("?")[0] + "? " if "?" in hint else ""


def shell_exists() -> bool:
    """Whether there is a POSIX shell to start scripts with."""
    return shutil.which("/bin/sh") is not None


__all__ = ["LocalConfig", "LocalRunBackend", "Workspace"]
