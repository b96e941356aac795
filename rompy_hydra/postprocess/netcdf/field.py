"""Values on a grid or a triangular mesh, and the geometry to draw them."""

from __future__ import annotations

from collections.abc import Sequence
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
    coast. If the values are directions, `circle` is the value of a full circle.
    """

    x: Floats
    y: Floats
    values: Floats
    bed: Floats | None = None
    triangles: Ints | None = None
    on_triangles: bool = False
    circle: float | None = None


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


def mean_at_nodes(values: Floats, triangles: Ints, nodes: int, circle: float | None = None) -> Floats:
    """The mean value of the triangles around each node; of directions if a full circle is given."""
    if circle:
        angles = values * (2.0 * np.pi / circle)
        east, north = (mean_at_nodes(turn(angles), triangles, nodes) for turn in (np.cos, np.sin))
        angle: Floats = np.arctan2(north, east) * (circle / (2.0 * np.pi)) % circle
        return angle
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


def are_adjacent(a: Field, b: Field) -> bool:
    """Whether two fields are tiles of one: side by side with the same spacing, or with common nodes.

    A few rows of cells in common are allowed, because processes exchange them.
    """
    if a.triangles is None and b.triangles is None and a.x.ndim == b.x.ndim == 1:
        return _are_adjacent_grids(a, b)
    if (a.triangles is None) != (b.triangles is None):
        return False
    points = [_corner_points(each) for each in (a, b)]
    size = min(_cell_size(each) for each in points)
    low, high = (np.array([edge(each, axis=0) for each in points]) for edge in (np.min, np.max))
    if (low.max(axis=0) > high.min(axis=0) + size).any():
        return False
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(points[0]).query(points[1], distance_upper_bound=0.2 * size)
    common = int(np.isfinite(distance).sum())
    return 2 <= common < 0.7 * min(map(len, points))


def _are_adjacent_grids(a: Field, b: Field) -> bool:
    shared = 1.0
    for at_a, at_b in ((a.x, b.x), (a.y, b.y)):
        at_a, at_b = np.sort(at_a), np.sort(at_b)
        if min(len(at_a), len(at_b)) < 2:
            return False
        step, other = (float(np.median(np.diff(each))) for each in (at_a, at_b))
        offset = (at_b[0] - at_a[0]) / step
        if abs(step - other) > 0.02 * step or abs(offset - round(offset)) > 0.1:
            return False
        # Cells in common; -1 for a gap of one cell.
        common = (min(at_a[-1], at_b[-1]) - max(at_a[0], at_b[0])) / step + 1.0
        if common < -0.5:
            return False
        shared *= max(common, 0.0) / min(len(at_a), len(at_b))
    return shared <= 0.5


def _corner_points(field: Field) -> Floats:
    """The used nodes of a mesh, or the corners of the cells of a curvilinear grid, as (x, y)."""
    if field.triangles is not None:
        used = np.unique(field.triangles)
        return np.column_stack([field.x[used], field.y[used]])
    return np.column_stack([cell_edges(field.x).ravel(), cell_edges(field.y).ravel()])


def _cell_size(points: Floats) -> float:
    """The typical distance of neighbouring points."""
    from scipy.spatial import cKDTree

    sample = points[:: max(1, len(points) // 2000)]
    distance, _ = cKDTree(points).query(sample, k=2)
    return float(np.median(distance[:, 1]))


def join_tiles(fields: Sequence[Field]) -> Field:
    """One field of adjacent tiles; where they overlap, the first value that is not missing counts."""
    if len(fields) == 1:
        return fields[0]
    if all(field.triangles is None and field.x.ndim == 1 for field in fields):
        return _join_grids(fields)
    return _join_meshes([cells_as_mesh(field) if field.triangles is None else field for field in fields])


def _join_grids(fields: Sequence[Field]) -> Field:
    x, y = (_merged_axis([getattr(field, name) for field in fields]) for name in ("x", "y"))
    values, bed = np.full((len(y), len(x)), np.nan), np.full((len(y), len(x)), np.nan)
    for field in fields:
        at = np.ix_(_nearest(y, field.y), _nearest(x, field.x))
        values[at] = np.where(np.isfinite(values[at]), values[at], field.values)
        if field.bed is not None:
            bed[at] = np.where(np.isfinite(bed[at]), bed[at], field.bed)
    beds = any(field.bed is not None for field in fields)
    return replace(fields[0], x=x, y=y, values=values, bed=bed if beds else None)


def _merged_axis(axes: Sequence[Floats]) -> Floats:
    step = min(float(np.median(np.abs(np.diff(each)))) for each in axes if len(each) > 1)
    merged = np.sort(np.concatenate(axes))
    kept: Floats = merged[np.diff(merged, prepend=-np.inf) > 0.3 * step]
    return kept


def _nearest(axis: Floats, values: Floats) -> Ints:
    after = np.clip(np.searchsorted(axis, values), 1, len(axis) - 1)
    nearer = np.abs(axis[after - 1] - values) <= np.abs(axis[after] - values)
    index: Ints = after - nearer
    return index


def cells_as_mesh(field: Field) -> Field:
    """A curvilinear grid as a mesh with the values on its cells, two triangles each."""
    x, y = cell_edges(field.x), cell_edges(field.y)
    number = np.arange(x.size).reshape(x.shape)
    corners = (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    cells = np.stack([each.ravel() for each in corners], axis=1)
    triangles, cell = triangulate(cells, 0, np.ones(x.size, dtype=bool))
    bed = None
    if field.bed is not None:
        bed = mean_at_nodes(field.bed.ravel()[cell], triangles, x.size)
    values = field.values.ravel()[cell]
    return replace(
        field, x=x.ravel(), y=y.ravel(), values=values, bed=bed, triangles=triangles, on_triangles=True
    )


def _join_meshes(fields: Sequence[Field]) -> Field:
    """Nodes at the same place become one, and triangles with the same nodes, too."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    points = np.concatenate([np.column_stack([field.x, field.y]) for field in fields])
    size = min(_cell_size(_corner_points(field)) for field in fields)
    pairs = cKDTree(points).query_pairs(0.2 * size, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    count, node = connected_components(links, directed=False)
    starts = np.cumsum([0, *(len(field.x) for field in fields)])
    triangles = np.concatenate(
        [node[field.triangles + start] for field, start in zip(fields, starts, strict=False)]
    )
    x, y = (_first_known(points[:, axis], node, count) for axis in (0, 1))
    values = np.concatenate([field.values for field in fields])
    bed = None
    if all(field.bed is not None for field in fields):
        bed = _first_known(np.concatenate([field.bed for field in fields]), node, count)
    _, first, same = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True, return_inverse=True)
    if fields[0].on_triangles:
        values = _first_known(values, same.ravel(), len(first))
    else:
        values = _first_known(values, node, count)
    return replace(fields[0], x=x, y=y, values=values, bed=bed, triangles=triangles[first])


def _first_known(values: Floats, place: Ints, count: int) -> Floats:
    """For each of `count` places, the first value that is not missing."""
    found = np.full(count, np.nan)
    known = np.flatnonzero(np.isfinite(values))[::-1]
    found[place[known]] = values[known]
    return found


def cell_edges(centres: Floats) -> Floats:
    """The edges of cells from their centres, along each dimension."""
    for axis in range(centres.ndim):
        along = np.moveaxis(centres, axis, 0)
        middle = 0.5 * (along[1:] + along[:-1])
        ends = along[:1] - (middle[:1] - along[:1]), along[-1:] + (along[-1:] - middle[-1:])
        centres = np.moveaxis(np.concatenate([ends[0], middle, ends[1]]), 0, axis)
    return centres
