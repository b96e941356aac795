"""A run backend that submits jobs: a one-machine batch system whose processes outlive their driver."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import ClassVar

import psutil
from pydantic import Field

from rompy_hydra import BackendConfig, BaseRunBackend
from rompy_hydra.errors import RunError
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.run.base import Handle, Job, Outcome, Update
from rompy_hydra.workspace import LOG, SCRIPT


class QueueConfig(BackendConfig):
    # Seconds after which a submitted job starts to run.
    queued: float = Field(default=0.0, ge=0)

    def get_backend_class(self):
        return QueueBackend


class QueueBackend(BaseRunBackend):
    """Submits `run.sh` as a separate process, and polls for its exit code."""

    name: ClassVar[str] = "queue"
    config_class = QueueConfig
    poll_seconds = 0.02

    def submit(self, job: Job) -> Handle:
        log = job.workspace.at(LOG)
        script = shlex.quote(job.workspace.at(SCRIPT))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            "/bin/sh",
            [
                "sh",
                "-c",
                f"sleep {self.config.queued}; exec /bin/sh {script}",
            ],
            {**os.environ, RUN_MARK: job.workspace.root, **job.secrets},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o666),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        return Handle(self, job, {"pid": pid})

    def poll(self, handles: Sequence[Handle]) -> Mapping[Handle, Update]:
        found: dict[Handle, Update] = {}
        for handle in handles:
            command = _command(handle)
            code = handle.job.workspace.exit_code()
            if code is not None:
                found[handle] = Outcome(code, None)
            elif command is None:
                found[handle] = RunError(f"the job of {handle.job.run_id} was killed")
            elif len(command) == 2:  # the script itself
                found[handle] = "running"
        return found

    def cancel(self, handle: Handle) -> None:
        if _command(handle) is not None:
            os.killpg(int(str(handle.facts["pid"])), signal.SIGKILL)

    def reattach(self, job: Job, facts: Mapping[str, object]) -> Handle | Outcome | None:
        handle = Handle(self, job, {"pid": facts.get("pid"), "adopted": True})
        if facts.get("pid") is not None and _command(handle) is not None:
            return handle
        return self.left_outcome(job)


def _command(handle: Handle) -> list[str] | None:
    """The command line of a job's process; None if it has ended."""
    with contextlib.suppress(ChildProcessError):  # of another driver
        os.waitpid(int(str(handle.facts["pid"])), os.WNOHANG)
    try:
        process = psutil.Process(int(str(handle.facts["pid"])))
        return None if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.NoSuchProcess:
        return None
