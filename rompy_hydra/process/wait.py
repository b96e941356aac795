"""Wait until a process has ended, or until another thread requests a stop."""

from __future__ import annotations

import contextlib
import math
import os
import select
import time
from collections.abc import Callable


class StopSignal:
    """Asks the running commands of other threads to stop; wakes them immediately, without polling.

    It uses no lock, so a signal handler can set it at any moment.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._is_set = False

    def set(self) -> None:
        """Request the stop; repeated calls have no further effect."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, b"!")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the signal, and return whether it is set."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def fileno(self) -> int:
        """A file descriptor that becomes readable with `set()`, for select and poll."""
        return self._reader

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def wait_for_exit(
    pid: int,
    deadline: float | None = None,
    stop: StopSignal | None = None,
    observe: Callable[[int], None] | None = None,
) -> bool:
    """Wait until a process has ended, whether or not its parent has reaped it.

    Returns False if `deadline` (by `time.monotonic`) passes first. Raises KeyboardInterrupt when `stop`
    is set. Calls `observe(pid)` after a twentieth of a second, then at intervals up to 2 seconds.
    """
    interval = 0.05
    poll = select.poll()
    pidfd = None
    with contextlib.suppress(AttributeError, OSError):  # not on macOS; no such process
        pidfd = os.pidfd_open(pid)
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
                seconds = min(seconds, 0.02)
            ready = poll.poll(min(seconds * 1000, 2**30))
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            if any(fd == pidfd for fd, _ in ready):
                return True
            if observe is not None:
                observe(pid)
                interval = min(interval * 1.5, 2.0)
        return True
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _has_ended(pid: int) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True
