"""The table of a sweep, `results.csv`, from the run records."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

from loguru import logger

from rompy_hydra.core.status import recorded_state
from rompy_hydra.errors import DamagedRecord, SweepError
from rompy_hydra.jsonable import Json, json_text, read_json
from rompy_hydra.sweep.label import is_named
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.sweep.sweep_file import locked
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.atomic import remove_partials, stream_atomic
from rompy_hydra.workspace.record import PENDING, RunRecord

RESULTS = "results.csv"
# What spreadsheets take for the beginning of a formula, but for numbers; also within a text, where a
# program that splits lines at other characters than commas sees another cell.
_FORMULA = re.compile(
    r"(^|[;|\t\r\n])(?=\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r])"
    r"(?!\s*[+-](?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|Infinity)\s*(?:$|[;|\t\r\n]))"
)
_FIXED = ("state", "attempts", "seconds", "cpu_seconds", "peak_memory_bytes", "exit_code")
# A column of its own where a run has some.
_WARNINGS = "warnings"


@dataclass(frozen=True)
class Row:
    """One run of a sweep, as a row of the table. Times in seconds."""

    label: str
    state: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    attempts: int = 1
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    exit_code: int | None = None
    metrics: Mapping[str, Json] = field(default_factory=dict)
    error: str = ""
    # What its success checks warn of, although it passed them.
    warnings: str = ""


def row_of(label: str, record: RunRecord, state: str | None = None) -> Row:
    """The row of a run from its record. `state` replaces the record's own, such as for a lost run."""
    resources = record.resources
    seconds = [stage.seconds for stage in record.stages.values() if stage.seconds is not None]
    run = record.stages["run"]
    # Without the time of the run stage, the sum of the others would be misleading.
    known = bool(seconds) and (run.state == PENDING or run.seconds is not None)
    return Row(
        label=label,
        state=state or record.state,
        parameters={key.lstrip("+"): v for key, v in record.parameters.items() if is_named(key)},
        attempts=record.attempt,
        seconds=round(sum(seconds), 4) if known else None,
        cpu_seconds=cast("float | None", resources.get("cpu_seconds")),
        peak_memory_bytes=cast("int | None", resources.get("peak_memory_bytes")),
        exit_code=record.exit_code,
        metrics=record.metrics,
        error=str(record.error["message"]) if record.error else "",
        warnings="; ".join(record.warnings),
    )


class ResultsTable:
    """The rows of a sweep and their file, `results.csv`. Several threads may use it at once.

    Rows are stored in the spool; a new one replaces an older one of the same label.
    """

    def __init__(self, directory: Path, spool: Spool) -> None:
        self._directory = directory
        self._spool = spool
        self._lock = threading.Lock()
        self._parameters: set[str] = set()
        self._metrics: set[str] = set()
        self._warned = False
        self._writing = threading.Lock()
        self._written = 0.0
        self._cost = 0.0

    def add(self, row: Row) -> None:
        """Add the row of a run, or replace an older one."""
        with self._lock:
            self._parameters.update(row.parameters)
            self._metrics.update(row.metrics)
            self._warned = self._warned or bool(row.warnings)
        self._spool.put_row(row.label, natural_sort_key(row.label), json_text(vars(row)).encode())

    def add_earlier(self, *known: Literal["rows"]) -> None:
        """Add the runs in the directory, except this command's points (with "rows": those with a row)."""
        with os.scandir(self._directory) as entries:
            names = (entry.name for entry in entries if entry.is_dir())
            for name in self._spool.missing(names, "points", *known):
                if re.search(r"\.old-\d+$", name):
                    continue
                workspace = Workspace(self._directory / name)
                try:
                    record = RunRecord.load(workspace)
                except DamagedRecord as error:
                    self.add(Row(name, "damaged", error=str(error)))
                    continue
                if record is not None:
                    self.add(row_of(name, record, recorded_state(workspace, record)))

    def rows(self) -> Iterator[Row]:
        """The rows, sorted by label."""
        return (Row(**read_json(data)) for data in self._spool.rows())

    def refresh(self) -> None:
        """Write the table unless it is recent: the longer that takes, the less often."""
        age = time.monotonic() - self._written
        if age > max(2.0, 100 * self._cost) and self._writing.acquire(blocking=False):
            try:
                self._write()
            except OSError as error:
                logger.warning("cannot write {}: {}", self._directory / RESULTS, error.strerror)
            finally:
                self._writing.release()

    def complete(self) -> None:
        """Write the table, including what other drivers have done by now; SweepError if that fails."""
        try:
            # With the lock, the last driver to write has seen the records of all others.
            with locked(self._directory), self._writing:
                remove_partials(str(self._directory), exclusive=False)
                self.add_earlier("rows")
                self._write()
        except OSError as error:
            raise SweepError(
                f"cannot write {self._directory / RESULTS}: {error.strerror}. The runs and their records "
                "are complete; rerun the command to write the table"
            ) from error

    def _write(self) -> None:
        begin = self._written = time.monotonic()
        stream_atomic(self._directory / RESULTS, self._write_csv)
        self._written = time.monotonic()
        self._cost = self._written - begin

    def _write_csv(self, file: IO[str]) -> None:
        with self._lock:
            parameters, metrics = sorted(self._parameters), sorted(self._metrics, key=natural_sort_key)
            fixed = (*_FIXED, _WARNINGS) if self._warned else _FIXED
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["label", *map(_cell, [*parameters, *fixed, *metrics])])
        for row in self.rows():
            values = [*map(row.parameters.get, parameters), *(getattr(row, name) for name in fixed)]
            table.writerow([*map(_cell, [row.label, *values, *map(row.metrics.get, metrics)])])


def natural_sort_key(label: str) -> str:
    """A text that sorts like the label, except that numbers in it are compared by value.

    >>> sorted(["x=10", "x=2"], key=natural_sort_key)
    ['x=2', 'x=10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    # The bits of positive floating-point numbers (IEEE 754) are in the order of the numbers.
    parts[1::2] = [struct.pack(">d", float(number)).hex() for number in parts[1::2]]
    return "\0".join(parts)


def _cell(value: Json) -> str | int | float:
    if isinstance(value, bool | dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        value = json.dumps(value)  # as the record has it
    if isinstance(value, str):
        return _FORMULA.sub(r"\1'", value)  # spreadsheets show it as a text and do not compute it
    return "" if value is None else value
