"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from rompy_hydra.errors import INTERRUPTED_EXIT_CODE


class Interrupts:
    """The first one calls `stop` and raises KeyboardInterrupt, the second calls `kill`, the third exits.

    Only the first can come between two lines of whoever waits for the runs to end. Signals that
    nobody listens to, as under nohup, stay so; so do those of a thread that gets none.
    """

    def __init__(self, stop: Callable[[], None], kill: Callable[[], None]) -> None:
        self._stop = stop
        self._kill = kill
        self._count = 0
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
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
            signal.signal(number, before)

    def _come(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._stop()
            raise KeyboardInterrupt
        if self._count == 2:
            self._kill()
        else:
            os._exit(INTERRUPTED_EXIT_CODE)
