"""Workers that take turns with everything but their models."""

from __future__ import annotations

import threading

from rompy_hydra.workspace.record import RUNNING

# How long a worker waits for its turn, seconds. Then it goes on without: whoever has it may be at
# something long, such as a postprocessor, during which others can work as well.
_PATIENCE = 0.02


class Turn:
    """One worker's turn, of which `lock` lets one have it at a time.

    One thread at a time runs Python, and may lose the interpreter to another one at each call of the
    system. Where these come one after the other, as around a run that takes a millisecond, that
    change costs more than the call. A turn guards nothing: without it all is right, and slower.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._mine = False

    def __enter__(self) -> Turn:
        self._take()
        return self

    def __exit__(self, *_error: object) -> None:
        self._give()

    def at(self, state: str) -> None:
        """Be told at the border of a stage: while a model runs, others have their turn."""
        (self._give if state == RUNNING else self._take)()

    def _take(self) -> None:
        if not self._mine:
            self._mine = self._lock.acquire(timeout=_PATIENCE)

    def _give(self) -> None:
        if self._mine:
            self._mine = False
            self._lock.release()
