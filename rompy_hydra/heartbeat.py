"""A sign of life: files that are touched from time to time, as long as this process works on them."""

from __future__ import annotations

import os
import threading
import time

HEARTBEAT_SECONDS = 30.0


class Heartbeat:
    """One daemon thread that touches all claims of this process, so that other hosts see it alive."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, path: str) -> None:
        with self._lock:
            self._paths.add(path)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
                self._thread.start()

    def watches(self, path: str) -> bool:
        with self._lock:
            return path in self._paths

    def forget(self, path: str) -> None:
        with self._lock:
            self._paths.discard(path)

    def _run(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            with self._lock:
                paths = list(self._paths)
            for path in paths:
                try:
                    os.utime(path)
                except FileNotFoundError:
                    self.forget(path)
                except OSError:
                    continue  # a share that is away for a moment: the next beat tries again
