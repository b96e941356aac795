"""The points and rows of a sweep in a temporary database, so that memory does not grow with the grid."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from loguru import logger

from rompy_hydra.errors import SweepError
from rompy_hydra.jsonable import json_text, read_json
from rompy_hydra.workspace.lease import Snapshot

# Without spilling, only a COMMIT writes to the file, and the journal in memory undoes one that fails.
_PRAGMAS = ("synchronous = OFF", "journal_mode = MEMORY", "cache_size = -2000", "cache_spill = OFF")
# An inode may need all 64 bits, one more than the integers of SQLite have, and is stored as text.
_TABLES = (
    "CREATE TABLE points (position INTEGER PRIMARY KEY, label BLOB UNIQUE, decision TEXT, directory TEXT, "
    "number INTEGER, overrides BLOB, payload BLOB)",
    "CREATE TABLE rows (sort_key BLOB, label BLOB UNIQUE, data BLOB)",
    "CREATE INDEX rows_in_order ON rows (sort_key, label)",
)
_PUT_ROW = "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (label) DO UPDATE SET data = excluded.data"
_NEXT_ROWS = "SELECT * FROM rows WHERE (sort_key, label) > (?, ?) ORDER BY sort_key, label LIMIT ?"
# Points or rows that are read in one query, and writes between two commits: a COMMIT that fails undoes
# the writes, and they are repeated in memory.
_BATCH = 100


class StoredPoint(NamedTuple):
    """A point of `Spool.points`; `index` counts from 0 in the order of adding."""

    index: int  # type: ignore[assignment]  # hides the method of tuples
    label: str
    decision: str
    seen: Snapshot
    overrides: list[str]
    payload: bytes


class Spool:
    """Points and table rows of a sweep, in a temporary file that disappears with this process.

    Several threads may use it at once, even while one of them iterates. If the temporary file cannot
    grow, such as on a full disk, everything moves to memory; SweepError if that fails as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._in_memory = False
        self._uncommitted: list[tuple[str, tuple[object, ...]]] = []
        # A file without a name. SQLite's own temporary databases keep what is committed in their cache,
        # and need room on the disk to undo a transaction.
        with tempfile.NamedTemporaryFile() as file:
            self._database = _connect(f"file:{quote(os.fsencode(file.name))}?nolock=1")
        for pragma in _PRAGMAS:
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        self._database.execute("BEGIN")
        for table in _TABLES:
            self._write(table)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def add_point(
        self, label: str, decision: str, seen: Snapshot, overrides: Sequence[str], payload: bytes
    ) -> bool:
        """Append a point; False, and nothing is added, if there is one with this label.

        `seen` is the snapshot of its run directory.
        """
        text = json_text(list(overrides)).encode()
        with self._lock:
            values = len(self), _bytes(label), decision, str(seen.directory), seen.number, text, payload
            added = self._write("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?, ?)", *values)
            self._counts[decision] += added
        return added == 1

    def mark(self, index: int, decision: str) -> None:
        [(before,)] = self._read("SELECT decision FROM points WHERE position = ?", index)
        with self._lock:
            self._write("UPDATE points SET decision = ? WHERE position = ?", decision, index)
            self._counts[before] -= 1
            self._counts[decision] += 1

    def count(self, decision: str) -> int:
        return self._counts[decision]

    def __len__(self) -> int:
        return self._counts.total()

    def missing(self, labels: Iterable[str], *tables: Literal["points", "rows"]) -> Iterator[str]:
        """Those of the labels for which one of the tables has no entry."""
        rest = iter(labels)
        while batch := list(islice(rest, _BATCH)):
            names = [_bytes(label) for label in batch]
            found = set(names)
            for table in tables:
                query = f"SELECT label FROM {table} WHERE label IN ({', '.join('?' * len(names))})"
                found &= {label for (label,) in self._read(query, *names)}
            yield from (label for label, name in zip(batch, names, strict=True) if name not in found)

    def points(self, *decisions: str) -> Iterator[StoredPoint]:
        """The points with one of these decisions, or all, in the order of adding."""
        condition = f"AND decision IN ({', '.join('?' * len(decisions))})" if decisions else ""
        query = f"SELECT * FROM points WHERE position BETWEEN ? AND ? {condition} ORDER BY position"
        begin = 0
        while begin < (end := min(begin + _BATCH, len(self))):
            for index, label, decision, directory, number, text, payload in self._read(
                query, begin, end - 1, *decisions
            ):
                label = label.decode(errors="surrogatepass")
                seen = Snapshot(int(directory), number)
                yield StoredPoint(index, label, decision, seen, read_json(text), payload)
            begin = end

    def put_row(self, label: str, sort_key: str, data: bytes) -> None:
        """Add a row. An older one of this label keeps its place, and gets the new data."""
        with self._lock:
            self._write(_PUT_ROW, _bytes(sort_key), _bytes(label), data)

    def rows(self) -> Iterator[bytes]:
        """The data of the rows, sorted by sort key, and by label where that is equal."""
        last = b"", b""
        while batch := self._read(_NEXT_ROWS, *last, _BATCH):
            yield from (data for _, _, data in batch)
            last = batch[-1][:2]

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _write(self, statement: str, *values: object) -> int:
        """Returns the number of changed rows. The caller holds the lock."""
        changed = self._database.execute(statement, values).rowcount
        self._uncommitted.append((statement, values))
        if len(self._uncommitted) >= _BATCH:
            try:
                self._database.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._move_to_memory(error)
            self._uncommitted.clear()
            self._database.execute("BEGIN")
        return changed

    def _move_to_memory(self, cause: sqlite3.Error) -> None:
        if self._in_memory:
            raise cause
        logger.debug("the points and rows of the sweep are kept in memory from now on: {}", cause)
        memory = _connect(":memory:")
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self._database.backup(memory)
            for statement, values in self._uncommitted:
                memory.execute(statement, values)
        except sqlite3.Error as error:
            memory.close()
            raise SweepError(
                f"cannot keep the points of the sweep in a temporary file: {error}. Free space in the "
                "temporary directory, or set TMPDIR to another one, and rerun the command"
            ) from error
        self._database.close()
        self._database, self._in_memory = memory, True


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _bytes(text: str) -> bytes:
    # Labels may be names of directories, which need not be valid text.
    return text.encode(errors="surrogatepass")
