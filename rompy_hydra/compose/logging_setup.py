"""Logging to standard error through loguru, including messages of the standard library's loggers."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loguru import logger

from rompy_hydra.plugins.log import InterceptHandler
from rompy_hydra.redaction import printable


class _Sink:
    """Where lines go: to standard error, or above the display that is shown there."""

    def __init__(self) -> None:
        self.display: Callable[[str], None] | None = None

    def __call__(self, text: str) -> None:
        text = printable(text)
        if self.display is not None:
            self.display(text)
        else:
            sys.stderr.write(text)


_SINK = _Sink()


@contextlib.contextmanager
def logging_above(display: Callable[[str], None]) -> Iterator[None]:
    """Pass each line of the log to `display`, which keeps it apart from what it draws on the terminal.

    A standard error that is not the terminal keeps its lines.
    """
    _SINK.display = display if sys.stderr.isatty() else None
    try:
        yield
    finally:
        _SINK.display = None


def set_up_logging(level: str) -> None:
    """Log messages of at least `level` to standard error, each with the name of its run."""
    logger.remove()
    # `diagnose` would show the values of variables in a traceback.
    logger.add(_SINK, level=level, format=_format, diagnose=False)
    logging.basicConfig(handlers=[InterceptHandler()], level=logging.INFO, force=True)


def _format(record: Mapping[str, Any]) -> str:
    run = "{extra[run_id]}: " if record["extra"].get("run_id") else ""
    return "{time:HH:mm:ss} {level: <7} " + run + "{message}\n{exception}"
