"""Values on a grid or a triangular mesh, and the geometry to draw them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Field:
    """Values on a grid or a triangular mesh, NaN for missing ones.

    On a grid, `values` has the shape (rows, columns), and `x` and `y` have the same shape or one dimension
    each. On a mesh, `triangles` has the shape (triangles, 3) and numbers nodes from 0, and `values` are at
    the nodes, or on the triangles if `on_triangles`. `bed` is on the grid or at the nodes, and 0 at the
    coast.
    """

    x: Floats
    y: Floats
    values: Floats
    bed: Floats | None = None
    triangles: Ints | None = None
    on_triangles: bool = False


def has_values(field: Field) -> bool:
    """Whether any cell or triangle has a value."""
    at_nodes = field.triangles is not None and not field.on_triangles
    return bool(np.isfinite(field.values[field.triangles] if at_nodes else field.values).any())


def triangulate(faces: Floats | Ints, begin: float, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Divide the faces of a mesh into triangles; returns these and the face index of each.

    `faces` has the shape (faces, corners), numbers nodes from `begin`, and is NaN for unused corners.
    Triangles with a node that is not `known` are left out.
    """
    corners = np.where(np.isfinite(faces), faces - begin, -1).astype(np.int64)
    corners[(corners < 0) | (corners >= len(known))] = -1
    parts, face_indices = [], []
    for second in range(1, corners.shape[1] - 1):
        part = corners[:, [0, second, second + 1]]
        valid = ((part >= 0) & known[part]).all(axis=1)
        valid &= (part[:, 1] != part[:, 2]) & (part[:, 0] != part[:, 2])
        parts.append(part[valid])
        face_indices.append(np.flatnonzero(valid))
    return np.concatenate(parts), np.concatenate(face_indices)


def mean_at_nodes(values: Floats, triangles: Ints, nodes: int) -> Floats:
    """The mean value of the triangles around each node."""
    corners = triangles.ravel()
    total = np.bincount(corners, np.repeat(values, 3), minlength=nodes)
    count = np.bincount(corners, minlength=nodes)
    mean = np.full(nodes, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def grid_as_mesh(field: Field) -> Field:
    """A grid with missing coordinates as a mesh of the cells whose four corners are known."""
    rows, columns = field.values.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    x, y = np.meshgrid(field.x, field.y) if field.x.ndim == 1 else (field.x, field.y)
    known = (np.isfinite(x) & np.isfinite(y)).ravel()
    corners = (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    cells = np.stack([each.ravel() for each in corners], axis=1)
    triangles, _ = triangulate(cells[known[cells].all(axis=1)], 0, known)
    x, y = (np.where(known, each.ravel(), np.nanmean(each)) for each in (x, y))
    bed = None if field.bed is None else field.bed.ravel()
    return replace(field, x=x, y=y, values=field.values.ravel(), bed=bed, triangles=triangles)
