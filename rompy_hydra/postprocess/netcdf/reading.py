"""Read netCDF outputs of any size with xarray, in blocks, as numbers with NaN for missing values.

All variables are read for their statistics, or one for a map, with coordinates; both without dry land.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rompy_hydra.errors import PostprocessError
from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import Field, Floats, grid_as_mesh, mean_at_nodes, triangulate
from rompy_hydra.postprocess.statistics import BINS, RunningDirections, RunningStatistics, statistics_of

# Values read at once, 8 bytes each; one chunk of a compressed file may be larger.
BLOCK_VALUES = 4_000_000

# The netCDF and HDF5 libraries are not thread-safe.
_LOCK = threading.Lock()


@contextlib.contextmanager
def open_groups(path: Path) -> Iterator[dict[str, xr.Dataset]]:
    """Open a netCDF file and return its groups by path, the root group as `""`. Reads only the header.

    Values are as stored; `read` decodes them. Raises PostprocessError if the file cannot be read, now or
    later.
    """
    groups: dict[str, xr.Dataset] = {}
    try:
        with _LOCK, _read_errors(path):
            # No decoding of times and of packed numbers.
            groups = xr.open_groups(
                path,
                engine="netcdf4",
                cache=False,
                decode_times=False,
                decode_timedelta=False,
                mask_and_scale=False,
            )
        yield {name.strip("/"): groups[name] for name in sorted(groups)}
    finally:
        with _LOCK:
            for dataset in groups.values():
                dataset.close()


@contextlib.contextmanager
def _read_errors(path: object) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PostprocessError(
            f"cannot read {path} as netCDF: {error}. The file may be incomplete or in another format: fix "
            "it, or select other outputs in the settings of the processor"
        ) from error


def is_numeric(variable: xr.Variable) -> bool:
    """Whether a variable is not empty and has integers, floating-point numbers or booleans."""
    return variable.dtype.kind in "iufb" and all(variable.shape)


def blocks(variable: xr.Variable) -> Iterator[tuple[slice, ...]]:
    """Divide a variable into blocks that fit in memory, aligned with its chunks on disk."""
    shape = variable.shape
    stored = variable.encoding.get("chunksizes") or [1] * len(shape)
    block = [min(chunk, size) for chunk, size in zip(stored, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = max(1, BLOCK_VALUES // math.prod(block))
        block[axis] = min(shape[axis], block[axis] * room)
    ranges = [range(0, size, step) for size, step in zip(shape, block, strict=True)]
    for starts in itertools.product(*ranges):
        yield tuple(slice(start, start + step) for start, step in zip(starts, block, strict=True))


def read(variable: xr.Variable) -> Floats:
    """Read a variable as float64, with NaN for missing values.

    Values are missing if they are not finite, equal `_FillValue` or `missing_value`, or were never
    written. Packed numbers are unpacked.
    """
    with _LOCK, _read_errors(variable.encoding.get("source", "the output")):
        raw = np.asarray(variable.values)
    return decode(raw, variable.attrs)


def decode(raw: NDArray[np.generic], attrs: Mapping[str, object]) -> Floats:
    """Stored numbers as float64, with NaN for missing values."""
    kind = raw.dtype.kind
    fills = [fill for key in ("_FillValue", "missing_value") for fill in _numbers(attrs.get(key))]
    if "_FillValue" not in attrs and raw.dtype.itemsize > 1:
        fills += _numbers(netCDF4.default_fillvals.get(raw.dtype.str[1:]))
    missing = ~np.isfinite(raw) if kind == "f" else np.zeros(raw.shape, dtype=bool)
    with np.errstate(over="ignore"):
        for fill in fills:
            missing |= raw == (raw.dtype.type(fill) if kind == "f" else fill)
    if kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    values = raw.astype(np.float64)
    for scale in _numbers(attrs.get("scale_factor")):
        values *= scale
    for offset in _numbers(attrs.get("add_offset")):
        values += offset
    values[missing] = np.nan
    return values


def _numbers(attribute: object) -> list[float]:
    if attribute is None:
        return []
    try:
        return [float(value) for value in np.atleast_1d(np.asarray(attribute))]
    except (TypeError, ValueError):
        return []


@dataclass(frozen=True)
class Location:
    """The names of the dimensions and coordinates of a variable.

    `dims` has two names for a grid, `(y, x)`, and one for a mesh. On a mesh, `x` and `y` are coordinates
    on the dimension `nodes`, and `faces` is the variable with the corners of its faces. A grid may have
    no coordinates.
    """

    dims: tuple[str, ...]
    x: str | None
    y: str | None
    faces: str | None = None
    nodes: str | None = None


def locate(dataset: xr.Dataset, name: str) -> Location | None:
    """The location of a variable that can be drawn on a map, with a grid or a mesh; else None."""
    variable = dataset.variables[name]
    dims = cv.spatial_dims(dataset, variable)
    if not is_numeric(variable) or cv.is_auxiliary(dataset, name):
        return None
    if len(dims) == 2:
        pair = cv.coordinates(dataset, dims)
        if pair is None:
            return Location(dims, None, None)
        on_x = cv.spatial_dims(dataset, dataset.variables[pair[0]])
        rows = dims if len(on_x) == 2 else tuple(sorted(dims, key=lambda dim: dim in on_x))
        return Location(rows, *pair)
    mesh = cv.connectivity(dataset)
    if len(dims) != 1 or mesh is None:
        return None
    faces, named = mesh
    corner_dim, face_dim = cv.corner_and_face_dims(dataset.variables[faces])
    for nodes in (dims[0], *map(str, dataset.sizes)):
        pair = (named[0], named[1]) if len(named) == 2 else cv.coordinates(dataset, [nodes])
        if nodes in (corner_dim, face_dim) or pair is None or pair[0] not in dataset.variables:
            continue
        if dataset.variables[pair[0]].dims == (nodes,) and dims[0] in (nodes, face_dim):
            return Location(dims, *pair, faces, nodes)
    return None


def mappable_variables(dataset: xr.Dataset) -> dict[str, Location]:
    """The variables that can be drawn on a map, the most informative first, with their locations."""
    locations = {name: found for name in map(str, dataset.variables) if (found := locate(dataset, name))}

    def order(name: str) -> tuple[int, bool, bool, bool]:
        constant = cv.time_dimension(dataset, dataset.variables[name]) is None
        at_centroids = cv.is_at_centroids(dataset, name)
        return cv.map_rank(dataset, name), at_centroids, locations[name].x is None, constant

    return {name: locations[name] for name in sorted(locations, key=order)}


def load_field(
    dataset: xr.Dataset, name: str, location: Location, statistic: Statistic, dry_depth: float | None
) -> Field:
    """Read a variable with its coordinates, reduced over time in blocks.

    If the file contains the water level and the bed level, values at depths below `dry_depth` (m) are
    left out of the reduction.
    """
    values = reduce_over_time(dataset, name, location.dims, statistic, dry_depth)
    if location.faces is not None:
        return _load_mesh(dataset, location, values)
    bed = _read_bed(dataset, location.dims)
    if location.x is None or location.y is None:
        rows, columns = (np.arange(float(size)) for size in values.shape)
        return Field(columns, rows, values, bed)
    x, y = (read_static(dataset.variables[each], location.dims) for each in (location.x, location.y))
    field = Field(x, y, values, bed)
    return field if np.isfinite(x).all() and np.isfinite(y).all() else grid_as_mesh(field)


def _load_mesh(dataset: xr.Dataset, location: Location, values: Floats) -> Field:
    assert location.x and location.y and location.nodes and location.faces
    x, y = (read_static(dataset.variables[each], [location.nodes]) for each in (location.x, location.y))
    known = np.isfinite(x) & np.isfinite(y)
    faces = dataset.variables[location.faces]
    corner_dim, face_dim = cv.corner_and_face_dims(faces)
    corners = read_static(faces, [face_dim, corner_dim])
    begin = faces.attrs.get("start_index")
    if begin is None:
        begin = 1 if np.nanmax(corners, initial=-1.0) == len(x) else 0
    triangles, face = triangulate(corners, float(begin), known)
    bed, bed_of_faces = _read_bed(dataset, [location.nodes]), _read_bed(dataset, [face_dim])
    if bed is None and bed_of_faces is not None:
        bed = mean_at_nodes(bed_of_faces[face], triangles, len(x))
    x, y = np.where(known, x, np.nanmean(x)), np.where(known, y, np.nanmean(y))
    on_triangles = location.dims == (face_dim,)
    values = values[face] if on_triangles else values
    return Field(x, y, values, bed, triangles, on_triangles)


def reduce_over_time(
    dataset: xr.Dataset, name: str, dims: Sequence[str], statistic: Statistic, dry_depth: float | None
) -> Floats:
    """A variable reduced over time, with the dimensions `dims`, read in blocks."""
    variable = dataset.variables[name]
    time = cv.time_dimension(dataset, variable)
    steps = variable.sizes[time] if time else 1
    only = {"first": 0, "last": steps - 1}.get(statistic)
    reduced = np.full([variable.sizes[dim] for dim in dims], np.nan)
    total, count = np.zeros(reduced.shape), np.zeros(reduced.shape)
    combine = np.fmin if statistic == "min" else np.fmax
    for at, values in wet_blocks(dataset, name, dims, dry_depth, only):
        here = tuple(at[dim] for dim in dims)
        if statistic == "mean":
            total[here] += np.nansum(values, axis=0)
            count[here] += np.isfinite(values).sum(axis=0)
        else:
            reduced[here] = combine(reduced[here], combine.reduce(values, axis=0))
    if statistic == "mean":
        np.divide(total, count, out=reduced, where=count > 0)
    return reduced


def wet_blocks(
    dataset: xr.Dataset, name: str, dims: Sequence[str], dry_depth: float | None, step: int | None = None
) -> Iterator[tuple[dict[str, slice], Floats]]:
    """Blocks of a variable with the dimensions (time, *dims), NaN where it is dry at that time.

    Each block comes with its slices, by dimension. `step` selects one time step. Nothing is dry if
    `dry_depth` is None, or if the file does not contain the water level and the bed level.
    """
    variable = dataset.variables[name]
    time = cv.time_dimension(dataset, variable)
    level, bed = cv.water_level(dataset, name), cv.bed(dataset, dims)
    sign = _bed_sign(dataset, bed, dims) if bed else 1.0
    for block in blocks(variable):
        at = dict(zip(map(str, variable.dims), block, strict=True))
        if time and step is not None:
            if not at[time].start <= step < at[time].stop:
                continue
            at[time] = slice(step, step + 1)
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


def _read_bed(dataset: xr.Dataset, dims: Sequence[str]) -> Floats | None:
    name = cv.bed(dataset, dims)
    return None if name is None else read_static(dataset.variables[name], dims)


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
