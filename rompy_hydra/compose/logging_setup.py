"""Logging to standard error through loguru, including messages of the standard library's loggers."""

from __future__ import annotations

import logging
import sys

from loguru import logger

_FORMAT = "{time:HH:mm:ss} {level: <7} {extra[run_id]}{message}"


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
    logger.configure(extra={"run_id": ""}, patcher=_add_separator)  # type: ignore[arg-type]
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=sys.stderr.isatty())
    logging.basicConfig(handlers=[InterceptHandler()], level=logging.INFO, force=True)


def _add_separator(record: dict[str, dict[str, str]]) -> None:
    """Write the run's name as `NAME: `, and nothing outside of a run."""
    run_id = record["extra"].get("run_id", "")
    if run_id and not run_id.endswith(": "):
        record["extra"] = {**record["extra"], "run_id": f"{run_id}: "}
