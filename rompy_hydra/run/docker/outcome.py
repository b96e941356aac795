"""How a container ended, told as the outcome of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rompy_hydra.errors import RunError
from rompy_hydra.run.base import Job, Outcome
from rompy_hydra.run.docker.config import DockerConfig
from rompy_hydra.run.docker.container import Container
from rompy_hydra.workspace import Workspace

_TIMES = re.compile(r"(\d+)m(\d+[.,]\d+)s (\d+)m(\d+[.,]\d+)s")
_KILLED = 137


def outcome_of(container: Container, facts: Mapping[str, Any], job: Job, config: DockerConfig) -> Outcome:
    """The outcome of an ended container; RunError if its image has no shell to run anything with."""
    state = facts["State"]
    left = job.workspace.exit_code()
    code = int(state["ExitCode"]) if left is None else left
    complaint = ""
    if left is None and code:
        complaint = " ".join(container.output(errors=True).split())
        if re.search(r"exec /bin/sh failed|failed to exec pid1", complaint):
            raise RunError(
                f"the image {facts['Config']['Image']} has no /bin/sh, which every run needs "
                f"({complaint}). Take another image, or add a shell to this one (busybox)"
            )
    why: list[str] = []
    if state.get("OOMKilled"):
        # Also when the script went on without the process that was killed.
        code = code or _KILLED
        why.append(f"it ran out of memory: {_limit(facts, config)}")
    elif code == _KILLED and left is not None and facts["HostConfig"].get("Memory"):
        # Not every engine can tell.
        why.append(f"a program of it was killed, perhaps for its memory: {_limit(facts, config)}")
    elif container.engine_went_away and code == _KILLED:
        why.append("the engine was restarted meanwhile, which killed it")
    elif left is None and code == _KILLED:
        why.append("it was killed from outside")
    if complaint:
        why.append(complaint)
        why += unwritable(job.workspace, str(facts["Config"]["User"]))
    return Outcome(
        exit_code=code,
        seconds=ran_seconds(state),
        cpu_seconds=cpu_seconds(container.output(errors=False)),
        peak_memory_bytes=container.peak_memory_bytes,
        facts={"why": "; ".join(why)} if why else {},
    )


def _limit(facts: Mapping[str, Any], config: DockerConfig) -> str:
    limit = facts["HostConfig"].get("Memory")
    if not limit:
        return "the machine had no more"
    return f"the limit of its container is {config.memory or f'{limit} bytes'} (run_backend.memory)"


def unwritable(workspace: Workspace, user: str) -> list[str]:
    """What to say if a container's user, without capabilities, may not write in the run directory."""
    numbers = re.fullmatch(r"(\d+)(?::(\d+))?", user)
    if numbers is None:
        return []
    facts = workspace.path.stat()
    bit = 0o200 if int(numbers[1]) == facts.st_uid else 0o002
    if bit == 0o002 and numbers[2] and int(numbers[2]) == facts.st_gid:
        bit = 0o020
    if facts.st_mode & bit:
        return []
    return [
        f"the container's user {user} may not write in {workspace.path}, which belongs to "
        f"{facts.st_uid}:{facts.st_gid} (mode {facts.st_mode & 0o777:o}): leave run_backend.user null, "
        "or give the directory to that user"
    ]


def cpu_seconds(said: str) -> float | None:
    """The CPU time of all that the starter waited for, from what `times` wrote (POSIX)."""
    found = _TIMES.findall(said)
    if not found:
        return None
    numbers = [float(part.replace(",", ".")) for part in found[-1]]
    return 60 * numbers[0] + numbers[1] + 60 * numbers[2] + numbers[3]


def ran_seconds(state: Mapping[str, Any]) -> float | None:
    """Seconds since it was started, until its end if it ended, by the engine's clock."""
    started = _time(state.get("StartedAt"))
    if started is None:
        return None
    finished = _time(state.get("FinishedAt")) if not state.get("Running") else None
    now = datetime.now(started.tzinfo)
    return max(0.0, ((finished or now) - started).total_seconds())


def _time(text: object) -> datetime | None:
    """A time of the engine, which has nanoseconds, and the year 1 for never."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", str(text))
    if found is None or found[1].startswith("0001"):
        return None
    return datetime.fromisoformat(found[1] + (found[2] or ".0")[:7].ljust(7, "0") + found[3])
