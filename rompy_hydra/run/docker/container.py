"""The container of a run: its name and labels; start it, wait for it, stop it, remove it; its outcome."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from loguru import logger

from rompy_hydra.errors import RunError, RunLost
from rompy_hydra.jsonable import read_json
from rompy_hydra.process import StopSignal
from rompy_hydra.process.memory import PeakMemory
from rompy_hydra.regular_files import read_regular
from rompy_hydra.run.base import Job, Outcome
from rompy_hydra.run.docker.config import DockerConfig
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text, in_background, pause
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner

WORKSPACE_LABEL = "rompy_hydra.workspace"
SCRIPT_LABEL = "rompy_hydra.workspace.script"
DRIVER_LABEL = "rompy_hydra.driver"
IMAGE_LABEL = "rompy_hydra.image"

# The ids of the containers that this process is working with.
own_containers: set[str] = set()

_SIGKILL_CODE = 137
_NO_SHELL = "exec /bin/sh failed|failed to exec pid1"

# What the engine says about a setting that it cannot apply, and what the user can do about it.
_ADVICE = {
    r"no matching entries|unable to find (user|group)": (
        "the image {image} does not know run_backend.user={config.user}. Give numbers, such as "
        "'1000:1000', or leave it null"
    ),
    r"could not select device driver|nvidia": (
        "the engine cannot provide GPUs (run_backend.gpus={config.gpus}). Install its GPU support "
        "(nvidia-container-toolkit), or leave it null"
    ),
    r"bind source path does not exist": (
        "the engine does not see a path that it must mount. Use an engine on this machine, or one that "
        "shares its file system"
    ),
    r"Range of CPUs": (
        "run_backend.cpu={config.cpu} is more than the number of the engine's cores; ask for fewer"
    ),
    r"capabilit": "run_backend.cap_add={config.cap_add}: give Linux capabilities, such as SYS_PTRACE",
    r"network|No such container": "run_backend.network={config.network} cannot be used; use none or host",
    rf"/bin/sh|exec format|{_NO_SHELL}": (
        "the image {image} has no /bin/sh that can run here, and every run needs one. Choose another "
        "image, or add a shell to this one (busybox)"
    ),
    r"docker-init|catatonit|init binary": (
        "the engine has no init process for containers; install it, or set run_backend.init=false"
    ),
    r"No such image": "the image {image} was removed meanwhile; rerun the command",
    r"no space left": "the engine's disk is full; free space (docker system prune)",
}

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
        self.memory = PeakMemory()
        self.engine_was_away = False
        # Whether another driver waits for it now.
        self.taken_over = False

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

    def wait(
        self, deadline: float | None, stop: StopSignal | None, check: Callable[[], None]
    ) -> Mapping[str, Any]:
        """Wait until the container has exited, and return what `docker inspect` reports.

        `check` is called at intervals, and what it raises ends the wait.

        TimeoutError at the `deadline` (monotonic), KeyboardInterrupt on `stop`; RunLost if the engine
        stops answering and does not come back.
        """
        info = self._inspect_after_reconnect(stop)
        process = int(info["State"].get("Pid") or 0)
        runs_here = self._runs_here(process)

        def observe() -> None:
            check()
            if runs_here:
                self.memory.sample(process)

        while True:
            # Whether an error is fatal, the next line finds out: the engine may only be restarting.
            with contextlib.suppress(*engine_errors()):
                in_background(lambda: self._engine.api.wait(self.id, timeout=None), stop, deadline, observe)
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
        if self.taken_over:
            return
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
    """SHA-256 of the script, which identifies the job of a container; empty if it cannot be read."""
    try:
        return hashlib.sha256(read_regular(workspace.script)).hexdigest()
    except OSError:
        return ""


def container_labels(job: Job, image: str) -> dict[str, str]:
    """The labels of a container that this process creates for a job."""
    return {
        WORKSPACE_LABEL: job.workspace.root,
        SCRIPT_LABEL: script_hash(job.workspace),
        DRIVER_LABEL: json.dumps(asdict(lease.me())),
        "rompy_hydra.run_id": job.run_id,
        IMAGE_LABEL: image,
    }


def belongs_to(job: Job, info: Mapping[str, Any]) -> bool:
    """Whether a container runs this job, and is still running or has a result."""
    state, labels = info["State"], info["Config"]["Labels"] or {}
    if labels.get(SCRIPT_LABEL) != script_hash(job.workspace):
        return False
    ended = state["Status"] in ("created", "exited", "dead", "removing")
    return not ended or bool(state.get("OOMKilled")) or job.workspace.exit_code() is not None


def has_living_driver(info: Mapping[str, Any]) -> bool:
    """Whether a container's driver is alive; a driver on another machine counts as alive."""
    try:
        driver = Owner(**read_json((info["Config"]["Labels"] or {})[DRIVER_LABEL]))
    except (KeyError, TypeError, ValueError):
        return False
    if driver == lease.me():
        return info["Id"] in own_containers
    return driver.host != lease.me().host or lease.lives_here(driver)


def start_error(job: Job, config: DockerConfig, image: str, text: str) -> RunError:
    """The error for a container that the engine refused to create or start; `text` is its message."""
    for pattern, advice in _ADVICE.items():
        if re.search(pattern, text, re.I):
            advice = advice.format(config=config, image=image)
            return RunError(f"cannot start {job.run_id} in a container: {advice} ({text})")
    return RunError(
        f"cannot start {job.run_id} in a container of {image}: {text}. Check the settings of run_backend"
    )


def outcome_of(container: Container, info: Mapping[str, Any], job: Job, config: DockerConfig) -> Outcome:
    """The outcome of a container that has exited; RunError if its image has no shell to run anything."""
    state = info["State"]
    script_code = job.workspace.exit_code()  # None if the script did not finish
    code = int(state["ExitCode"]) if script_code is None else script_code
    starter_error = ""
    if script_code is None and code:
        starter_error = " ".join(container.output(errors=True).split())
        if re.search(_NO_SHELL, starter_error):
            image = (info["Config"]["Labels"] or {}).get(IMAGE_LABEL, info["Config"]["Image"])
            raise start_error(job, config, image, starter_error)
    why: list[str] = []
    if state.get("OOMKilled"):
        # Even if the script continued without the process that was killed.
        code = code or _SIGKILL_CODE
        why.append(f"it ran out of memory: {_memory_limit(info, config)}")
    elif code == _SIGKILL_CODE and script_code is not None and info["HostConfig"].get("Memory"):
        # Not every engine reports it.
        why.append(
            f"one of its processes was killed, possibly for lack of memory: {_memory_limit(info, config)}"
        )
    elif code == _SIGKILL_CODE and container.engine_was_away:
        why.append("the engine was restarted meanwhile, which killed it")
    elif code == _SIGKILL_CODE and script_code is None:
        why.append("it was killed from outside")
    if starter_error:
        why += [starter_error, *_permission_hint(job.workspace, str(info["Config"]["User"]))]
    return Outcome(
        exit_code=code,
        seconds=seconds_since_start(state),
        cpu_seconds=_cpu_seconds(container.output(errors=False)),
        peak_memory_bytes=container.memory.peak(0),
        facts={"why": "; ".join(why)} if why else {},
    )


def _memory_limit(info: Mapping[str, Any], config: DockerConfig) -> str:
    limit = info["HostConfig"].get("Memory")
    if not limit:
        return "the machine had none left"
    return f"the container's limit is {config.memory or f'{limit} bytes'}; raise run_backend.memory"


def _permission_hint(workspace: Workspace, user: str) -> list[str]:
    """An explanation if a container's user, who has no capabilities, may not write to the run directory."""
    numbers, owner = re.fullmatch(r"(\d+)(?::(\d+))?", user), workspace.path.stat()
    if numbers is None:
        return []
    write_bit = 0o002
    if int(numbers[1]) == owner.st_uid:
        write_bit = 0o200
    elif numbers[2] and int(numbers[2]) == owner.st_gid:
        write_bit = 0o020
    if owner.st_mode & write_bit:
        return []
    return [
        f"the container's user {user} may not write to {workspace.path}, which belongs to "
        f"{owner.st_uid}:{owner.st_gid} (mode {owner.st_mode & 0o777:o}): leave run_backend.user null, "
        "or give the directory to that user"
    ]


def _cpu_seconds(output: str) -> float | None:
    """The CPU time of all processes that the starter waited for, from the last line of POSIX `times`."""
    lines = re.findall(r"(\d+)m(\d+[.,]\d+)s (\d+)m(\d+[.,]\d+)s", output)
    if not lines:
        return None
    user_min, user_s, system_min, system_s = (float(part.replace(",", ".")) for part in lines[-1])
    return 60 * (user_min + system_min) + user_s + system_s


def seconds_since_start(state: Mapping[str, Any]) -> float | None:
    """How long a container has been running, or ran until it exited, by the engine's clock."""
    if (started := _time(state.get("StartedAt"))) is None:
        return None
    finished = None if state.get("Running") else _time(state.get("FinishedAt"))
    return max(0.0, ((finished or datetime.now(started.tzinfo)) - started).total_seconds())


def _time(text: object) -> datetime | None:
    """A time as the engine writes it, None for the year 1, which stands for never."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.year > 1 else None
