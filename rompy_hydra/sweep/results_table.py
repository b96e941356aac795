"""One table of a sweep: `results.csv`, made from the records."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from loguru import logger

from rompy_hydra.core.status import recorded_state
from rompy_hydra.errors import DamagedRecord, SweepError
from rompy_hydra.jsonable import Json, json_text, read_json
from rompy_hydra.sweep.label import is_named
from rompy_hydra.sweep.sweep_file import locked
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.atomic import write_atomic
from rompy_hydra.workspace.record import PENDING, RunRecord

RESULTS = "results.csv"
_FIXED = ("state", "attempts", "seconds", "cpu_seconds", "peak_memory_bytes", "exit_code")


@dataclass(frozen=True)
class Row:
    """One run of a sweep, as the table has it. Times in seconds."""

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


def row_of(label: str, record: RunRecord, state: str | None = None) -> Row:
    """The row of a run from its record; `state` where the record cannot know it (lost)."""
    resources = record.resources
    seconds = [stage.seconds for stage in record.stages.values() if stage.seconds is not None]
    run = record.stages["run"]
    # The rest alone would make the model look quick.
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
    )


class Results:
    """The rows of a sweep. They wait in a temporary file, so that memory does not grow with them.

    The newest row of a label counts. Rows may come from several threads.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Without a buffer, so that a full disk is told by the write that meets it.
        self._spool: IO[bytes] = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115
        self._end = 0
        # Where the newest row of each label lies: its first byte, and how many there are.
        self._places: dict[str, tuple[int, int]] = {}
        # Labels whose rows are of other commands, and may change while this one works.
        self._of_others: set[str] = set()
        self._parameters: dict[str, None] = {}
        self._metrics: dict[str, None] = {}
        self._lock = threading.Lock()
        self._written = 0.0
        self._cost = 0.0

    def add(self, row: Row, *, of_others: bool = False) -> None:
        with self._lock:
            (self._of_others.add if of_others else self._of_others.discard)(row.label)
            self._parameters.update(dict.fromkeys(row.parameters))
            self._metrics.update(dict.fromkeys(row.metrics))
            data = json_text(vars(row)).encode()
            self._keep(data)
            self._places[row.label] = (self._end, len(data))
            self._end += len(data)

    def _keep(self, data: bytes) -> None:
        """Put a row at the end of the spool; into memory from then on where there is no room on disk."""
        self._spool.seek(self._end)
        try:
            if self._spool.write(data) == len(data):
                return
        except OSError as error:
            logger.debug("rows are kept in memory: {}", error.strerror)
        self._spool.seek(0)
        kept = io.BytesIO(self._spool.read(self._end))
        self.close()
        kept.seek(self._end)
        kept.write(data)
        self._spool = kept

    def close(self) -> None:
        # What a temporary file cannot write any more is not missed.
        with contextlib.suppress(OSError):
            self._spool.close()

    def add_earlier(self, known: Container[str] = ()) -> None:
        """Add the runs of other commands: those in the directory that are neither here nor `known`."""
        own = self._places.keys() - self._of_others
        for row in earlier_rows(self._directory, [own, known]):
            self.add(row, of_others=True)

    def rows(self) -> Iterator[Row]:
        """The rows, sorted by label."""
        for label in sorted(self._places, key=natural_sort_key):
            begin, length = self._places[label]
            self._spool.seek(begin)
            yield Row(**read_json(self._spool.read(length)))

    def refresh(self) -> None:
        """Write the table if the last time is long enough ago, measured by what writing it costs."""
        if time.monotonic() - self._written > max(2.0, 100 * self._cost):
            try:
                self._write()
            except OSError as error:
                logger.warning("cannot write {}: {}", self._directory / RESULTS, error.strerror)

    def complete(self) -> None:
        """Write the table with what other drivers have done until now; SweepError if that fails."""
        try:
            # Whoever writes last has seen the records of all others.
            with locked(self._directory):
                self.add_earlier()
                self._write()
        except OSError as error:
            raise SweepError(
                f"cannot write {self._directory / RESULTS}: {error.strerror}. The runs have their "
                "records; the same command again makes the table of them"
            ) from error

    def _write(self) -> None:
        begin = self._written = time.monotonic()
        with self._lock:
            parameters, metrics = sorted(self._parameters), sorted(self._metrics, key=natural_sort_key)
            text = io.StringIO(newline="")
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["label", *parameters, *_FIXED, *metrics])
            for row in self.rows():
                fixed = (_cell(cast("Json", getattr(row, name))) for name in _FIXED)
                values = (_cell(row.parameters.get(name)) for name in parameters)
                numbers = (_cell(row.metrics.get(name)) for name in metrics)
                table.writerow([row.label, *values, *fixed, *numbers])
        write_atomic(self._directory / RESULTS, text.getvalue())
        self._written = time.monotonic()
        self._cost = self._written - begin


def natural_sort_key(label: str) -> list[tuple[int, float, str]]:
    """A sort key in which `x=2` comes before `x=10`.

    >>> sorted(["x=10", "x=2"], key=natural)
    ['x=2', 'x=10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)]


def _cell(value: Json) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)  # as the record has it
    return value


def earlier_rows(directory: Path, known: Sequence[Container[str]]) -> Iterator[Row]:
    """Rows of runs in the sweep's directory that are nowhere `known`: of other commands."""
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    except FileNotFoundError:
        return
    for name in names:
        if any(name in each for each in known) or re.search(r"\.old-\d+$", name):
            continue
        workspace = Workspace(directory / name)
        try:
            record = RunRecord.load(workspace)
        except DamagedRecord as error:
            yield Row(name, "damaged", error=str(error))
            continue
        if record is not None:
            yield row_of(name, record, recorded_state(workspace, record))
