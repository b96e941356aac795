"""Numbers over the plane, on a grid or a triangular mesh, and the geometry that drawing them needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rompy_hydra.postprocess.netcdf.dataset import Floats

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Field:
    """Numbers over the plane, NaN where there are none.

    On a grid `values` has the shape (rows, columns), and `x` and `y` either that shape or one
    dimension each. On a mesh `triangles` has the shape (triangles, 3) and counts nodes from 0, and
    `values` belong to the nodes, or to the triangles if `on_triangles`. `bed` is on the grid or the
    nodes, and 0 at the coast. `steps` is the number of time steps that were reduced, 0 without time.
    """

    x: Floats
    y: Floats
    values: Floats
    bed: Floats | None = None
    triangles: Ints | None = None
    on_triangles: bool = False
    steps: int = 0


def has_values(field: Field) -> bool:
    """Whether there is anything to draw: a cell, or a triangle, with a value."""
    import numpy as np

    values = field.values
    if field.triangles is not None and not field.on_triangles:
        values = values[field.triangles]
    return bool(np.isfinite(values).any())


def cut_faces(faces: Floats, begin: float, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The faces of a mesh as triangles, and the face that each triangle is of.

    `faces` has the shape (faces, corners), counts nodes from `begin`, and may have NaN for what is no
    corner. A triangle with a node that is not `known` is left out.
    """
    import numpy as np

    corners = np.where(np.isfinite(faces), faces - begin, -1).astype(np.int64)
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


def as_mesh(field: Field) -> Field:
    """A grid with holes in its coordinates as a mesh of the cells that have all four corners."""
    import numpy as np

    rows, columns = field.values.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    x, y = np.meshgrid(field.x, field.y) if field.x.ndim == 1 else (field.x, field.y)
    here = np.isfinite(x) & np.isfinite(y)
    quad = [each.ravel() for each in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])]
    whole = np.logical_and.reduce([here.ravel()[corner] for corner in quad])
    a, b, c, d = (corner[whole] for corner in quad)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    x, y = (np.where(here, each, np.nanmean(each)).ravel() for each in (x, y))
    ground = None if field.bed is None else field.bed.ravel()
    return replace(field, x=x, y=y, values=field.values.ravel(), bed=ground, triangles=triangles)


def rim(triangles: Ints) -> Ints:
    """The edges, as two nodes each, that belong to one triangle only."""
    import numpy as np

    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]))
    found, count = np.unique(edges, axis=0, return_counts=True)
    border: Ints = found[count == 1]
    return border


def thinned(field: Field, most: int) -> Field:
    """A grid with not more than `most` cells along a side."""
    if field.triangles is not None:
        return field
    rows, columns = (slice(None, None, math.ceil(n / most)) for n in field.values.shape)
    x = field.x[columns] if field.x.ndim == 1 else field.x[rows, columns]
    y = field.y[rows] if field.y.ndim == 1 else field.y[rows, columns]
    bed = None if field.bed is None else field.bed[rows, columns]
    return replace(field, x=x, y=y, values=field.values[rows, columns], bed=bed)


def edges(centres: Floats) -> Floats:
    """The corners of cells from their centres, along each dimension."""
    import numpy as np

    for axis in range(centres.ndim):
        along = np.moveaxis(centres, axis, 0)
        middle = 0.5 * (along[1:] + along[:-1])
        ends = along[:1] - (middle[:1] - along[:1]), along[-1:] + (along[-1:] - middle[-1:])
        centres = np.moveaxis(np.concatenate([ends[0], middle, ends[1]]), 0, axis)
    return centres
