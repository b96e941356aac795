"""Read netCDF outputs of any size with xarray, in blocks, as numbers with NaN for missing values.

Values can be read without dry land. The statistics of all variables are here, those of one for a map in
`mapping`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.statistics import BINS, RunningDirections, RunningStatistics, statistics_of
from rompy_hydra.reading.netcdf import Floats, blocks, is_numeric, open_groups, read


def wet_blocks(
    dataset: xr.Dataset,
    name: str,
    dims: Sequence[str],
    dry_depth: float | None,
    steps: slice = slice(None),
) -> Iterator[tuple[dict[str, slice], Floats]]:
    """Blocks of a variable with the dimensions (time, *dims), NaN where it is dry at that time.

    Each block comes with its slices, by dimension. `steps` selects time steps. Nothing is dry if
    `dry_depth` is None, or if the file does not contain the water level and the bed level.
    """
    variable = dataset.variables[name]
    time = cv.time_dimension(dataset, variable)
    level, bed = cv.water_level(dataset, name), cv.bed(dataset, dims)
    sign = _bed_sign(dataset, bed, dims) if bed else 1.0
    for block in blocks(variable):
        at = dict(zip(map(str, variable.dims), block, strict=True))
        if time:
            first, end, _ = steps.indices(variable.sizes[time])
            at[time] = slice(max(first, at[time].start), min(end, at[time].stop))
            if at[time].start >= at[time].stop:
                continue
        values = _read_block(variable, at, time, dims)
        if dry_depth is not None and level and bed and bed != name:
            surface = values if level == name else _read_block(dataset.variables[level], at, time, dims)
            ground = _read_block(dataset.variables[bed], at, time, dims)
            # Values at unknown depths are kept.
            values = np.where(surface - sign * ground < dry_depth, np.nan, values)
        yield at, values


def read_static(variable: xr.Variable, dims: Sequence[str]) -> Floats:
    """A variable, or its first time step, with those of `dims` that it has, in that order."""
    values: Floats = _read_block(variable, {}, None, [dim for dim in dims if dim in variable.dims])[0]
    return values


def _read_block(
    variable: xr.Variable, at: Mapping[str, slice], time: str | None, dims: Sequence[str]
) -> Floats:
    """A block of a variable with the dimensions (time, *dims), at the first index of any other."""
    order = [dim for dim in (time, *dims) if dim in variable.dims]
    part = variable.isel(
        {dim: at.get(str(dim), slice(None)) if dim in order else 0 for dim in variable.dims}
    )
    values = read(part).transpose(part.get_axis_num(order))
    return values if time in order else values[np.newaxis]


def _bed_sign(dataset: xr.Dataset, bed: str, dims: Sequence[str]) -> float:
    """1 if a bed variable is an elevation, -1 if it is a depth; by its values if metadata is missing."""
    is_depth = cv.is_depth(dataset, bed)
    if is_depth is None:
        values = read_static(dataset.variables[bed], dims)
        known = values[np.isfinite(values)]
        is_depth = known.size > 0 and bool(np.median(known) > 0.0)
    return -1.0 if is_depth else 1.0


def netcdf_statistics(
    path: Path, selected: Collection[str], dry_depth: float | None
) -> Iterator[tuple[str, RunningStatistics | None]]:
    """Each numeric variable by name, with its statistics if it is one of `selected`.

    If `selected` is empty, all variables are, except coordinates, times and connectivity. With a
    `dry_depth` (m), water levels in shallower water are missing, and ANUGA's centroid values (`stage_c`)
    replace the variable that is smoothed from them (`stage`). Raises PostprocessError as `open_groups`.
    """
    with open_groups(path) as groups:
        for group, dataset in groups.items():
            prefix = f"{group.replace('/', '.')}." if group else ""
            for name in [str(name) for name, each in dataset.variables.items() if is_numeric(each)]:
                wanted = f"{prefix}{name}" in selected
                if not selected and not cv.is_auxiliary(dataset, name):
                    wanted = dry_depth is None or not cv.is_at_centroids(dataset, name)
                yield f"{prefix}{name}", _statistics(dataset, name, dry_depth) if wanted else None


def _statistics(dataset: xr.Dataset, name: str, dry_depth: float | None) -> RunningStatistics:
    found = statistics_of(cv.circle(dataset, name))
    found.note = cv.unclear_direction(dataset, name)
    for values in _read_blocks(dataset, name, dry_depth):
        valid = values[np.isfinite(values)]
        if isinstance(found, RunningDirections):
            _add_directions(found, values.size, valid)
            continue
        with np.errstate(over="ignore"):
            mean = valid.sum() / max(valid.size, 1)
        if not np.isfinite(mean):
            mean = (valid / valid.size).sum()
        low, high = valid.min(initial=np.inf), valid.max(initial=-np.inf)
        found.add(values.size, valid.size, float(low), float(mean), float(high))
    return found


def _add_directions(found: RunningDirections, cells: int, directions: Floats) -> None:
    vector = complex(np.exp(directions * (2j * math.pi / found.circle)).sum())
    ordered = np.sort(directions % found.circle)
    # The first of each bin, and the last.
    first = np.searchsorted(ordered, np.arange(BINS) * (found.circle / BINS))
    used = np.flatnonzero(np.diff([*first, ordered.size]))
    last = np.append(first[1:], ordered.size)[used] - 1
    bins = zip(ordered[first[used]].tolist(), ordered[last].tolist(), strict=True)
    found.add_directions(cells, directions.size, vector, bins)


def _read_blocks(dataset: xr.Dataset, name: str, dry_depth: float | None) -> Iterator[Floats]:
    if dry_depth is not None:
        name = cv.centroid_name(dataset, name)
        if cv.is_water_level(dataset, name):
            dims = cv.spatial_dims(dataset, dataset.variables[name])
            yield from (values for _, values in wet_blocks(dataset, name, dims, dry_depth))
            return
    variable = dataset.variables[name]
    yield from (read(variable[block]) for block in blocks(variable))
