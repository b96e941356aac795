"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from rompy_hydra.errors import INTERRUPTED_EXIT_CODE
from rompy_hydra.process import StopSignal

# How long the answer to the second one is waited for before another one ends all.
_PATIENCE_SECONDS = 3.0


class Interrupts:
    """The first one calls `stop`, the second `kill`, and one that comes seconds later ends this process.

    A key that is held down sends many: those soon after the second change nothing, so that all is
    ended, and written down, in order. None raises anything: it could come into the middle of
    whatever answers the one before. Signals that nobody listens to, as under nohup, stay so.
    """

    def __init__(self, stop: Callable[[], None], kill: Callable[[], None]) -> None:
        self._stop = stop
        self._kill = kill
        self._count = 0
        self._killed: float | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._reader, self._writer = os.pipe()
        self._wakes = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            os.set_blocking(self._writer, False)
            self._wakes = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):
                    self._before[number] = before
                    signal.signal(number, self._come)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            # Who was told twice is about to end, and has still to say how.
            signal.signal(number, before if self._killed is None else signal.SIG_IGN)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._wakes)
        os.close(self._reader)
        os.close(self._writer)

    def wait_for(self, *signals: StopSignal) -> None:
        """Wait until one of them is set, and answer interrupts meanwhile.

        The system may hand an interrupt to any thread, but its answer is this one's: a thread that
        only waited for a lock would not wake up for it.
        """
        poll = select.poll()
        for descriptor in (self._reader, *(each.fileno() for each in signals)):
            poll.register(descriptor, select.POLLIN)
        while not any(each.is_set() for each in signals):
            if any(descriptor == self._reader for descriptor, _ in poll.poll()):
                os.read(self._reader, 4096)

    def _come(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._stop()
        elif self._count == 2:
            self._kill()
            self._killed = time.monotonic()
        elif self._killed is not None and time.monotonic() - self._killed > _PATIENCE_SECONDS:
            _show_cursor()
            os._exit(INTERRUPTED_EXIT_CODE)


def _show_cursor() -> None:
    """Bring back what a live display has hidden, and would have shown again at its end."""
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.write(descriptor, b"\x1b[?25h")
