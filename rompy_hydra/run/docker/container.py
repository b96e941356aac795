"""The container of a run: its name and labels; start it, wait for it, stop it, remove it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loguru import logger

from rompy_hydra.errors import RunError, RunLost
from rompy_hydra.process import StopSignal
from rompy_hydra.process.memory import PeakMemory
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text, in_background, pause
from rompy_hydra.run.job import Job
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner

WORKSPACE_LABEL = "rompy_hydra.workspace"
SCRIPT_LABEL = "rompy_hydra.workspace.script"
DRIVER_LABEL = "rompy_hydra.driver"
IMAGE_LABEL = "rompy_hydra.image"
RUN_ID_LABEL = "rompy_hydra.run_id"

# The ids of the containers that this process is working with.
own_containers: set[str] = set()

# Starts `run.sh` ($0) with its output in `run.log` ($1). The container would end with this first process,
# so on SIGTERM it passes the signal to all processes and waits for them until SIGKILL. `times` prints
# the CPU time.
STARTER = """\
trap 'stop=1; kill -TERM -1' TERM
/bin/sh "$0" </dev/null >>"$1" 2>&1 &
wait "$!"
code=$?
if [ -n "$stop" ]; then
  wait "$!"
  code=$?
  while kill -0 -1 2>/dev/null; do sleep 0.1 2>/dev/null || :; done
fi
times
exit "$code"
"""


class Container:
    """A container that exists at the engine, running or not."""

    def __init__(self, engine: Engine, id: str) -> None:
        self._engine = engine
        self.id = id
        self._memory = PeakMemory()
        self.engine_was_away = False

    def __str__(self) -> str:
        """The short id, as the `docker` command shows it."""
        return self.id[:12]

    @classmethod
    def find(cls, engine: Engine, workspace: Workspace) -> list[Container]:
        """The containers of a run directory, without those that were kept for inspection."""
        labels = [f"{WORKSPACE_LABEL}={workspace.path}"]
        found = engine.call(lambda: engine.api.containers(all=True, filters={"label": labels}))
        # Kept containers have another name. The engine cannot filter by it: it takes names as patterns.
        ending = container_name(workspace, "").rpartition("-")[2]
        return [
            cls(engine, str(each["Id"]))
            for each in found
            if any(name.endswith(f"-{ending}") for name in each.get("Names") or ())
        ]

    def inspect(self) -> Mapping[str, Any]:
        """What `docker inspect` reports; EngineUnavailable if the engine does not answer."""
        return self._engine.call(lambda: self._engine.api.inspect_container(self.id))

    def start(self) -> None:
        self._engine.call(lambda: self._engine.api.start(self.id))

    def wait(self, deadline: float | None, stop: StopSignal | None) -> Mapping[str, Any]:
        """Wait until the container has exited, and return what `docker inspect` reports.

        TimeoutError at the `deadline` (monotonic), KeyboardInterrupt on `stop`; RunLost if the engine
        stops answering and does not come back.
        """
        info = self._inspect_after_reconnect(stop)
        process = int(info["State"].get("Pid") or 0)
        sample = (lambda: self._memory.sample(process)) if self._runs_here(process) else None
        while True:
            # Whether an error is fatal, the next line finds out: the engine may only be restarting.
            with contextlib.suppress(*engine_errors()):
                in_background(lambda: self._engine.api.wait(self.id, timeout=None), stop, deadline, sample)
            info = self._inspect_after_reconnect(stop)
            if info["State"]["Status"] == "created":
                raise RunError(f"the engine did not start the container {self}; rerun the command")
            if info["State"]["Status"] not in ("running", "paused", "restarting", "stopping"):
                return info

    def _inspect_after_reconnect(self, stop: StopSignal | None) -> Mapping[str, Any]:
        """What `docker inspect` reports, once the engine answers; RunLost if it does not come back."""
        from docker.errors import NotFound

        deadline = time.monotonic() + 5.0  # a restarted engine comes back
        while True:
            try:
                return self.inspect()
            except NotFound as error:
                raise RunError(
                    f"the container {self} was removed from outside while the model was running; "
                    "rerun the command"
                ) from error
            except engine_errors() as error:
                if time.monotonic() > deadline:
                    raise RunLost(
                        "the container engine stopped answering while the model was running in the "
                        f"container {self}. Start the engine, then rerun the command: it takes over the "
                        "container if that is still running or exited normally, and otherwise runs the "
                        f"model again ({error_text(error)})"
                    ) from error
            self.engine_was_away = True
            pause(0.2, stop)

    def _runs_here(self, process: int) -> bool:
        """Whether a process id of the container is one of this machine, so that `/proc` describes it."""
        try:
            with open(f"/proc/{process}/cgroup") as file:
                return process > 0 and self.id in file.read()
        except OSError:
            return False

    @property
    def peak_memory_bytes(self) -> int | None:
        """The memory of the largest process that was seen."""
        return self._memory.peak(0)

    def output(self, errors: bool) -> str:
        """What `STARTER` itself printed, not the model: the CPU times, or with `errors` what failed."""
        try:
            text = self._engine.api.logs(self.id, stdout=not errors, stderr=errors, tail=20)
        except engine_errors():
            return ""
        return bytes(text).decode(errors="replace")

    def stop(self, grace: float) -> None:
        """Send SIGTERM to all processes, and SIGKILL after `grace` seconds or on another Ctrl-C."""
        deadline = time.monotonic() + grace
        with contextlib.suppress(TimeoutError, KeyboardInterrupt, *engine_errors()):
            self._engine.api.kill(self.id, "SIGTERM")
            in_background(lambda: self._engine.api.wait(self.id, timeout=None), deadline=deadline)
            return
        # Either it has exited by now, or it ignores SIGTERM.
        with contextlib.suppress(*engine_errors()):
            self._engine.api.kill(self.id, "SIGKILL")

    def remove(self) -> None:
        """Remove it, running or not. If the engine fails to, the next start of the run does it."""
        from docker.errors import APIError, NotFound

        own_containers.discard(self.id)
        deadline = time.monotonic() + 30.0
        interrupts = 0
        while True:
            try:
                self._engine.api.remove_container(self.id, v=True, force=True)
                return
            except NotFound:
                return
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 2:  # do not wait forever for an engine that does not answer
                    raise
            except engine_errors() as error:
                busy = isinstance(error, APIError) and error.status_code == 409
                if not busy or time.monotonic() > deadline:
                    advice = f"{error_text(error)}. The next start of this run removes it"
                    logger.warning("cannot remove the container {}: {}", self, advice)
                    return
                time.sleep(0.1)

    def discard(self, grace: float, reason: str) -> None:
        """Stop and remove a container whose result is not needed."""
        logger.warning("removing the container {}: {}", self, reason)
        self.stop(grace)
        self.remove()

    def release(self, keep: bool) -> None:
        """Remove it, or keep it under a name that no later run mistakes for its own container."""
        own_containers.discard(self.id)
        try:
            info = self.inspect() if keep else None
            if info is None or info["State"]["Status"] == "created":
                self.remove()
            else:
                name = f"{info['Name'].lstrip('/')}-{self.id[:8]}"
                self._engine.call(lambda: self._engine.api.rename(self.id, name))
        except engine_errors() as error:
            logger.warning("cannot rename the container {} to keep it: {}", self, error_text(error))


def container_name(workspace: Workspace, run_id: str) -> str:
    """The name of the run directory's container; the engine refuses a second one with this name."""
    readable = re.sub(r"[^a-zA-Z0-9_.-]+", "-", run_id)[:40].strip("-.")
    return f"rompy_hydra-{readable}-{hashlib.sha256(os.fsencode(workspace.path)).hexdigest()[:12]}"


def script_hash(workspace: Workspace) -> str:
    """SHA-256 of `run.sh`, which identifies the job of a container; empty if it cannot be read."""
    try:
        return hashlib.sha256(workspace.script.read_bytes()).hexdigest()
    except OSError:
        return ""


def container_labels(job: Job, image: str) -> dict[str, str]:
    """The labels of a container that this process creates for a job."""
    return {
        WORKSPACE_LABEL: job.workspace.root,
        SCRIPT_LABEL: script_hash(job.workspace),
        DRIVER_LABEL: json.dumps(asdict(lease.me())),
        RUN_ID_LABEL: job.run_id,
        IMAGE_LABEL: image,
    }


def has_living_driver(info: Mapping[str, Any]) -> bool:
    """Whether a container's driver is alive; a driver on another machine counts as alive."""
    try:
        driver = Owner(**json.loads((info["Config"]["Labels"] or {})[DRIVER_LABEL]))
    except (KeyError, TypeError, ValueError):
        return False
    if driver.is_me():
        return info["Id"] in own_containers
    return driver.host != lease.me().host or lease.lives_here(driver)
