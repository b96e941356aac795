"""Reading what plausibility checks need from netCDF files and tables."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.models.plausibility import Count, LastTime, Mask, OfFiles, OfVariable
from rompy_hydra.reading.tables import column_of, number_of, open_table
from rompy_hydra.regular_files import open_inside, path_inside
from rompy_hydra.time_range import parse_time
from rompy_hydra.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.reading.netcdf import Floats

_NETCDF = {".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".sww"}
_CSV = {".csv", ".tsv"}
# The units of times without a reference date, by how their names begin.
_NAMED_UNITS = {"day": 86400.0, "hour": 3600.0, "min": 60.0, "sec": 1.0}
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
EXTRA = "pip install 'rompy-hydra[analysis]'"
_TIMES = ("time", "times", "globaltime", "ocean_time", "date", "datetime", "t")
_COORDINATES = ("x", "y", "z", "lon", "lat", "longitude", "latitude", "depth")

Time: TypeAlias = datetime | float


class Unreadable(Exception):
    """A file or variable that a check needs cannot be read; the message says why."""


@dataclass
class Values:
    """Statistics of a variable: all cells, those that are not missing, and their range."""

    cells: int = 0
    valid: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, cells: int, valid: int, low: float, high: float) -> None:
        """Add the statistics of further values."""
        self.cells, self.valid = self.cells + cells, self.valid + valid
        self.low, self.high = min(self.low, low), max(self.high, high)


def is_netcdf(name: str) -> bool:
    """Whether a file or glob is netCDF by its suffix."""
    return PurePosixPath(name).suffix.lower() in _NETCDF


def is_table(name: str) -> bool:
    """Whether a file is delimited text by its suffix."""
    return PurePosixPath(name).suffix.lower() in _CSV


def values_of(workspace: Workspace, names: Sequence[str], check: OfVariable) -> Values:
    """The statistics of one variable over files; Unreadable if one of them lacks it."""
    found = Values()
    for name in names:
        with _explained(name):
            read = _netcdf_values if is_netcdf(name) else _table_values
            for part in read(workspace, name, check):
                found.add(*part)
    return found


def last_time(workspace: Workspace, names: Sequence[str], check: LastTime, start: datetime | None) -> Time:
    """The last time in files: a date, or a number if `check.reaches` is one. Else Unreadable."""
    found: list[Time] = []
    for name in names:
        with _explained(name):
            read = _netcdf_times if is_netcdf(name) else _table_times
            found += read(workspace, name, check, start)
    if not found:
        raise Unreadable("has no time")
    return max(found)


def count_of(workspace: Workspace, names: Sequence[str], check: Count) -> int:
    """The time steps or lines in files; Unreadable if one has not got the dimension."""
    count = 0
    for name in names:
        with _explained(name):
            if not is_netcdf(name):
                with _table(workspace, name, check) as (_, rows):
                    count += sum(1 for _ in rows)
                continue
            with _datasets(workspace, name) as groups:
                dimension = check.dimension or _time_variable(groups, None)[1].dims[0]
                sizes = {str(d): size for each in groups.values() for d, size in each.sizes.items()}
                if dimension not in sizes:
                    raise Unreadable(f"has no dimension '{dimension}'. {closest(str(dimension), sizes)}")
                count += sizes[str(dimension)]
    return count


def has_number(workspace: Workspace, name: str) -> bool | None:
    """Whether a netCDF or CSV file has a finite number in its results; None if it has no results.

    Coordinates and times are no results; in a netCDF file with time steps, neither is what does not depend
    on time. Reading ends with the first number. None as well if the file cannot be read.
    """
    try:
        read = _netcdf_has_number if is_netcdf(name) else _table_has_number
        return read(workspace, name)
    except (OSError, csv.Error, PostprocessError, ImportError):
        return None


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """A context in which each error becomes Unreadable with the name of the file."""
    try:
        yield
    except Unreadable as error:
        raise Unreadable(f"{name} {error}".rstrip()) from error
    except OSError as error:
        raise Unreadable(f"{name} {error.strerror or error}") from error
    except csv.Error as error:
        raise Unreadable(f"{name} is not a table: {error}") from error
    except PostprocessError as error:
        raise Unreadable(str(error)) from error
    except ImportError as error:
        raise Unreadable(f"{name} needs xarray and netCDF4 ({error}): {EXTRA}") from error


@contextlib.contextmanager
def _datasets(workspace: Workspace, name: str) -> Iterator[Mapping[str, xr.Dataset]]:
    from rompy_hydra.reading.netcdf import open_groups

    with open_groups(Path(path_inside(workspace.root, name))) as groups:
        yield groups


def _variables(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Variable]:
    """The variables of all groups; those of a group have its path before their name: `group.variable`."""
    return {
        f"{group.replace('/', '.')}.{name}" if group else str(name): variable
        for group, dataset in groups.items()
        for name, variable in dataset.variables.items()
    }


def _netcdf_values(
    workspace: Workspace, name: str, check: OfVariable
) -> Iterator[tuple[int, int, float, float]]:
    from rompy_hydra.reading.netcdf import blocks, is_numeric, read

    with _datasets(workspace, name) as groups:
        known = _variables(groups)
        variable = _named(known, check.variable)
        if 0 in variable.shape:
            return
        if not is_numeric(variable):
            raise Unreadable(f"has no numbers in '{check.variable}'")
        for at in blocks(variable):
            values = read(variable[at])
            for missing in check.missing:
                values[values == missing] = math.nan
            if check.mask is not None:
                slices = dict(zip(map(str, variable.dims), at, strict=True))
                values = values[_applies(_named(known, check.mask.variable), check.mask, variable, slices)]
            yield _summary(values)


def _applies(variable: xr.Variable, mask: Mask, of: xr.Variable, slices: Mapping[str, slice]) -> Floats:
    """Where a mask applies to a block of the variable `of`, as booleans of the block's shape."""
    import numpy as np

    from rompy_hydra.reading.netcdf import read

    if foreign := [str(dim) for dim in variable.dims if dim not in of.dims]:
        raise Unreadable(
            f"has the dimension '{foreign[0]}' in the mask '{mask.variable}', which the variable lacks"
        )
    part = variable.isel({dim: slices[str(dim)] for dim in variable.dims})
    order = [dim for dim in of.dims if dim in variable.dims]
    values = read(part).transpose(part.get_axis_num(order))
    inside = np.isfinite(values)
    if mask.min is not None:
        inside &= values >= mask.min
    if mask.max is not None:
        inside &= values <= mask.max
    shape = [len(range(*slices[str(d)].indices(n))) for d, n in of.sizes.items()]
    narrow = [size if dim in order else 1 for dim, size in zip(of.dims, shape, strict=True)]
    return np.broadcast_to(inside.reshape(narrow), shape)


def _summary(values: Floats) -> tuple[int, int, float, float]:
    import numpy as np

    valid = values[np.isfinite(values)]
    return values.size, valid.size, float(valid.min(initial=np.inf)), float(valid.max(initial=-np.inf))


def _named(variables: Mapping[str, xr.Variable], name: str | int) -> xr.Variable:
    if str(name) not in variables:
        raise Unreadable(f"has no variable '{name}'. {closest(str(name), variables)}")
    return variables[str(name)]


def _time_variable(groups: Mapping[str, xr.Dataset], name: str | int | None) -> tuple[str, xr.Variable]:
    """The variable with the times: the named one, or one with a reference date, or with a usual name."""
    variables = _variables(groups)
    if name is not None:
        return str(name), _named(variables, name)
    lines = {key: each for key, each in variables.items() if each.ndim == 1 and each.dtype.kind in "iuf"}
    dated = [key for key, each in lines.items() if " since " in str(each.attrs.get("units", ""))]
    usual = [key for usual in _TIMES for key in lines if key.lower() == usual]
    for key in [*(key for key in dated if key in usual), *dated, *usual]:
        return key, lines[key]
    raise Unreadable(f"has no time variable: name it. {closest('time', lines)}")


def _netcdf_times(
    workspace: Workspace, name: str, check: LastTime, start: datetime | None
) -> Iterator[Time]:
    import numpy as np

    from rompy_hydra.reading.netcdf import blocks, read

    with _datasets(workspace, name) as groups:
        _, variable = _time_variable(groups, check.variable)
        last = -math.inf
        for at in blocks(variable) if all(variable.shape) else ():
            values = read(variable[at])
            last = max(last, float(values[np.isfinite(values)].max(initial=-np.inf)))
        if math.isfinite(last):
            units, calendar = (str(variable.attrs.get(key, "")) for key in ("units", "calendar"))
            yield _as_time(last, units, calendar, check, start)


def _as_time(number: float, units: str, calendar: str, check: LastTime, start: datetime | None) -> Time:
    """A stored time as a date, if a date must be reached, else as the number it is."""
    if isinstance(check.reaches, float):
        return number
    if " since " in units:
        import cftime

        with contextlib.suppress(ValueError, OverflowError):  # a reference date that is not one
            date = cftime.num2date(number, units, calendar or "standard", only_use_cftime_datetimes=False)
            day = datetime(date.year, date.month, date.day, date.hour, date.minute, date.second)
            return day + timedelta(microseconds=date.microsecond)
    if start is None:
        raise Unreadable("has times without a reference date, and the start of the period is unknown")
    scale = next((s for unit, s in _NAMED_UNITS.items() if units.lower().startswith(unit)), None)
    return start + timedelta(seconds=number * (scale or _UNITS[check.unit]))


@contextlib.contextmanager
def _table(
    workspace: Workspace, name: str, check: OfFiles
) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    with io.TextIOWrapper(
        open_inside(workspace.root, name), encoding="utf-8-sig", errors="replace", newline=""
    ) as file:
        yield open_table(file, is_table(name) and not check.widths, check.widths)


def _table_values(
    workspace: Workspace, name: str, check: OfVariable
) -> Iterator[tuple[int, int, float, float]]:
    with _table(workspace, name, check) as (names, rows):
        every = check.variable == "*"
        column = 0 if every else _column(names, check.variable)
        mask = check.mask
        masked = None if mask is None else _column(names, mask.variable)
        for row in rows:
            if mask is not None and masked is not None:
                inside = _cell(row, masked)
                if math.isnan(inside) or mask.excess(inside, inside):
                    continue
            for number in map(number_of, row) if every else (_cell(row, column),):
                if math.isfinite(number) and number not in check.missing:
                    yield 1, 1, number, number
                else:
                    yield 1, 0, math.inf, -math.inf


def _table_times(
    workspace: Workspace, name: str, check: LastTime, start: datetime | None
) -> Iterator[Time]:
    with _table(workspace, name, check) as (names, rows):
        usual = [index for index, each in enumerate(names) if each.lower().split("_")[0] in _TIMES]
        column = _column(names, check.variable) if check.variable is not None else (usual or [0])[0]
        cells = (row[column] for row in rows if column < len(row))
        found = (time for cell in cells if (time := _time_in(cell, check, start)) is not None)
        with contextlib.suppress(ValueError):  # there is none
            yield max(found)


def _time_in(cell: str, check: LastTime, start: datetime | None) -> Time | None:
    number = number_of(cell)
    if math.isfinite(number):
        return _as_time(number, "", "", check, start)
    with contextlib.suppress(ValueError):
        time = parse_time(cell.strip())
        if isinstance(check.reaches, float):
            raise Unreadable("has dates, but the check expects it to reach a number")
        return time
    return None


def _column(names: Sequence[str], variable: str | int) -> int:
    index = column_of(names, variable)
    if index is None:
        raise Unreadable(f"has no column '{variable}'. {closest(str(variable), names)}")
    return index


def _cell(row: Sequence[str], column: int) -> float:
    return number_of(row[column]) if column < len(row) else math.nan


def _netcdf_has_number(workspace: Workspace, name: str) -> bool | None:
    import numpy as np

    from rompy_hydra.reading.netcdf import blocks, is_numeric, read

    with _datasets(workspace, name) as groups:
        fields = {key: v for key, v in _variables(groups).items() if is_numeric(v) and v.dtype.kind == "f"}
        with contextlib.suppress(Unreadable):
            time, steps = _time_variable(groups, None)
            moving = {key: v for key, v in fields.items() if steps.dims[0] in v.dims and key != time}
            fields = moving or fields
        results = [v for key, v in fields.items() if key not in v.dims and not _is_coordinate(key)]
        for variable in results:
            if any(np.isfinite(read(variable[at])).any() for at in blocks(variable)):
                return True
        return False if results else None


def _table_has_number(workspace: Workspace, name: str) -> bool | None:
    with _table(workspace, name, OfFiles(file=name)) as (names, rows):
        columns = [index for index, each in enumerate(names) if not _is_coordinate(each)]
        missing = False
        for row in rows:
            cells = [row[index] for index in columns if index < len(row)]
            if any(math.isfinite(number_of(cell)) for cell in cells):
                return True
            missing = missing or any(cell.strip().lower().lstrip("+-") in ("nan", "inf") for cell in cells)
        return False if missing else None


def _is_coordinate(name: str) -> bool:
    first = name.lower().rpartition(".")[2].split("_")[0]
    return first in _TIMES or first in _COORDINATES
