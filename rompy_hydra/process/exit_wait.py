"""Wait until a process has ended, with a deadline, a stop signal and periodic observation."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable

from rompy_hydra.process.stop_signal import StopSignal

# Seconds until the first observation, and the longest interval between two.
_FIRST_OBSERVATION, _LONGEST_INTERVAL = 0.05, 2.0
# Seconds between checks on systems without pidfd.
_CHECK_SECONDS = 0.02


def wait_for_exit(
    pid: int,
    deadline: float | None = None,
    stop: StopSignal | None = None,
    observe: Callable[[], None] | None = None,
) -> bool:
    """Wait until a process has ended, whether or not its parent has reaped it.

    Returns False if `deadline` (by `time.monotonic`) passes first. Raises KeyboardInterrupt when `stop`
    is set. Calls `observe` after a twentieth of a second, then at growing intervals.
    """
    interval = _FIRST_OBSERVATION
    poll = select.poll()
    pidfd = _open_pidfd(pid)
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    if stop is not None:
        poll.register(stop.fileno(), select.POLLIN)
    try:
        while pidfd is not None or not _has_ended(pid):
            seconds = math.inf if deadline is None else deadline - time.monotonic()
            if seconds <= 0:
                return _has_ended(pid)
            if observe is not None:
                seconds = min(seconds, interval)
            if pidfd is None:
                seconds = min(seconds, _CHECK_SECONDS)
            ready = poll.poll(min(seconds * 1000, 2**30))
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            if any(fd == pidfd for fd, _ in ready):
                return True
            if observe is not None:
                observe()
                interval = min(interval * 1.5, _LONGEST_INTERVAL)
        return True
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not on macOS; no such process
        return None


def _has_ended(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
