"""One direction of logging: the standard library's messages go to loguru."""

from __future__ import annotations

import logging
import sys

from loguru import logger

_FORMAT = "{time:HH:mm:ss} {level: <7} {extra[run_id]}{message}"


class InterceptHandler(logging.Handler):
    """Hands a record of the standard library to loguru, with its level and its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.opt(depth=6, exception=record.exc_info).log(level, "{}", record.getMessage())


def set_up_logging(level: str) -> None:
    """Log to standard error from `level` on, with the run's name on every line of a run."""
    logger.remove()
    logger.configure(extra={"run_id": ""}, patcher=_name_the_run)  # type: ignore[arg-type]
    logger.add(sys.stderr, level=level, format=_FORMAT, colorize=sys.stderr.isatty())
    logging.basicConfig(handlers=[InterceptHandler()], level=logging.INFO, force=True)


def _name_the_run(record: dict[str, dict[str, str]]) -> None:
    run_id = record["extra"].get("run_id", "")
    if run_id and not run_id.endswith(": "):
        record["extra"] = {**record["extra"], "run_id": f"{run_id}: "}
