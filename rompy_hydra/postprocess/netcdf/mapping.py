"""Which variables can be drawn on a map, on which grid or mesh, and reading them reduced over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import (
    Field,
    Floats,
    Ints,
    grid_as_mesh,
    mean_at_nodes,
    triangulate,
)
from rompy_hydra.postprocess.netcdf.reading import read_static, wet_blocks
from rompy_hydra.postprocess.statistics import SHORTEST_VECTOR
from rompy_hydra.reading.netcdf import is_numeric


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
    if any(cv.is_vertical(dataset, dim) for dim in dims):
        return None
    if len(dims) == 2:
        pair = cv.coordinates(dataset, dims)
        if pair is None:
            return Location(dims, None, None) if cv.may_span_picture(dims) else None
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


def at_layer(dataset: xr.Dataset, layer: int | None) -> xr.Dataset:
    """The dataset with only one layer of each vertical dimension, counted from 0, or from -1 for the last.

    Raises IndexError if a dimension has no such layer.
    """
    if layer is None:
        return dataset
    sizes = {str(dim): size for dim, size in dataset.sizes.items() if cv.is_vertical(dataset, str(dim))}
    for dim, size in sizes.items():
        if size > 1 and not -size <= layer < size:
            raise IndexError(f"{dim} has {size} layers, 0 to {size - 1}")
    # A variable of its own dimension would stay as a coordinate of size 1.
    return dataset.isel({dim: layer for dim, size in sizes.items() if size > 1})


def has_layers(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable has a vertical dimension, of whatever size."""
    return any(cv.is_vertical(dataset, str(dim)) for dim in dataset.variables[name].dims)


class Reduction:
    """A variable that is reduced over time, from blocks of one or several files in any order.

    The mean of directions is that of their unit vectors; `circle` is the value of a full circle.
    """

    def __init__(self, shape: Sequence[int], statistic: Statistic, circle: float | None = None) -> None:
        self._statistic, self._circle = statistic, circle
        self._reduced = np.full(shape, np.nan)
        self._total = np.zeros(shape, dtype=np.complex128 if circle else np.float64)
        self._count = np.zeros(shape)

    def add(self, here: tuple[slice, ...], values: Floats) -> None:
        """Add values with the shape (time, *here)."""
        if self._statistic == "mean":
            turned = np.exp(values * (2j * np.pi / self._circle)) if self._circle else values
            self._total[here] += np.nansum(turned, axis=0)
            self._count[here] += np.isfinite(values).sum(axis=0)
        else:
            combine = np.fmin if self._statistic == "min" else np.fmax
            self._reduced[here] = combine(self._reduced[here], combine.reduce(values, axis=0))

    def result(self) -> Floats:
        """NaN where there was no value, and where directions cancel out."""
        if self._statistic != "mean":
            return self._reduced
        mean = np.full(self._total.shape, np.nan, dtype=self._total.dtype)
        np.divide(self._total, self._count, out=mean, where=self._count > 0)
        if not self._circle:
            return mean.real
        angle = np.angle(mean) * (self._circle / (2.0 * np.pi)) % self._circle
        return np.where(np.abs(mean) > SHORTEST_VECTOR, angle, np.nan)


def reduce_over_time(
    reduction: Reduction,
    dataset: xr.Dataset,
    name: str,
    dims: Sequence[str],
    dry_depth: float | None,
    steps: slice = slice(None),
) -> None:
    """Add the selected time steps of a variable, with the dimensions `dims`, in blocks.

    If the file contains the water level and the bed level, values at depths below `dry_depth` (m) are
    left out.
    """
    for at, values in wet_blocks(dataset, name, dims, dry_depth, steps):
        reduction.add(tuple(at[dim] for dim in dims), values)


def load_geometry(dataset: xr.Dataset, location: Location) -> tuple[Field, Ints | None]:
    """The grid or mesh of a variable with missing values, and the face of each triangle of a mesh."""
    if location.faces is not None:
        return _load_mesh(dataset, location)
    bed = _read_bed(dataset, location.dims)
    values = np.full([dataset.sizes[dim] for dim in location.dims], np.nan)
    if location.x is None or location.y is None:
        rows, columns = (np.arange(float(size)) for size in values.shape)
        return Field(columns, rows, values, bed), None
    x, y = (read_static(dataset.variables[each], location.dims) for each in (location.x, location.y))
    return Field(x, y, values, bed), None


def with_values(geometry: Field, faces: Ints | None, values: Floats, circle: float | None = None) -> Field:
    """A grid or mesh with these values, which are at the nodes or on the faces of a mesh."""
    if geometry.triangles is not None:
        values = values[faces] if geometry.on_triangles and faces is not None else values
        return replace(geometry, values=values, circle=circle)
    field = replace(geometry, values=values, circle=circle)
    return field if np.isfinite(field.x).all() and np.isfinite(field.y).all() else grid_as_mesh(field)


def load_field(
    dataset: xr.Dataset, name: str, location: Location, statistic: Statistic, dry_depth: float | None
) -> Field:
    """Read a variable of one file with its coordinates, reduced over time."""
    geometry, faces = load_geometry(dataset, location)
    circle = cv.circle(dataset, name)
    reduction = Reduction([dataset.sizes[dim] for dim in location.dims], statistic, circle)
    steps = {"first": slice(0, 1), "last": slice(-1, None)}.get(statistic, slice(None))
    reduce_over_time(reduction, dataset, name, location.dims, dry_depth, steps)
    return with_values(geometry, faces, reduction.result(), circle)


def _load_mesh(dataset: xr.Dataset, location: Location) -> tuple[Field, Ints]:
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
    values = np.full(len(face) if on_triangles else len(x), np.nan)
    return Field(x, y, values, bed, triangles, on_triangles), face


def _read_bed(dataset: xr.Dataset, dims: Sequence[str]) -> Floats | None:
    name = cv.bed(dataset, dims)
    return None if name is None else read_static(dataset.variables[name], dims)
