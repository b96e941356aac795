"""What the end of a container means for its run, and why the engine refused to start one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rompy_hydra.errors import RunError
from rompy_hydra.run.base import Job, Outcome
from rompy_hydra.run.docker.config import DockerConfig
from rompy_hydra.run.docker.container import IMAGE_LABEL, Container
from rompy_hydra.workspace import Workspace

_TIMES = re.compile(r"(\d+)m(\d+[.,]\d+)s (\d+)m(\d+[.,]\d+)s")
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
        peak_memory_bytes=container.peak_memory_bytes,
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
    lines = _TIMES.findall(output)
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
