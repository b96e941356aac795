"""Which files are parts of one output: consecutive in time, or tiles of one grid or mesh.

Models write a file for each month, or one for each process. Two files are consecutive if they have the same
grid and the second begins at the end of the first, or later. They are tiles if they have the same times,
and their grids or meshes are adjacent: the same spacing side by side, or common nodes. Everything else,
such as a nested grid or the members of an ensemble, is another output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cftime
import numpy as np
import xarray as xr

from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import Field, are_adjacent, join_tiles
from rompy_hydra.postprocess.netcdf.mapping import (
    Location,
    Reduction,
    at_layer,
    load_geometry,
    mappable_variables,
    reduce_over_time,
    with_values,
)
from rompy_hydra.reading.netcdf import is_numeric, open_groups, read
from rompy_hydra.reading.series import Timed, join_times

# The calendar of times without a date, such as "seconds".
NO_DATE = ""


@dataclass(frozen=True, kw_only=True)
class Part(Timed):
    """A variable in one file. It is opened when it is read: a run may have thousands of files."""

    path: Path
    variable: str
    location: Location


@dataclass(frozen=True)
class Output:
    """Parts of one variable that belong together: consecutive parts for each tile."""

    tiles: Sequence[Sequence[Part]]
    geometries: Sequence[Field] = field(default=(), repr=False)

    @property
    def parts(self) -> list[Part]:
        return [part for tile in self.tiles for part in tile]

    @property
    def steps(self) -> int:
        return sum(len(part.times) - part.begin for part in self.tiles[0])

    @property
    def joined(self) -> str:
        """How the parts are joined: along `time`, in `space`, `time and space`, or not at all."""
        along = ["time"] * (len(self.tiles[0]) > 1) + ["space"] * (len(self.tiles) > 1)
        return " and ".join(along)

    @property
    def names(self) -> str:
        """The files, and how they are joined."""
        labels = [part.label for part in self.parts]
        if len(labels) == 1:
            return labels[0]
        return f"{labels[0]} and {len(labels) - 1} more, joined in {self.joined}"


def find_part(path: Path, file: str) -> Part | None:
    """The first variable of a file that a map can show, or else that has a time; None if there is none."""
    with open_groups(path) as groups:
        dataset = groups[""]
        for name, location in mappable_variables(dataset).items():
            return part_of(path, file, "", dataset, name, location)
        for key, variable in dataset.variables.items():
            if is_numeric(variable) and cv.time_dimension(dataset, variable) not in (None, key):
                location = Location(cv.spatial_dims(dataset, variable), None, None)
                return part_of(path, file, "", dataset, str(key), location)
    return None


def part_of(
    path: Path, file: str, group: str, dataset: xr.Dataset, variable: str, location: Location
) -> Part:
    """The part that a file contains; reads its times and coordinates."""
    times, calendar = read_times(dataset, dataset.variables[variable])
    digest = hashlib.sha256(repr((location, [dataset.sizes[dim] for dim in location.dims])).encode())
    for name in (location.x, location.y, location.faces):
        if name is not None:
            digest.update(np.ascontiguousarray(read(dataset.variables[name])).tobytes())
    return Part(
        path=path,
        file=file,
        group=group,
        variable=variable,
        location=location,
        times=times,
        calendar=calendar,
        grid=digest.hexdigest(),
    )


def read_times(dataset: xr.Dataset, variable: xr.Variable) -> tuple[tuple[float, ...], str]:
    """The times of a variable in seconds, and their calendar; see `Part`.

    Steps without a time count from 0. Times whose units cannot be read have no date.
    """
    dim = cv.time_dimension(dataset, variable)
    if dim is None:
        return (), NO_DATE
    named = [dim, *map(str, dataset.variables)]
    name = next((n for n in named if n in dataset.variables and _is_time(dataset, n, dim)), None)
    if name is None:
        return tuple(map(float, range(variable.sizes[dim]))), NO_DATE
    attrs, values = dataset.variables[name].attrs, read(dataset.variables[name])
    units, calendar = str(attrs.get("units", "")), str(attrs.get("calendar", "standard")).lower()
    try:
        dates = cftime.num2date(values, units, calendar)
        seconds = cftime.date2num(dates, "seconds since 1970-01-01", calendar)
        return tuple(np.asarray(seconds, dtype=float).tolist()), calendar
    except (ValueError, OverflowError, TypeError):
        factor = {"h": 3600.0, "d": 86400.0, "m": 60.0}.get(units.strip().lower()[:1], 1.0)
        return tuple((values * factor).tolist()), NO_DATE


def _is_time(dataset: xr.Dataset, name: str, dim: str) -> bool:
    variable = dataset.variables[name]
    return variable.dims == (dim,) and (name == dim or cv.axis(name, variable.attrs) == "time")


def group_parts(parts: Sequence[Part]) -> list[Output]:
    """Join the parts that belong together; the outputs are in the order of their first parts.

    Without coordinates, nothing says whether two grids are tiles.
    """
    if len(parts) == 1:
        return [Output([parts])]
    series = join_times(parts)
    if len(series) == 1 or any(part.location.x is None for part in parts):
        return [Output([each]) for each in series]
    geometries = [_geometry(each[0]) for each in series]
    groups: list[list[int]] = []
    for number, each in enumerate(series):
        near = [
            group
            for group in groups
            if any(
                _are_tiles(series[other], each, geometries[other], geometries[number]) for other in group
            )
        ]
        groups = [group for group in groups if group not in near]
        groups.append(sorted([number, *(other for group in near for other in group)]))
    found = []
    for group in sorted(groups):
        grids = {series[number][0].grid for number in group}
        whole = [group] if len(grids) == len(group) else [[number] for number in group]
        found += [Output([series[n] for n in tiles], [geometries[n] for n in tiles]) for tiles in whole]
    return found


def _are_tiles(a: Sequence[Part], b: Sequence[Part], at_a: Field, at_b: Field) -> bool:
    times = [[part.times[part.begin :] for part in each] for each in (a, b)]
    return times[0] == times[1] and a[0].calendar == b[0].calendar and are_adjacent(at_a, at_b)


def _geometry(part: Part) -> Field:
    with open_groups(part.path) as groups:
        geometry, faces = load_geometry(groups[part.group], part.location)
    return with_values(geometry, faces, geometry.values) if geometry.triangles is None else geometry


def load_output(
    output: Output, statistic: Statistic, dry_depth: float | None, layer: int | None = None
) -> Field:
    """Read a variable reduced over all time steps of its parts, on the grid or mesh of all tiles."""
    return join_tiles([_load_tile(tile, statistic, dry_depth, layer) for tile in output.tiles])


def _load_tile(
    parts: Sequence[Part], statistic: Statistic, dry_depth: float | None, layer: int | None
) -> Field:
    name, location = parts[0].variable, parts[0].location
    reduction: Reduction | None = None
    needed = {"first": parts[:1], "last": parts[-1:]}.get(statistic, parts)
    for part in needed:
        only = {"first": slice(0, 1), "last": slice(-1, None)}
        with open_groups(part.path) as groups:
            dataset = at_layer(groups[part.group], layer)
            if reduction is None:
                geometry, faces = load_geometry(dataset, location)
                circle = cv.circle(dataset, name)
                reduction = Reduction([dataset.sizes[dim] for dim in location.dims], statistic, circle)
            steps = only.get(statistic, slice(part.begin, None))
            reduce_over_time(reduction, dataset, name, location.dims, dry_depth, steps)
    assert reduction is not None
    return with_values(geometry, faces, reduction.result(), circle)


def period_text(first: float, last: float, calendar: str) -> str:
    """The period between two times of `Part`.

    >>> period_text(0.0, 10800.0, "standard"), period_text(0.0, 5400.0, NO_DATE)
    ('1970-01-01 00:00 to 03:00', '0 to 1.5 h')
    """
    if calendar == NO_DATE:
        unit, name = next(
            (each for each in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")) if last >= 1.5 * each[0]),
            (1.0, "s"),
        )
        return f"{first / unit:.4g} to {last / unit:.4g} {name}"
    days, clocks = [], []
    for time in (first, last):
        date = cftime.num2date(round(time), "seconds since 1970-01-01", calendar)
        days.append(date.strftime("%Y-%m-%d"))
        clocks.append(date.strftime("%H:%M:%S").removesuffix(":00"))
    if first == last:
        return f"{days[0]} {clocks[0]}"
    end = clocks[1] if days[0] == days[1] else f"{days[1]} {clocks[1]}"
    return f"{days[0]} {clocks[0]} to {end}"
