"""A request to stop that wakes waiting threads immediately."""

from __future__ import annotations

import os
import select


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
