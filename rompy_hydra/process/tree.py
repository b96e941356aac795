"""All processes of a run: found by session, descent and mark, and ended to the last one."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loguru import logger

# Marks every process of a run, so that what a dead driver left behind can be found again.
RUN_MARK = "ROMPY_HYDRA_RUN"

# Imported where it is used: most runs leave no process behind that it would have to find.
if TYPE_CHECKING:
    import psutil

# How long processes that were killed may take to be gone, seconds. One that waits for a dead disk,
# or belongs to another user, cannot be ended, and must not hold the driver for ever.
_KILL_SECONDS = 30.0
# How long the start of a program may take until its environment is there, seconds.
_EXEC_SECONDS = 5.0
# PF_KTHREAD in the kernel's include/linux/sched.h.
_KERNEL_THREAD = 0x00200000


def find_leader(mark: str, pid: int | None = None) -> int | None:
    """The process that leads a run's session, or None if it does not live on this machine.

    `pid` is the one that was written down, if it was; without it the oldest process of the run is
    taken, since all others descend from it.
    """
    import psutil

    members = marked(mark)
    if pid is not None:
        return pid if any(process.pid == pid for process in members) else None
    by_age: list[tuple[float, int]] = []
    for process in members:
        with contextlib.suppress(psutil.Error):
            by_age.append((process.create_time(), process.pid))
    return min(by_age)[1] if by_age else None


def end_tree(
    pid: int | None,
    mark: str,
    grace: float,
    reap: bool = False,
    quick: bool = False,
) -> int:
    """End a run's processes: `pid`, its descendants and session, and everything that carries `mark`.

    SIGTERM, then SIGKILL after `grace` seconds, or at once after another Ctrl-C, until none is left.
    Returns how many there were. `reap` says that `pid` is a child of this process, to be waited for.
    `quick` is for the end of every run: it looks first whether there is anything newer than `pid` at
    all, which costs a tenth of looking at all processes.
    """
    if quick and pid is not None and not _has_heirs(pid, mark):
        return 0
    import psutil

    found = {process.pid: process for process in _tree(pid, mark)}
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    with contextlib.suppress(KeyboardInterrupt):
        _wait_for_end(list(found.values()), grace)
    deadline = time.monotonic() + _KILL_SECONDS
    while alive := [p for p in found.values() if _alive(p)] + _tree(pid, mark):
        for process in alive:
            found[process.pid] = process
            with contextlib.suppress(psutil.Error):
                process.kill()
        _wait_for_end(alive, 1.0)
        if time.monotonic() > deadline:
            logger.error("these processes cannot be ended: {}", sorted({p.pid for p in alive}))
            return len(found)
    if reap and pid is not None:
        os.waitpid(pid, 0)
    return len(found)


def kill_marked(mark: str) -> None:
    """SIGKILL for every process of a run, now; whoever waits for the run sees its end."""
    import psutil

    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            process.kill()


def marked(mark: str, session: int | None = None) -> list[psutil.Process]:
    """The living processes that carry `mark` in their environment, or are of `session`."""
    import psutil

    needle = _needle(mark)
    found = []
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if (session is not None and os.getsid(pid) == session) or _carries(pid, needle):
                found.append(psutil.Process(pid))
    return [process for process in found if _alive(process)]


def all_marks() -> set[str]:
    """The marks of all runs of which a process lives on this machine, whoever started it."""
    import psutil

    found = set()
    name = f"\0{RUN_MARK}=".encode()
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            _, there, rest = _environment(pid).partition(name)
            if there and _alive(psutil.Process(pid)):
                found.add(os.fsdecode(rest.partition(b"\0")[0]))
    return found


def _has_heirs(pid: int, mark: str) -> bool:
    """Whether a process that ended, but was not waited for yet, has left any process of its run.

    Process ids only grow, so its descendants have greater ones; where they began again from the
    lowest one since, all are looked at.
    """
    if sys.platform != "linux":
        return bool(_tree(pid, mark))
    last = _last_id()
    newer: Sequence[int] = range(pid + 1, last + 1)
    if not 0 <= last - pid < 200:  # quicker one by one than by a list of all, but for so many
        ids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        newer = [each for each in ids if each > pid] if last >= pid else ids
    needle = _needle(mark)
    for each in newer:
        with contextlib.suppress(OSError):
            if os.getsid(each) == pid or _carries(each, needle):
                return True
    return False


def _last_id() -> int:
    """The process id that was given last."""
    try:
        return int(os.pread(_loads(), 200, 0).split()[4])
    except (OSError, ValueError, IndexError):
        return 0


@functools.cache
def _loads() -> int:
    """A descriptor that stays open: it is read at the end of every run."""
    return os.open("/proc/loadavg", os.O_RDONLY)


def _content(path: str) -> bytes:
    # By the calls of the system alone: this is asked at the end of every run.
    file = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def _needle(mark: str) -> bytes:
    return f"\0{RUN_MARK}={mark}\0".encode(errors="surrogateescape")


def _carries(pid: int, needle: bytes) -> bool:
    """Whether a process has the mark in its environment.

    While it changes from one program to another there is none to be read: that is waited for, since
    it may have left the session as well by then, as `setsid program &` does.
    """
    deadline = time.monotonic() + _EXEC_SECONDS
    while True:
        environment = _environment(pid)
        if needle in environment:
            return True
        if len(environment) > 2 or not _has_environment(pid) or time.monotonic() > deadline:
            return False
        time.sleep(0.0005)


def _has_environment(pid: int) -> bool:
    """Whether a process has an environment, or is about to have one with its next program."""
    if sys.platform != "linux":
        return False
    facts = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    state, flags, begin, end = facts[0], int(facts[6]), int(facts[47]), int(facts[48])  # proc(5)
    return state not in (b"Z", b"X") and not flags & _KERNEL_THREAD and (end == 0 or end > begin)


def _environment(pid: int) -> bytes:
    if sys.platform == "linux":  # ten times quicker than by way of psutil
        return b"\0" + _content(f"/proc/{pid}/environ") + b"\0"
    import psutil

    pairs = psutil.Process(pid).environ().items()
    return "".join(f"\0{name}={value}\0" for name, value in pairs).encode(errors="surrogateescape")


def _tree(pid: int | None, mark: str) -> list[psutil.Process]:
    import psutil

    found = {process.pid: process for process in marked(mark, session=pid)}
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            leader = psutil.Process(pid)
            if _alive(leader):
                for process in [leader, *leader.children(recursive=True)]:
                    found[process.pid] = process
    return [p for p in found.values() if p.pid != os.getpid() and _alive(p)]


def _wait_for_end(processes: list[psutil.Process], seconds: float) -> None:
    """Wait until none of them runs any more, be it waited for by its parent or not."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while any(_alive(process) for process in processes):
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)


def _alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
