"""`sweep.json`: the points of a sweep, the commands that asked for them, and their versions."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from rompy_hydra.errors import ConfigError, SweepError
from rompy_hydra.jsonable import Json
from rompy_hydra.redaction import redacted_override
from rompy_hydra.workspace.atomic import write_atomic
from rompy_hydra.workspace.record import now

SWEEP = "sweep.json"
SCHEMA_VERSION = 1
_LOCK = ".sweep.lock"


def check_directory(directory: Path) -> None:
    """ConfigError if a sweep's directory is not there and cannot be made, or cannot be written to."""
    there = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(
            f"sweep.directory: {there} is no directory. Choose another with sweep.directory=DIR"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"sweep.directory: {there} cannot be written to. Mend its permissions, or choose another place "
            "with sweep.directory=DIR"
        )


def make_directory(directory: Path) -> None:
    """Make a sweep's directory; SweepError if it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(directory, "make the sweep's directory", error) from error


def write_sweep_file(
    directory: Path, name: str, command: Mapping[str, Json], points: Mapping[str, list[str]]
) -> None:
    """Add a command and its points to `sweep.json`; earlier ones stay. SweepError if it is damaged."""
    path = directory / SWEEP
    with locked(directory):
        data = _read(path) or {"schema_version": SCHEMA_VERSION, "name": name, "created": now()}
        data["updated"] = now()
        data["commands"] = [*cast("list[Json]", data.get("commands", [])), dict(command)]
        old = cast("dict[str, Json]", data.pop("points", {}))
        data["points"] = old | {
            label: [redacted_override(line) for line in overrides] for label, overrides in points.items()
        }
        try:
            write_atomic(path, _text(data))
        except OSError as error:
            raise _refused(path, "write", error) from error


def _read(path: Path) -> dict[str, Json]:
    try:
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError("not a sweep file of this version")
        if not isinstance(data.get("points"), dict) or not isinstance(data.get("commands"), list):
            raise ValueError("no points or no commands")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise SweepError(
            f"{path} is damaged ({error}); it was left as it is. Move it aside and run the same "
            "commands again: it is made anew, and what is done is not done again"
        ) from error
    except OSError as error:
        raise _refused(path, "read", error) from error
    return data


def _text(data: Mapping[str, Json]) -> str:
    """JSON with a line a point."""
    lines = [f'"{key}": {json.dumps(value)}' for key, value in data.items() if key != "points"]
    points = cast("dict[str, Json]", data["points"])
    rows = ",\n".join(f"  {json.dumps(label)}: {json.dumps(value)}" for label, value in points.items())
    return "{\n" + ",\n".join([*lines, f'"points": {{\n{rows}\n}}']) + "\n}\n"


def _refused(path: Path, what: str, error: OSError) -> SweepError:
    return SweepError(
        f"cannot {what} {path}: {error.strerror}. Free space or mend the permissions, or choose another "
        "place with sweep.directory=DIR"
    )


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other drivers of this sweep away from its common files; the lock dies with its owner.

    Where the file system knows no such locks it is done without: the files are whole in any case.
    """
    # A file, and open for writing: of anything else NFS makes no lock.
    path = directory / _LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _refused(path, "open", error) from error
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
