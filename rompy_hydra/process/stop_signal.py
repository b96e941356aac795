"""A request to stop that wakes waiting threads at once."""

from __future__ import annotations

import os
import select


class StopSignal:
    """Asks running commands of other threads to end; wakes them at once, without polling.

    It has no lock, so that a signal's handler may set it whatever it came into.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._is_set = False

    def set(self) -> None:
        """Ask; a second time does nothing more."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, b"!")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most so long; whether it is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def fileno(self) -> int:
        """Readable from the moment of `set()`, for select and poll."""
        return self._reader

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
