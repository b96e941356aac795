"""Messages that plugins write with the standard library's loggers, as lines of the log of their run."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
from collections.abc import Iterator

from loguru import logger

# How a child process writes them to its output.
_FORMAT = "%(levelname)s %(name)s: %(message)s"
_LINE = re.compile(r"(INFO|WARNING|ERROR|CRITICAL) ([\w.]+: .*)")


class InterceptHandler(logging.Handler):
    """Passes records of the standard library to loguru, with their level and origin."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.opt(depth=6, exception=record.exc_info).log(level, "{}", record.getMessage())


class _Forwarding:
    """The handler of this process, as long as any thread works on a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handler = InterceptHandler()
        self._users = 0
        self._level = logging.WARNING

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Forward messages in this context, unless the program has configured logging by itself."""
        root = logging.getLogger()
        with self._lock:
            if self._users == 0 and not root.handlers:
                self._level = root.level
                root.addHandler(self._handler)
                root.setLevel(min(root.level or logging.INFO, logging.INFO))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._handler in root.handlers:
                    root.removeHandler(self._handler)
                    root.setLevel(self._level)


forwarded = _Forwarding()


def print_messages() -> None:
    """In a child process: write messages to its output, unless a plugin has configured logging."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stdout)


def log_messages(output: str) -> None:
    """Log the messages that a child process has printed, and the rest of its output for debugging."""
    rest = []
    for line in output.splitlines():
        if found := _LINE.fullmatch(line):
            logger.log(found[1], "{}", found[2])
        else:
            rest.append(line)
    if rest:
        logger.debug("{}", "\n".join(rest))
