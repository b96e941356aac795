"""Logging to standard error through loguru, including messages of the standard library's loggers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from loguru import logger


class InterceptHandler(logging.Handler):
    """Passes records of the standard library to loguru, with their level and origin."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.opt(depth=6, exception=record.exc_info).log(level, "{}", record.getMessage())


def set_up_logging(level: str) -> None:
    """Log messages of at least `level` to standard error, each with the name of its run."""
    logger.remove()
    logger.add(sys.stderr, level=level, format=_format, colorize=sys.stderr.isatty())
    logging.basicConfig(handlers=[InterceptHandler()], level=logging.INFO, force=True)


def _format(record: Mapping[str, Any]) -> str:
    run = "{extra[run_id]}: " if record["extra"].get("run_id") else ""
    return "{time:HH:mm:ss} {level: <7} " + run + "{message}\n{exception}"
