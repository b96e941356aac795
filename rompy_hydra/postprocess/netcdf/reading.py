"""Reading one variable of a netCDF file for a map: reduced over time, without dry land, with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf import variables
from rompy_hydra.postprocess.netcdf.dataset import blocks, is_numeric, read
from rompy_hydra.postprocess.netcdf.field import Field, as_mesh, at_nodes, cut_faces

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.postprocess.netcdf.dataset import Floats

Statistic = Literal["max", "min", "mean", "last", "first"]


@dataclass(frozen=True)
class Place:
    """Where the values of a variable lie: the names of dimensions and of the variables that tell it.

    `dims` are two for a grid, `(y, x)`, and one for a mesh, whose nodes `x` and `y` are on the
    dimension `nodes` and whose `faces` names the corners of its faces. A grid may have no coordinates.
    """

    dims: tuple[str, ...]
    x: str | None
    y: str | None
    faces: str | None = None
    nodes: str | None = None


def locate(dataset: xr.Dataset, name: str) -> Place | None:
    """Where a variable lies, if it can be on a map: two dimensions of a grid or one of a mesh, and time."""
    variable = dataset.variables[name]
    dims = cv.space(dataset, variable)
    if not is_numeric(variable) or cv.is_auxiliary(dataset, name):
        return None
    if len(dims) == 2:
        pair = cv.coordinates(dataset, dims)
        if pair is None:
            return Place(dims, None, None)
        on_x = cv.space(dataset, dataset.variables[pair[0]])
        rows = dims if len(on_x) == 2 else tuple(sorted(dims, key=lambda dim: dim in on_x))
        return Place(rows, *pair)
    mesh = cv.connectivity(dataset)
    if len(dims) != 1 or mesh is None:
        return None
    faces, told = mesh
    corner_dim, face_dim = cv.corners_and_faces(dataset.variables[faces])
    for nodes in (dims[0], *map(str, dataset.sizes)):
        pair = (told[0], told[1]) if len(told) == 2 else cv.coordinates(dataset, [nodes])
        if nodes in (corner_dim, face_dim) or pair is None or pair[0] not in dataset.variables:
            continue
        if dataset.variables[pair[0]].dims == (nodes,) and dims[0] in (nodes, face_dim):
            return Place(dims, *pair, faces, nodes)
    return None


def load(
    dataset: xr.Dataset, name: str, place: Place, statistic: Statistic, dry_depth: float | None
) -> Field:
    """Read a variable, reduced over time in blocks, and where it lies.

    Where the file tells the water level and the bed, what has less than `dry_depth` (m) of water is
    dry and left out at that time.
    """
    import numpy as np

    values = over_time(dataset, name, place.dims, statistic, dry_depth)
    time = cv.time_dimension(dataset, dataset.variables[name])
    steps = dataset.variables[name].sizes[time] if time else 0
    if place.faces is not None:
        return _load_mesh(dataset, place, values, steps)
    ground = _bed(dataset, place.dims)
    if place.x is None or place.y is None:
        rows, columns = (np.arange(float(size)) for size in values.shape)
        return Field(columns, rows, values, ground, steps=steps)
    x, y = (static(dataset.variables[each], place.dims) for each in (place.x, place.y))
    field = Field(x, y, values, ground, steps=steps)
    return field if np.isfinite(x).all() and np.isfinite(y).all() else as_mesh(field)


def _load_mesh(dataset: xr.Dataset, place: Place, values: Floats, steps: int) -> Field:
    import numpy as np

    assert place.x and place.y and place.nodes and place.faces
    x, y = (static(dataset.variables[each], [place.nodes]) for each in (place.x, place.y))
    known = np.isfinite(x) & np.isfinite(y)
    faces = dataset.variables[place.faces]
    corner_dim, face_dim = cv.corners_and_faces(faces)
    corners = static(faces, [face_dim, corner_dim])
    begin = faces.attrs.get("start_index")
    if begin is None:
        begin = 1 if np.nanmax(corners, initial=-1.0) == len(x) else 0
    triangles, face = cut_faces(corners, float(begin), known)
    ground, of_faces = _bed(dataset, [place.nodes]), _bed(dataset, [face_dim])
    if ground is None and of_faces is not None:
        ground = at_nodes(of_faces[face], triangles, len(x))
    x, y = np.where(known, x, np.nanmean(x)), np.where(known, y, np.nanmean(y))
    on_triangles = place.dims == (face_dim,)
    values = values[face] if on_triangles else values
    return Field(x, y, values, ground, triangles, on_triangles, steps)


def over_time(
    dataset: xr.Dataset, name: str, dims: Sequence[str], statistic: Statistic, dry_depth: float | None
) -> Floats:
    """A variable reduced over time, with the dimensions `dims`; a part of it is in memory at once."""
    import numpy as np

    variable = dataset.variables[name]
    time = cv.time_dimension(dataset, variable)
    steps = variable.sizes[time] if time else 1
    only = {"first": 0, "last": steps - 1}.get(statistic)
    reduced = np.full([variable.sizes[dim] for dim in dims], np.nan)
    total, count = np.zeros(reduced.shape), np.zeros(reduced.shape)
    combine = np.fmin if statistic == "min" else np.fmax
    for at, values in wet_parts(dataset, name, dims, dry_depth, only):
        here = tuple(at[dim] for dim in dims)
        if statistic == "mean":
            total[here] += np.nansum(values, axis=0)
            count[here] += np.isfinite(values).sum(axis=0)
        else:
            reduced[here] = combine(reduced[here], combine.reduce(values, axis=0))
    if statistic != "mean":
        return reduced
    np.divide(total, count, out=reduced, where=count > 0)
    return reduced


def wet_parts(
    dataset: xr.Dataset,
    name: str,
    dims: Sequence[str],
    dry_depth: float | None,
    step: int | None = None,
) -> Iterator[tuple[dict[str, slice], Floats]]:
    """Parts of a variable with the dimensions (time, *dims), NaN where and when it is dry.

    Each comes with the slices that it is of; with `step`, only that time step. Nothing is dry where
    `dry_depth` is None or the file does not tell the water level and the bed.
    """
    import numpy as np

    variable = dataset.variables[name]
    time = cv.time_dimension(dataset, variable)
    level, ground = variables.level(dataset, name), variables.bed(dataset, dims)
    upward = _upward(dataset, ground, dims) if ground else 1.0
    for block in blocks(variable):
        at = dict(zip(map(str, variable.dims), block, strict=True))
        if time and step is not None:
            if not at[time].start <= step < at[time].stop:
                continue
            at[time] = slice(step, step + 1)
        values = _part(variable, at, time, dims)
        if dry_depth is not None and level and ground and ground != name:
            surface = values if level == name else _part(dataset.variables[level], at, time, dims)
            bottom = _part(dataset.variables[ground], at, time, dims)
            # Where the depth is not known, the values are left as they are.
            values = np.where(surface - upward * bottom < dry_depth, np.nan, values)
        yield at, values


def static(variable: xr.Variable, dims: Sequence[str]) -> Floats:
    """A variable without time, or its first time step, with those of `dims` that it has, in that order."""
    values: Floats = _part(variable, {}, None, [dim for dim in dims if dim in variable.dims])[0]
    return values


def _part(variable: xr.Variable, at: Mapping[str, slice], time: str | None, dims: Sequence[str]) -> Floats:
    """A part of a variable with the dimensions (time, *dims); the first of any other dimension."""
    kept = [dim for dim in (time, *dims) if dim in variable.dims]
    index = tuple(at.get(str(dim), slice(None)) if dim in kept else 0 for dim in variable.dims)
    there = [dim for dim in variable.dims if dim in kept]
    values = read(variable, index).transpose([there.index(dim) for dim in kept])
    return values if time in kept else values.reshape(1, *values.shape)


def _upward(dataset: xr.Dataset, bed: str, dims: Sequence[str]) -> float:
    """1 if a bed is told as an elevation, -1 if as a depth; by its values where nothing else tells."""
    import numpy as np

    told = variables.is_depth(dataset, bed)
    if told is None:
        values = static(dataset.variables[bed], dims)
        known = values[np.isfinite(values)]
        told = known.size > 0 and bool(np.median(known) > 0.0)
    return -1.0 if told else 1.0


def _bed(dataset: xr.Dataset, dims: Sequence[str]) -> Floats | None:
    name = variables.bed(dataset, dims)
    return None if name is None else static(dataset.variables[name], dims)
