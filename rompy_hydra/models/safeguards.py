"""What is never right after a run, checked where a model declares no success checks."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from rompy_hydra.errors import PostprocessError
from rompy_hydra.models.checks import EXTRA, Check, Unreadable
from rompy_hydra.models.contents import (
    is_netcdf,
    is_table,
    open_datasets,
    read_table,
    variables_of,
)
from rompy_hydra.models.logs import log_lines
from rompy_hydra.models.plausibility import OfFiles
from rompy_hydra.models.success import Never, can_read_netcdf
from rompy_hydra.reading.tables import is_too_large, number_of
from rompy_hydra.regular_files import open_inside
from rompy_hydra.workspace import LOG, Workspace
from rompy_hydra.workspace.script import Command

ERROR_FILES = "Errfile*"
# In capitals, as programs in Fortran write it: `abort = false` is a setting.
_ERROR_LINE = re.compile(
    r"\b(?:MPI_)?ABORT\b(?!\s*[=_])|(?i:(?<!\bno )(?<!\b0 )severe error(?!s?\s*[:=]\s*0\b))"
)
# Logs besides the run's own, by the names that models give them.
_LOGS = ("PRINT", "PRINT-*", "*.log", "fatal.error", "mirror.out")
# How classic netCDF files begin, and those in the format of HDF5.
_MAGIC = (b"CDF", b"\x89HDF")
# Commands that write nothing, whatever they are for.
_SILENT = {"true", ":", "sleep", "test", "["}


def safeguard(
    workspace: Workspace,
    outputs: Sequence[str] | None,
    commands: Sequence[Command],
    allow: Collection[Never] = (),
    exit_code: int = 0,
) -> Iterator[Check]:
    """What is never right and found nevertheless, as failed checks; each with how to allow it.

    `outputs` are the files that the model wrote; None if they are elsewhere. After a failure, only
    the files are searched that explain it.
    """
    files = outputs or ()
    searches: dict[Never, Callable[[], str]] = {
        "error_files": lambda: _error_file(files),
        "error_lines": lambda: _error_line(workspace, files),
        "damaged": lambda: _damaged(workspace, files),
        "all_missing": lambda: _only_missing(workspace, files),
        "no_output": lambda: _no_output(workspace, outputs, commands),
    }
    for kind, search in searches.items():
        searched = kind not in allow and (exit_code == 0 or kind == "error_files")
        # Only what is wrong: a record without declared checks stays short.
        if searched and (wrong := search()):
            hint = f" (if that is right: model.success.allow=[{kind}])"
            target = ERROR_FILES if kind == "error_files" else ""
            yield Check(kind, target, False, wrong + hint)
            if kind == "damaged":
                return
    unread = next((name for name in files if is_netcdf(name)), None)
    if unread and exit_code == 0 and not {"damaged", "all_missing"} <= set(allow) and not can_read_netcdf():
        message = f"{unread} was not searched for missing values, which needs xarray and netCDF4: {EXTRA}"
        yield Check("all_missing", unread, True, message, warning=True)


def _error_file(outputs: Sequence[str]) -> str:
    found = (name for name in outputs if fnmatchcase(name.rpartition("/")[2], ERROR_FILES))
    return next((f"the model left {name}" for name in found), "")


def _error_line(workspace: Workspace, outputs: Sequence[str]) -> str:
    logs = [n for n in outputs if any(fnmatchcase(n.rpartition("/")[2], pattern) for pattern in _LOGS)]
    for name in (LOG, *logs):
        try:
            if not os.lstat(workspace.at(name)).st_size:
                continue  # as of most models that are run by the thousand
            for line in log_lines(workspace, [name]):
                if _ERROR_LINE.search(line):
                    return f"{name} contains: {line.strip()[:500]}"
        except OSError:
            continue  # a link or a pipe, which says nothing
    return ""


def _damaged(workspace: Workspace, outputs: Sequence[str]) -> str:
    """The first netCDF output that begins as one and cannot be read, or table with binary data."""
    for name in outputs:
        try:
            if is_netcdf(name) and can_read_netcdf() and _start(workspace, name).startswith(_MAGIC):
                with open_datasets(workspace, name):
                    pass
            elif is_table(name) and _is_binary(workspace, name):
                return f"{name} is no table: it contains binary data"
        except PostprocessError as error:
            return str(error)
        except OSError:
            continue  # a link out of the run directory, or a pipe: its content is nobody's result
    return ""


def _start(workspace: Workspace, name: str) -> bytes:
    with open_inside(workspace.root, name) as file:
        return file.read(65536)


def _is_binary(workspace: Workspace, name: str) -> bool:
    start = _start(workspace, name)
    # UTF-16 has zeros as well, after its mark.
    return b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff"))


def _only_missing(workspace: Workspace, outputs: Sequence[str]) -> str:
    seen: list[str] = []
    for name in outputs:
        if is_table(name) or (is_netcdf(name) and can_read_netcdf()):
            number = _has_number(workspace, name)
            if number:
                return ""
            seen += [] if number is None else [name]
    if not seen:
        return ""
    names = ", ".join(seen[:3])
    return f"every value in {names} is missing, or there is none (rows with **** count as missing)"


def _has_number(workspace: Workspace, name: str) -> bool | None:
    """Whether a netCDF or CSV file has a finite number in its results; None if it has no results.

    Coordinates and times are no results; in a netCDF file with time steps, neither is what does not depend
    on time. Reading ends with the first number. None as well if the file cannot be read.
    """
    try:
        if os.stat(workspace.at(name)).st_size == 0:
            return False
        read = _netcdf_has_number if is_netcdf(name) else _table_has_number
        return read(workspace, name)
    except (OSError, csv.Error, PostprocessError):
        return None


def _netcdf_has_number(workspace: Workspace, name: str) -> bool | None:
    import numpy as np

    from rompy_hydra.models.times import is_coordinate, time_variable
    from rompy_hydra.reading.netcdf import blocks, read

    with open_datasets(workspace, name) as groups:
        fields = {key: v for key, v in variables_of(groups).items() if v.dtype.kind == "f"}
        with contextlib.suppress(Unreadable):
            time, steps = time_variable(groups, None)
            moving = {key: v for key, v in fields.items() if steps.dims[0] in v.dims and key != time}
            fields = moving or fields
        results = [v for key, v in fields.items() if key not in v.dims and not is_coordinate(key)]
        for variable in results:
            if all(variable.shape) and any(
                np.isfinite(read(variable[at])).any() for at in blocks(variable)
            ):
                return True
        return False if results else None


def _table_has_number(workspace: Workspace, name: str) -> bool | None:
    """None for a table of text, and for what is no table; False if there is nothing in it."""
    from rompy_hydra.models.times import is_coordinate

    if _is_binary(workspace, name):
        return None

    with read_table(workspace, name, OfFiles(file=name)) as (names, rows):
        columns = [index for index, each in enumerate(names) if not is_coordinate(each)]
        # A single word is no header; a table of coordinates only has no results to miss.
        missing, text = False, len(names) == 1
        for row in rows:
            text = text or not columns
            cells = [row[index].strip() for index in columns if index < len(row)]
            # A program does not write such a row for a result, whatever else stands in it.
            too_large = any(map(is_too_large, cells))
            if not too_large and any(math.isfinite(number_of(cell)) for cell in cells):
                return True
            lost = [cell for cell in cells if cell.lower().lstrip("+-") in ("nan", "inf", "infinity")]
            missing = missing or too_large or bool(lost)
            text = text or len(lost) < sum(map(bool, cells))
        return None if text and not missing else False


def _no_output(workspace: Workspace, outputs: Sequence[str] | None, commands: Sequence[Command]) -> str:
    # Without an exit code of `run.sh`, a plugin ran the model, and said that it succeeded.
    if outputs is None or outputs or all(map(_is_silent, commands)) or workspace.exit_code() is None:
        return ""
    try:
        is_quiet = os.stat(workspace.at(LOG)).st_size == 0
    except FileNotFoundError:
        is_quiet = True
    return "the model wrote no file, and nothing to run.log" if is_quiet else ""


def _is_silent(command: Command) -> bool:
    words = command.split() if isinstance(command, str) else command
    operators = set("<>|&;$`(") if isinstance(command, str) else set()
    return bool(words) and words[0] in _SILENT and not operators & set("".join(words))
