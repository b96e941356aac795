"""A heartbeat: the files that this process works on are touched at intervals."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

HEARTBEAT_SECONDS = 30.0
# Work that takes less than this ends before anyone could consider its driver dead.
_SHORT_SECONDS = 2.0


class Heartbeat:
    """One daemon thread that touches all claims of this process, so that other hosts see it alive.

    `successor` is the command of a process that keeps touching them if this one dies and leaves models
    running (`lease_keeper`). It is started once a claim is held for seconds; the end of its standard
    input is the end of this process.
    """

    def __init__(self, successor: Callable[[], list[str]]) -> None:
        self._successor = successor
        self._has_successor = False
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, path: str) -> None:
        """Touch a file from now on."""
        with self._lock:
            self._since[path] = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
                self._thread.start()

    def watches(self, path: str) -> bool:
        with self._lock:
            return path in self._since

    def forget(self, path: str) -> None:
        """Stop touching a file."""
        with self._lock:
            self._since.pop(path, None)

    def _run(self) -> None:
        beat = time.monotonic()
        while True:
            time.sleep(HEARTBEAT_SECONDS if self._has_successor else _SHORT_SECONDS)
            now = time.monotonic()
            with self._lock:
                since = dict(self._since)
            if not self._has_successor and any(now - begin >= _SHORT_SECONDS for begin in since.values()):
                self._has_successor = True
                # As long as this process lives, its successor is not needed.
                with contextlib.suppress(OSError, NotImplementedError):
                    _start_beside(self._successor())
            if now - beat >= HEARTBEAT_SECONDS:
                beat = now
                self._touch(since)

    def _touch(self, paths: dict[str, float]) -> None:
        for path in paths:
            try:
                os.utime(path)
            except FileNotFoundError:
                self.forget(path)
            except OSError:
                continue  # a network share may be unavailable for a moment: the next beat tries again


def _start_beside(argv: list[str]) -> None:
    """Start a program in its own session; its standard input reaches its end when this process ends."""
    reader, writer = os.pipe()
    quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)
    try:
        os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), *quiet],
            setsid=True,
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
