"""Success checks of the last time and of the number of time steps, along series of consecutive files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rompy_hydra.errors import closest
from rompy_hydra.models.checks import Unreadable
from rompy_hydra.models.contents import (
    column_index,
    explained,
    is_netcdf,
    named,
    open_datasets,
    read_table,
    variables_of,
)
from rompy_hydra.models.plausibility import Count, LastTime, OfFiles
from rompy_hydra.reading.series import Timed, join_times
from rompy_hydra.reading.tables import number_of
from rompy_hydra.time_range import TimeRange, parse_time
from rompy_hydra.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

# The units of times without a reference date, by how their names begin.
_NAMED_UNITS = {"day": 86400.0, "hour": 3600.0, "min": 60.0, "sec": 1.0}
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TIMES = ("time", "times", "globaltime", "ocean_time", "date", "datetime", "t")
# Parts of the names of coordinates.
_POSITIONS = {"x", "y", "z", "lon", "lat", "longitude", "latitude", "depth", "easting", "northing"}
_EPOCH = datetime(1970, 1, 1)
# The calendars of `Timed.times`: dates of the usual one, and numbers without dates.
_STANDARD, _NUMBERS = "standard", ""
# Dates that are written as numbers, as in the tables of SWAN: 20240131.060000, 20240131.
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)(?:\.?(\d\d)(\d\d)(\d\d))?")
_YEARS = range(1800, 2201)


@dataclass(frozen=True)
class _Form:
    """As what times are read: dates, or stored numbers; as what they are, if neither is set."""

    # What times without a reference date count from, and in which unit.
    start: datetime | None = None
    unit: str = "s"
    dates: bool = False
    numbers: bool = False

    @staticmethod
    def of(check: LastTime, period: TimeRange | None) -> _Form:
        numbers = isinstance(check.reaches, float)
        return _Form(period.start if period else None, check.unit, dates=not numbers, numbers=numbers)


def wrong_time(
    workspace: Workspace, names: Sequence[str], check: LastTime, period: TimeRange | None
) -> str:
    """What is wrong with the last time of the files; '' if it is right. Unreadable if there is none.

    Every series of consecutive files has to reach it: of several processes, each that wrote a file.
    """
    form = _Form.of(check, period)
    read = [_times_of(workspace, name, check, check.variable, form) for name in names]
    if empty := [part for part in read if not part.times]:
        raise Unreadable(f"{empty[0].file} has no time")
    return next((wrong for series in join_times(read) if (wrong := _wrong_end(series, check, period))), "")


def wrong_count(workspace: Workspace, names: Sequence[str], check: Count) -> str:
    """What is wrong with the number of time steps, or lines, of the files; '' if it is right."""
    parts: list[list[Timed]] = []
    if check.dimension is None:
        parts = join_times([_times_of(workspace, name, check, None, _Form()) for name in names])
    counts = [(part, sum(len(each.times) - each.begin for each in part)) for part in parts]
    if check.dimension is not None:
        counts = [([_alone(name)], _size_of(workspace, name, check.dimension)) for name in names]
    for part, count in counts:
        label = part[0].file if len(part) == 1 else f"{part[0].file} to {part[-1].file}"
        if count < check.min:
            return f"{label} has {count}, fewer than the {check.min} expected"
        if check.max is not None and count > check.max:
            return f"{label} has {count}, more than the {check.max} expected"
    return ""


def time_variable(groups: Mapping[str, xr.Dataset], name: str | int | None) -> tuple[str, xr.Variable]:
    """The variable with the times: the named one, or one with a reference date, or with a usual name."""
    variables = variables_of(groups)
    if name is not None:
        return str(name), named(variables, name)
    lines = {key: each for key, each in variables.items() if each.ndim == 1 and each.dtype.kind in "iuf"}
    dated = [key for key, each in lines.items() if " since " in str(each.attrs.get("units", ""))]
    usual = [key for usual in _TIMES for key in lines if key.lower() == usual]
    for key in [*(key for key in dated if key in usual), *dated, *usual]:
        return key, lines[key]
    raise Unreadable(f"has no time variable: name it. It has {', '.join(lines) or 'none that could be it'}")


def is_coordinate(name: str) -> bool:
    """Whether a variable or column is a time or a position by its name, and no result."""
    first = name.lower().rpartition(".")[2].split("_")[0]
    return first in _TIMES or first in _POSITIONS


def _alone(name: str) -> Timed:
    return Timed(file=name, grid=name, times=(), calendar=_NUMBERS)


def _wrong_end(series: Sequence[Timed], check: LastTime, period: TimeRange | None) -> str:
    part = series[-1]
    last, steps = max(part.times), sorted(set(part.times))
    differences = sorted(b - a for a, b in itertools.pairwise(steps))
    step = differences[len(differences) // 2] if differences else 0.0
    if isinstance(check.reaches, float):
        goal = bound = check.reaches
        step = min(step, abs(goal))
    else:
        end = period.end if period else None
        if end is None and check.reaches == "end":
            return f"{part.file} cannot be compared with the end of the period, which is unknown"
        date = end if check.reaches == "end" else datetime.fromisoformat(check.reaches)
        assert date is not None
        goal = _seconds(date, part.calendar)
        # An output may be longer than what is asked for, but not than what is simulated.
        bound = goal if end is None else max(goal, _seconds(end, part.calendar))
        step = min(step, period.duration.total_seconds()) if period else step
    shown = f"{part.file} ends at {_text(last, part.calendar)}"
    if not last >= goal - check.tolerance:
        return f"{shown}, before {_text(goal, part.calendar)}"
    beyond = step if check.beyond is None else check.beyond
    if isinstance(beyond, str) or last <= bound + max(beyond, check.tolerance):
        return ""
    return f"{shown}, long after {_text(bound, part.calendar)} (if that is right: beyond: any)"


def _times_of(
    workspace: Workspace, name: str, check: OfFiles, variable: str | int | None, form: _Form
) -> Timed:
    """The times of a file; of all lines of a table without a time column, if their form does not matter."""
    with explained(name):
        if is_netcdf(name):
            return _netcdf_times(workspace, name, variable, form)
        with read_table(workspace, name, check) as (names, rows):
            column = _time_column(names) if variable is None else column_index(names, variable)
            if column is None and not (form.dates or form.numbers):
                lines = tuple(float(number) for number, _ in enumerate(rows))
                return Timed(file=name, grid=name, times=lines, calendar=_NUMBERS)
            parse = _TimesInCells(column or 0, form)
            found = array("d")
            for row in rows:
                time = parse(row)
                if time is not None:
                    found.append(time)
                elif not (form.dates or form.numbers):
                    found.append(math.nan)
            return Timed(file=name, grid=" ".join(names), times=tuple(found), calendar=parse.calendar)


def _size_of(workspace: Workspace, name: str, dimension: str) -> int:
    with explained(name):
        if not is_netcdf(name):
            raise Unreadable("is a table, which has no dimensions: leave it out to count the lines")
        with open_datasets(workspace, name) as groups:
            sizes = {str(d): size for each in groups.values() for d, size in each.sizes.items()}
            if dimension not in sizes:
                raise Unreadable(f"has no dimension '{dimension}'. {closest(dimension, sizes)}")
            return sizes[dimension]


def _netcdf_times(workspace: Workspace, name: str, variable: str | int | None, form: _Form) -> Timed:
    import numpy as np

    from rompy_hydra.reading.netcdf import read

    with open_datasets(workspace, name) as groups:
        key, found = time_variable(groups, variable)
        values = np.asarray(read(found) if all(found.shape) else [], dtype=float).ravel()
        if form.dates or form.numbers:
            values = values[np.isfinite(values)]
        units, calendar = (str(found.attrs.get(each, "")) for each in ("units", "calendar"))
        convert, calendar = _converter(units, calendar.lower() or _STANDARD, form)
        times = tuple(map(convert, values.tolist()))
        grid = _grid(groups, str(found.dims[0]) if found.dims else "", key)
        return Timed(file=name, grid=grid, times=times, calendar=calendar)


def _grid(groups: Mapping[str, xr.Dataset], steps: str, time: str) -> str:
    """A hash of the dimensions and positions in a file, but for its time steps."""
    import numpy as np

    from rompy_hydra.reading.netcdf import is_numeric, read

    digest = hashlib.sha256()
    for path, dataset in groups.items():
        sizes = sorted((str(dim), size) for dim, size in dataset.sizes.items() if dim != steps)
        digest.update(repr((path, sizes)).encode())
    for key, variable in variables_of(groups).items():
        words = set(key.lower().replace(".", "_").split("_"))
        if key != time and words & _POSITIONS and steps not in variable.dims and is_numeric(variable):
            digest.update(key.encode() + np.ascontiguousarray(read(variable)).tobytes())
    return digest.hexdigest()


def _converter(units: str, calendar: str, form: _Form) -> tuple[Callable[[float], float], str]:
    """A function from stored numbers to `Timed.times`, and the calendar of these."""
    if form.numbers:
        return float, _NUMBERS
    if " since " in units:
        import cftime

        try:
            dates = cftime.num2date([0, 1], units, calendar)
            first, second = map(float, cftime.date2num(dates, "seconds since 1970-01-01", calendar))
            return lambda number: first + number * (second - first), calendar
        except (ValueError, OverflowError, TypeError) as error:
            # Without a digit, it is no date: "seconds since the start".
            if form.dates and re.search(r"\d", units.partition(" since ")[2]):
                raise Unreadable(f"has times in '{units}', which are no dates: {error}") from error
    if not form.dates:
        return float, _NUMBERS
    if form.start is None:
        raise Unreadable("has times without a reference date, and the start of the period is unknown")
    start = _seconds(form.start, _STANDARD)
    unit = units.strip().lower()
    begins = (seconds for name, seconds in _NAMED_UNITS.items() if unit.startswith(name))
    scale = _UNITS.get(unit) or next(begins, None) or _UNITS[form.unit]
    return lambda number: start + number * scale, _STANDARD


def _time_column(names: Sequence[str]) -> int | None:
    usual = (index for index, each in enumerate(names) if each.lower().split("_")[0] in _TIMES)
    return next(usual, None)


class _TimesInCells:
    """Reads the times in one column of a table: dates, numbers that are dates, or plain numbers.

    Which of these it is follows from the first row that has a time. A date without a time of day is
    completed by the next column if that has six digits: `20240131 060000`.
    """

    def __init__(self, column: int, form: _Form) -> None:
        self._column, self._form = column, form
        self._read: Callable[[Sequence[str]], float | None] | None = None
        self.calendar = _NUMBERS

    def __call__(self, row: Sequence[str]) -> float | None:
        if self._column >= len(row):
            return None
        if self._read is not None:
            return self._read(row)
        for read, calendar in self._forms(row[self._column].strip()):
            if (time := read(row)) is not None:
                self._read, self.calendar = read, calendar
                return time
        return None

    def _forms(self, cell: str) -> Iterator[tuple[Callable[[Sequence[str]], float | None], str]]:
        number = number_of(cell)
        if not self._form.numbers:
            yield self._stamp, _STANDARD
        if math.isfinite(number):
            to_seconds, calendar = _converter("", _STANDARD, self._form)

            def plain(row: Sequence[str]) -> float | None:
                number = self._number(row)
                return None if number is None else to_seconds(number)

            yield plain, calendar
        yield self._date, _STANDARD

    def _number(self, row: Sequence[str]) -> float | None:
        number = number_of(row[self._column]) if self._column < len(row) else math.nan
        return number if math.isfinite(number) else None

    def _date(self, row: Sequence[str]) -> float | None:
        try:
            time = parse_time(row[self._column].strip()) if self._column < len(row) else None
        except ValueError:
            return None
        if time is not None and self._form.numbers:
            raise Unreadable("has dates, but the check expects it to reach a number")
        return None if time is None else _seconds(time, _STANDARD)

    def _stamp(self, row: Sequence[str]) -> float | None:
        cell = row[self._column].strip() if self._column < len(row) else ""
        found = _STAMP.fullmatch(cell)
        if found is None or int(found[1]) not in _YEARS:
            return None
        clock = row[self._column + 1].strip() if self._column + 1 < len(row) else ""
        if found[4] is None and re.fullmatch(r"\d{6}", clock):
            found = _STAMP.fullmatch(f"{cell}.{clock}")
        assert found is not None
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        try:
            return _seconds(datetime(year, month, day, hour, minute, second), _STANDARD)
        except ValueError:
            return None


def _seconds(date: datetime, calendar: str) -> float:
    """Seconds since 1970 of a date in a calendar, which may lack that day: then of the day before."""
    if calendar == _STANDARD:
        return (date - _EPOCH).total_seconds()
    import cftime

    clock = (date.hour, date.minute, date.second, date.microsecond)
    for day in range(date.day, 0, -1):
        with contextlib.suppress(ValueError):
            found = cftime.datetime(date.year, date.month, day, *clock, calendar=calendar)
            return float(cftime.date2num(found, "seconds since 1970-01-01", calendar))
    raise Unreadable(f"has times in the calendar '{calendar}', which has no {date.isoformat()}")


def _text(time: float, calendar: str) -> str:
    if calendar == _NUMBERS:
        return f"{time:.10g}"
    with contextlib.suppress(OverflowError, ValueError):
        if calendar == _STANDARD:
            return (_EPOCH + timedelta(seconds=round(time, 3))).isoformat()
        import cftime

        return str(cftime.num2date(round(time), "seconds since 1970-01-01", calendar).isoformat())
    return f"{time:.6g} s since 1970"
