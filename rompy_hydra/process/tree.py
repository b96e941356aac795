"""Find all processes of a run by session, descent and mark, and terminate every one of them."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from loguru import logger

from rompy_hydra.process.wait import wait_for_exit

# Imported where it is used: most runs leave no process behind, so they never need it.
if TYPE_CHECKING:
    import psutil

# Marks every process of a run, so that processes left by a dead driver can be found again.
RUN_MARK = "ROMPY_HYDRA_RUN"


def find_leader(mark: str, pid: int | None = None) -> int | None:
    """The process that leads a run's session, or None if it is not alive on this machine.

    `pid` is the recorded process id, if there is one. Without it, the oldest process of the run is
    returned, since all others descend from it.
    """
    import psutil

    members = _find_processes(mark)
    if pid is not None:
        return pid if any(process.pid == pid for process in members) else None
    by_age: list[tuple[float, int]] = []
    for process in members:
        with contextlib.suppress(psutil.Error):
            by_age.append((process.create_time(), process.pid))
    return min(by_age)[1] if by_age else None


def end_tree(
    pid: int | None, mark: str | None, grace: float, reap: bool = False, quick: bool = False
) -> int:
    """Terminate a run's processes: `pid`, its descendants, its session, and all that carry `mark`.

    SIGTERM, then SIGKILL after `grace` seconds, or immediately after another Ctrl-C, until none is left.
    Without a `mark`, none is found by it.
    Returns their number. `reap` states that `pid` is a child of this process and must be waited for.
    `quick`, for a command that ended by itself, first checks whether any process is newer than `pid`,
    which costs a tenth of examining all processes.
    """
    if quick and pid is not None and mark is not None and not _has_survivors(pid, mark):
        return 0
    found = {process.pid: process for process in _find_tree(pid, mark)}
    _send(signal.SIGTERM, found.values())
    with contextlib.suppress(KeyboardInterrupt):
        _wait_for_all(found.values(), grace)
    # Killed processes may take this long to disappear. A process that waits for a failed disk or
    # belongs to another user cannot be terminated, and must not block the driver forever.
    deadline = time.monotonic() + 30.0
    while alive := [p for p in found.values() if _is_alive(p)] + _find_tree(pid, mark):
        found |= {process.pid: process for process in alive}
        _send(signal.SIGKILL, alive)
        _wait_for_all(alive, 1.0)
        if time.monotonic() > deadline:
            logger.error("cannot terminate these processes: {}", sorted({p.pid for p in alive}))
            return len(found)
    if reap and pid is not None:
        os.waitpid(pid, 0)
    return len(found)


def kill_marked(mark: str) -> None:
    """Send SIGKILL to every process of a run; the thread that waits for the run notices its end."""
    _send(signal.SIGKILL, _find_processes(mark))


def all_marks() -> set[str]:
    """The marks of all runs with a running process on this machine, regardless of who started it."""
    import psutil

    found = set()
    name = f"\0{RUN_MARK}=".encode()
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            _, separator, rest = _environment(pid).partition(name)
            if separator and _is_alive(psutil.Process(pid)):
                found.add(os.fsdecode(rest.partition(b"\0")[0]))
    return found


def _find_processes(mark: str | None, session: int | None = None) -> list[psutil.Process]:
    """The running processes that carry `mark` in their environment or belong to `session`."""
    import psutil

    entry = None if mark is None else _environment_entry(mark)
    found = []
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if (session is not None and os.getsid(pid) == session) or (entry and _is_marked(pid, entry)):
                found.append(psutil.Process(pid))
    return [process for process in found if _is_alive(process)]


def _find_tree(pid: int | None, mark: str | None) -> list[psutil.Process]:
    """The running processes of a run: marked, in the session of `pid`, or descendants of it."""
    import psutil

    found = {process.pid: process for process in _find_processes(mark, session=pid)}
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            leader = psutil.Process(pid)
            if _is_alive(leader):
                found |= {each.pid: each for each in [leader, *leader.children(recursive=True)]}
    return [p for p in found.values() if p.pid != os.getpid() and _is_alive(p)]


def _send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _wait_for_all(processes: Collection[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in filter(_is_alive, processes):
        wait_for_exit(process.pid, deadline)


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _has_survivors(pid: int, mark: str) -> bool:
    """Whether a command that has ended, but is not reaped yet, left any process of its run.

    Process ids only grow, so its descendants have larger ones. If the ids have wrapped around since,
    all processes are examined.
    """
    if sys.platform != "linux":
        return bool(_find_tree(pid, mark))
    last = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        last = int(os.pread(_loadavg(), 200, 0).split()[4])  # the process id that was assigned last
    candidates: Sequence[int] = range(pid + 1, last + 1)
    if not 0 <= last - pid < 200:  # for many ids, listing all processes is faster than trying each
        ids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        candidates = [each for each in ids if each > pid] if last >= pid else ids
    entry = _environment_entry(mark)
    for each in candidates:
        with contextlib.suppress(OSError):
            if os.getsid(each) == pid or _is_marked(each, entry):
                return True
    return False


@functools.cache
def _loadavg() -> int:
    """A file descriptor that stays open, because it is read at the end of every run."""
    return os.open("/proc/loadavg", os.O_RDONLY)


def _environment_entry(mark: str) -> bytes:
    return f"\0{RUN_MARK}={mark}\0".encode(errors="surrogateescape")


def _is_marked(pid: int, entry: bytes) -> bool:
    """Whether a process has the mark's `entry` in its environment.

    While a process executes its next program, no environment is readable. This waits for it, since the
    process may also have left the session by then, as with `setsid program &`.
    """
    deadline = time.monotonic() + 5.0
    while True:
        environment = _environment(pid)
        if entry in environment:
            return True
        if len(environment) > 2 or not _has_environment(pid) or time.monotonic() > deadline:
            return False
        time.sleep(0.0005)


def _has_environment(pid: int) -> bool:
    """Whether a process has an environment, or is about to get one with its next program."""
    if sys.platform != "linux":
        return False
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    state, flags, begin, end = fields[0], int(fields[6]), int(fields[47]), int(fields[48])  # proc(5)
    kernel_thread = flags & 0x00200000  # PF_KTHREAD in the kernel's include/linux/sched.h
    return state not in (b"Z", b"X") and not kernel_thread and (end == 0 or end > begin)


def _environment(pid: int) -> bytes:
    """The environment as NAME=VALUE entries, each between null bytes."""
    if sys.platform == "linux":  # ten times faster than psutil
        return b"\0" + _read(f"/proc/{pid}/environ") + b"\0"
    import psutil

    pairs = psutil.Process(pid).environ().items()
    return "".join(f"\0{name}={value}\0" for name, value in pairs).encode(errors="surrogateescape")


def _read(path: str) -> bytes:
    # System calls only, because this is called at the end of every run.
    file = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)
