"""One variable of a netCDF file as a map needs it: over the plane, reduced over time, without dry land."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rompy_hydra.postprocess import conventions as cv
from rompy_hydra.postprocess.netcdf import blocks, is_numeric, read

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from rompy_hydra.postprocess.netcdf import Floats

    Ints = NDArray[np.int64]

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


@dataclass(frozen=True)
class Field:
    """Numbers over the plane, NaN where there are none.

    On a grid `values` has the shape (rows, columns), and `x` and `y` either that shape or one
    dimension each. On a mesh `triangles` has the shape (triangles, 3) and counts nodes from 0, and
    `values` belong to the nodes or to the triangles. `bed` is on the grid or the nodes, and 0 at
    the coast. `steps` is the number of time steps that were reduced, 0 without time.
    """

    x: Floats
    y: Floats
    values: Floats
    bed: Floats | None = None
    triangles: Ints | None = None
    steps: int = 0

    @property
    def on_triangles(self) -> bool:
        return self.triangles is not None and len(self.values) != len(self.x)


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

    variables = dataset.variables
    values = over_time(dataset, name, place.dims, statistic, dry_depth)
    time = cv.time_dimension(dataset, variables[name])
    steps = variables[name].sizes[time] if time else 0
    if place.x is None or place.y is None:
        rows, columns = values.shape
        ground = _bed(dataset, place.dims)
        return Field(np.arange(float(columns)), np.arange(float(rows)), values, ground, steps=steps)
    if place.nodes is None or place.faces is None:
        x, y = (static(variables[each], place.dims) for each in (place.x, place.y))
        field = Field(x, y, values, _bed(dataset, place.dims), steps=steps)
        broken = x.ndim == 2 and not (np.isfinite(x).all() and np.isfinite(y).all())
        return _as_mesh(field) if broken else field
    x, y = (static(variables[each], (place.nodes,)) for each in (place.x, place.y))
    known = np.isfinite(x) & np.isfinite(y)
    triangles, face = _triangles(variables[place.faces], known)
    x, y = np.where(known, x, np.nanmean(x)), np.where(known, y, np.nanmean(y))
    ground = _bed(dataset, (place.nodes,))
    if (
        ground is None
        and (of_faces := _bed(dataset, cv.corners_and_faces(variables[place.faces])[1:])) is not None
    ):
        ground = at_nodes(of_faces[face], triangles, len(x))
    if place.dims != (place.nodes,):
        values = values[face]
    return Field(x, y, values, ground, triangles, steps)


def has_values(field: Field) -> bool:
    import numpy as np

    return bool(np.isfinite(field.values).any())


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
    level, ground = cv.water_level(dataset, name), cv.bed(dataset, dims)
    sign = -1.0 if ground and cv.is_depth(dataset, ground) else 1.0
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
            values = np.where(surface - sign * bottom < dry_depth, np.nan, values)
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


def _bed(dataset: xr.Dataset, dims: Sequence[str]) -> Floats | None:
    name = cv.bed(dataset, dims)
    return None if name is None else static(dataset.variables[name], dims)


def _triangles(faces: xr.Variable, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The faces of a mesh cut into triangles of known nodes, and the face that each triangle is of."""
    import numpy as np

    corners = read(faces)
    if faces.dims[0] == cv.corners_and_faces(faces)[0]:
        corners = corners.T
    begin = faces.attrs.get("start_index")
    if begin is None:
        begin = 1 if np.nanmax(corners) == len(known) else 0
    corners = np.where(np.isfinite(corners), corners - float(begin), -1).astype(np.int64)
    corners[(corners < 0) | (corners >= len(known))] = -1
    parts, owners = [], []
    for second in range(1, corners.shape[1] - 1):
        part = corners[:, [0, second, second + 1]]
        real = ((part >= 0) & known[part]).all(axis=1)
        real &= (part[:, 1] != part[:, 2]) & (part[:, 0] != part[:, 2])
        parts.append(part[real])
        owners.append(np.flatnonzero(real))
    return np.concatenate(parts), np.concatenate(owners)


def at_nodes(values: Floats, triangles: Ints, nodes: int) -> Floats:
    """The mean of the triangles around each node."""
    import numpy as np

    corners = triangles.ravel()
    total = np.bincount(corners, np.repeat(values, 3), minlength=nodes)
    count = np.bincount(corners, minlength=nodes)
    mean = np.full(nodes, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _as_mesh(field: Field) -> Field:
    """A grid with holes in its coordinates as a mesh of the cells that have all four corners."""
    import numpy as np

    rows, columns = field.values.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    here = np.isfinite(field.x) & np.isfinite(field.y)
    quad = [each.ravel() for each in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])]
    whole = np.logical_and.reduce([here.ravel()[corner] for corner in quad])
    a, b, c, d = (corner[whole] for corner in quad)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    x, y = (np.where(here, each, np.nanmean(each)).ravel() for each in (field.x, field.y))
    ground = None if field.bed is None else field.bed.ravel()
    return Field(x, y, field.values.ravel(), ground, triangles, field.steps)
