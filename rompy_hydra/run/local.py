"""Run a model on this machine."""

from __future__ import annotations

import functools
import os
import sysconfig
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, field_validator

from rompy_hydra import process
from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.jsonable import Json, PathText
from rompy_hydra.plugins.requirements import Requiring, check_packages
from rompy_hydra.regular_files import NotRegular
from rompy_hydra.run.base import BackendConfig, BaseRunBackend, Job, Outcome, RunLike
from rompy_hydra.run.handle import timed_out
from rompy_hydra.run.outcome import error_with_log
from rompy_hydra.run.programs import Places, program_problem
from rompy_hydra.time_range import Seconds
from rompy_hydra.workspace import LOG, Workspace


class LocalConfig(BackendConfig):
    """How a model runs on this machine.

    `command` replaces the model's own commands; `working_dir` is where it starts instead of the
    run directory. `timeout` is in seconds. After it, or after an interrupt, the whole process tree
    gets SIGTERM, and SIGKILL `kill_grace` seconds later. `stream_output` shows the output live;
    it goes to `run.log` in any case.
    """

    transient: ClassVar[frozenset[str]] = frozenset({"timeout", "stream_output", "kill_grace"})
    unnamed: ClassVar[frozenset[str]] = transient

    command: PathText | None = None
    stream_output: bool = False
    kill_grace: Seconds = Field(default=5.0, ge=0, le=3600)

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

    def check(self, model: object, files: set[str]) -> None:
        super().check(model, files)
        # The model's commands find this Python first, unless PATH or the commands are other ones.
        packages = model.required_packages() if isinstance(model, Requiring) else {}
        if packages and self.config.command is None and "PATH" not in self.environment(model):
            check_packages(f"the model {getattr(model, 'kind', '')}", packages)

    def check_in(self, model: object, files: set[str], directory: str) -> None:
        self.check(model, files)
        path = self.environment(model).get("PATH", search_path())
        work = self.working_dir()
        places = Places(files, path, work or directory, not getattr(model, "renders_itself", False))
        for command in self.commands(model):
            if problem := program_problem(command, places):
                raise ConfigError(problem)
        if work is not None and not os.path.isdir(work):
            raise ConfigError(f"run_backend.working_dir: {work} is not a directory on this machine")

    def execute(self, job: Job) -> Outcome:
        # Secrets are not in the script: they come with the process.
        return self._run(job, ["/bin/sh", str(job.workspace.script)], job.secrets)

    def finds_jobs_of_other_hosts(self, workspace: Workspace) -> bool:
        return False

    def reattach(self, job: Job, facts: Mapping[str, Json]) -> Outcome | None:
        mark = job.workspace.root
        known = facts.get("pid")
        pid = None
        if job.workspace.exit_code() is None:
            pid = process.find_leader(mark, known if isinstance(known, int) else None)
        if pid is None:
            # Nobody was there when `run.sh` ended to stop what it may have left.
            process.end_tree(None, mark, self.config.kill_grace)
            return self.left_outcome(job)
        ended = process.wait_for(
            pid,
            mark,
            timeout=job.timeout,
            grace=self.config.kill_grace,
            stop=job.stop,
            on_poll=job.check,
        )
        if not ended:
            raise timed_out(job)
        outcome = self.left_outcome(job)
        if outcome is None:
            raise error_with_log(RunError, job.workspace, "the model was killed from outside")
        return outcome

    def call(self, job: Job, model_run: RunLike) -> Outcome:
        """Call `model_run.config.run(model_run)` in a process of its own, in the workspace."""
        from rompy_hydra.run.config_hook import hook_command

        with hook_command(model_run) as argv:
            return self._run(job, argv, job.env, cwd=self.working_dir() or job.workspace.root)

    def working_dir(self) -> str | None:
        # Relative to where the user is, as any path that a user gives; the script is elsewhere.
        given = self.config.working_dir
        return None if given is None else os.path.abspath(os.path.expanduser(given))

    def _run(self, job: Job, argv: list[str], env: Mapping[str, str], cwd: str | None = None) -> Outcome:
        try:
            finished = process.run(
                argv,
                env={**os.environ, "PATH": search_path(), **env},
                log=job.workspace.at(LOG),
                cwd=cwd,
                mark=job.workspace.root,
                timeout=job.timeout,
                grace=self.config.kill_grace,
                stream=self.config.stream_output,
                stop=job.stop,
                on_started=lambda pid: job.report({"pid": pid}),
                on_poll=job.check,
            )
        except OSError as error:
            where = f" ({error.filename})" if isinstance(error, NotRegular) else ""
            reason = f"{error.strerror or error}{where}"
            raise RunError(f"cannot start {argv[0]} for {job.run_id}: {reason}") from error
        if finished.timed_out:
            job.check()
            raise timed_out(job)
        assert finished.exit_code is not None
        facts = {"left_processes": finished.left_processes} if finished.left_processes else {}
        return Outcome(
            exit_code=finished.exit_code,
            seconds=finished.seconds,
            cpu_seconds=finished.cpu_seconds,
            peak_memory_bytes=finished.peak_memory_bytes,
            facts={**facts},
        )


def search_path() -> str:
    """PATH for models: what lies beside this Python comes first, activated or not."""
    return os.pathsep.join([_scripts(), os.environ.get("PATH", os.defpath)])


@functools.cache
def _scripts() -> str:
    return sysconfig.get_path("scripts")
