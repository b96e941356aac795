"""`sweep.json`: the points of a sweep, the commands that asked for them, and their versions."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Any, cast

from rompy_hydra.errors import ConfigError, SweepError
from rompy_hydra.jsonable import Json, read_json
from rompy_hydra.redaction import redacted_overrides
from rompy_hydra.regular_files import open_chosen, read_chosen
from rompy_hydra.sweep.label import is_processing
from rompy_hydra.sweep.points import Naming
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.workspace.atomic import stream_atomic
from rompy_hydra.workspace.record import now
from rompy_hydra.workspace.workspace import place_problem

SWEEP = "sweep.json"
SCHEMA_VERSION = 1
# Bytes of a file that was reformatted, which must be read as a whole.
_LARGEST = 1 << 30
# The lines before and after the points, in a file as it is written here: with a line for each point.
_BEFORE, _AFTER = '"points": {\n', "}\n}\n"


def check_directory(directory: Path) -> None:
    """ConfigError if a sweep's directory neither exists nor can be created, or is not writable."""
    if problem := place_problem(directory):
        raise ConfigError(f"sweep.directory: {problem} with sweep.directory=DIR")


def make_directory(directory: Path) -> None:
    """Create a sweep's directory; SweepError if that fails."""
    with _reported(directory, "create"):
        directory.mkdir(parents=True, exist_ok=True)


def read_naming(directory: Path) -> Naming | None:
    """How a sweep names its points, which `write_sweep_file` recorded; None for a new sweep.

    The points are not read. SweepError if the file is damaged.
    """
    head = _load(directory / SWEEP)
    return None if head is None else _naming(head)


def _naming(head: Mapping[str, Json]) -> Naming:
    # Version 0.1.0 recorded no constants, and named all overrides.
    constants = cast("dict[str, str]", head.get("constants", {}))
    own = {key: text for key, text in constants.items() if not is_processing(key)}
    return Naming(own, with_processors="constants" not in head)


def write_sweep_file(
    directory: Path,
    name: str,
    command: Mapping[str, Json],
    points: Callable[[], Iterable[tuple[str, list[str]]]],
    naming: Naming | None = None,
) -> None:
    """Add a command and its points (labels and overrides) to `sweep.json`; earlier ones stay.

    `points` yields them, each label once.

    `naming` is how the labels were made. A new file records it, and it never changes. SweepError if the
    file has another one by now, or is damaged.
    """
    path = directory / SWEEP

    def head(earlier: dict[str, Json] | None) -> dict[str, Json]:
        if earlier is None:
            earlier = {"schema_version": SCHEMA_VERSION, "name": name, "created": now()}
            if naming is not None:
                earlier["constants"] = dict(naming.constants)
        elif naming is not None and _naming(earlier) != naming:
            raise SweepError(
                f"another command has created {path} meanwhile, with other constants. Rerun the command: "
                "it then names its runs as that sweep does"
            )
        commands = cast("list[Json]", earlier.pop("commands", []))
        return earlier | {"updated": now(), "commands": [*commands, dict(command)]}

    def new() -> Iterator[tuple[str, str]]:
        return ((label, _line(label, redacted_overrides(overrides))) for label, overrides in points())

    with locked(directory):
        earlier = _load(path)
        lines = (line for _, line in new())
        with _reported(path, "write"), contextlib.suppress(_OtherPoints):
            _replace(path, head(earlier), lines if earlier is None else _as_before(path, lines))
            return
        with contextlib.closing(Spool()) as merged:
            numbers = count()

            def put(label: str, line: str) -> None:
                # A point that the file already has keeps its place, and gets the new overrides.
                merged.put_row(label, f"{next(numbers):012}", line.encode())

            earlier = _load(path, lambda label, overrides: put(label, _line(label, overrides)))
            for label, line in new():
                put(label, line)
            with _reported(path, "write"):
                _replace(path, head(earlier), (line.decode() for line in merged.rows()))


def _line(label: str, overrides: Json) -> str:
    return f"{json.dumps(label)}: {json.dumps(overrides)}"


def _replace(path: Path, head: Mapping[str, Json], lines: Iterable[str]) -> None:
    def text() -> Iterator[str]:
        yield "{\n"
        yield from (f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
        yield _BEFORE
        for number, line in enumerate(lines):
            yield (",\n  " if number else "  ") + line
        yield f"\n{_AFTER}"

    stream_atomic(path, lambda file: file.writelines(text()))


class _OtherPoints(Exception):
    """A file does not have the same points as a command."""


def _as_before(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """The lines, if the file has the same ones in this order, as for a repeated command; else _OtherPoints.

    Comparing them is several times faster than merging.
    """
    with open(open_chosen(path), encoding="utf-8", newline="\n") as file:
        for before in file:
            if before == _BEFORE:
                break
        for line in lines:
            if file.readline().strip().removesuffix(",") != line:
                raise _OtherPoints
            yield line
        if file.read(len(_AFTER) + 1) != _AFTER:
            raise _OtherPoints


def _load(path: Path, put: Callable[[str, Json], None] | None = None) -> dict[str, Json] | None:
    """What the file contains besides its points, which `put` gets one by one; None without a file."""
    try:
        with _reported(path, "read"), contextlib.suppress(FileNotFoundError):
            try:
                with open(open_chosen(path), encoding="utf-8", newline="\n") as file:
                    before = takewhile(lambda line: line != _BEFORE, file)
                    head = _parsed("".join([*before, _BEFORE, _AFTER]))
                    if put is not None:
                        for label, overrides in _points(file):
                            put(label, overrides)
            except ValueError:  # somebody may have reformatted the file
                head = _parsed(read_chosen(path, most=_LARGEST))
                if put is not None:
                    for label, overrides in head["points"].items():
                        put(label, overrides)
            del head["points"]
            return head
    except ValueError as error:
        raise SweepError(
            f"{path} is damaged ({error}); it was left unchanged. Move it aside and rerun the commands of "
            "this sweep in their order: they write a new one, and runs of the same names are not repeated"
        ) from error
    return None


def _points(file: IO[str]) -> Iterator[tuple[str, Json]]:
    """The points in the rest of a file; ValueError if it is not formatted as it is written here."""
    more = True
    while more:
        line = file.readline()
        more = line.endswith(",\n")
        yield from read_json(f"{{{line.strip().removesuffix(',')}}}").items()
    if file.read(len(_AFTER) + 1) != _AFTER:
        raise ValueError("the end is missing")


def _parsed(text: str | bytes) -> dict[str, Any]:
    data = read_json(text)
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise ValueError("not a sweep file of this version")
    if not isinstance(data.get("points"), dict) or not isinstance(data.get("commands"), list):
        raise ValueError("no points or no commands")
    constants = data.get("constants", {})
    if not isinstance(constants, dict) or not all(isinstance(text, str) for text in constants.values()):
        raise ValueError("constants that are not texts by key")
    return data


@contextlib.contextmanager
def _reported(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a SweepError."""
    try:
        yield
    except OSError as error:
        raise SweepError(
            f"cannot {what} {path}: {error.strerror}. Free space or fix the permissions, or choose another "
            "place with sweep.directory=DIR"
        ) from error


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Exclude other drivers of this sweep from its common files; the lock ends with this process.

    Without locks of the file system it does nothing: files are replaced as a whole in any case.
    """
    path = directory / ".sweep.lock"
    with contextlib.ExitStack() as stack:
        with _reported(path, "open"):
            # NFS locks only files that are open for writing.
            descriptor = open_chosen(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            file = stack.enter_context(open(descriptor, "ab"))
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
