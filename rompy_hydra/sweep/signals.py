"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

from rompy_hydra.errors import INTERRUPTED_EXIT_CODE
from rompy_hydra.process import StopSignal

# How long the second interrupt may take before another one exits.
_PATIENCE_SECONDS = 3.0


class Interrupts:
    """Handles Ctrl-C and SIGTERM: the first calls `stop`, the second `kill`, a later one exits.

    A key that is held down sends many: those within seconds after the second are ignored, so that all
    models are killed and recorded properly. None raises an exception, which could disturb the handling
    of an earlier one. Ignored signals, such as under nohup, stay ignored.
    """

    def __init__(self, stop: Callable[[], None], kill: Callable[[], None]) -> None:
        self._stop = stop
        self._kill = kill
        self._count = 0
        self._killed: float | None = None
        self._earlier: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._reader, self._writer = os.pipe()
        self._earlier_wakeup: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            os.set_blocking(self._writer, False)
            self._earlier_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                earlier = signal.getsignal(number)
                if callable(earlier):
                    self._earlier[number] = earlier
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, earlier in self._earlier.items():
            # After the second interrupt the process is about to exit, and has to report first.
            signal.signal(number, earlier if self._killed is None else signal.SIG_IGN)
        if self._earlier_wakeup is not None:
            signal.set_wakeup_fd(self._earlier_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def wait_for(self, *signals: StopSignal) -> None:
        """Wait until one of them is set, and handle interrupts meanwhile.

        The system may deliver an interrupt to any thread, but Python handles it in this one, which
        would not wake up for it while it waits for a lock.
        """
        poll = select.poll()
        for descriptor in (self._reader, *(each.fileno() for each in signals)):
            poll.register(descriptor, select.POLLIN)
        while not any(each.is_set() for each in signals):
            if any(descriptor == self._reader for descriptor, _ in poll.poll()):
                os.read(self._reader, 4096)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._stop()
        elif self._count == 2:
            self._kill()
            self._killed = time.monotonic()
        elif self._killed is not None and time.monotonic() - self._killed > _PATIENCE_SECONDS:
            for descriptor in (1, 2):
                if os.isatty(descriptor):
                    os.write(descriptor, b"\x1b[?25h")  # shows the cursor, which a live display has hidden
            os._exit(INTERRUPTED_EXIT_CODE)
