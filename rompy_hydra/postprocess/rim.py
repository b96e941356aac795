"""The boundary of a mesh as a smooth line: most meshes end at the coast, in steps of their triangles."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path as MeshPath

from rompy_hydra.postprocess.netcdf.field import Field, Floats, Ints


def rim_path(field: Field) -> MeshPath | None:
    """The boundary of a mesh as smooth loops; None if the coastline is the zero contour of the bed.

    A mesh ends at the coast in steps of its triangles. The corners are cut (Chaikin 1974) after each node
    has moved towards its neighbours; those at the edge of the map stay.
    """
    if field.triangles is None or crosses_zero(field):
        return None
    box = [(float(np.min(each)), float(np.max(each))) for each in (field.x, field.y)]
    vertices, codes = [], []
    for loop in _loops(_boundary_edges(field)):
        points = np.column_stack([field.x[loop], field.y[loop]])
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        at_edge = np.zeros(len(points), dtype=bool)
        for column, (low, high) in zip(points.T, box, strict=True):
            at_edge |= np.isclose(column, low, atol=1e-3 * (high - low))
            at_edge |= np.isclose(column, high, atol=1e-3 * (high - low))
        fixed = at_edge[:, np.newaxis]
        # A notch of one triangle in the edge of the map is filled.
        notch = np.roll(fixed, 1, axis=0) & np.roll(fixed, -1, axis=0)
        own = np.where(notch, 0.5 * (before + after), points)
        points = np.where(fixed, points, 0.25 * before + 0.5 * own + 0.25 * after)
        for _ in range(2):
            after = np.roll(points, -1, axis=0)
            first = np.where(fixed, points, 0.75 * points + 0.25 * after)
            second = np.where(np.roll(fixed, -1, axis=0), after, 0.25 * points + 0.75 * after)
            points = np.stack([first, second], axis=1).reshape(-1, 2)
            fixed = np.stack([fixed, np.roll(fixed, -1, axis=0)], axis=1).reshape(-1, 1)
        vertices.append(np.concatenate([points, points[:1]]))
        inner = [MeshPath.LINETO] * (len(points) - 1)
        codes.append(np.array([MeshPath.MOVETO, *inner, MeshPath.CLOSEPOLY], dtype=np.uint8))
    if not vertices:
        return None
    return MeshPath(np.concatenate(vertices), np.concatenate(codes))


def _boundary_edges(field: Field) -> Ints:
    """The edges that belong to only one triangle, as two nodes each, with the mesh on their left."""
    assert field.triangles is not None
    a, b, c = field.triangles.T
    turn = (field.x[b] - field.x[a]) * (field.y[c] - field.y[a])
    turn -= (field.x[c] - field.x[a]) * (field.y[b] - field.y[a])
    b, c = np.where(turn < 0.0, c, b), np.where(turn < 0.0, b, c)
    edges = np.concatenate([np.stack(pair, axis=1) for pair in ((a, b), (b, c), (c, a))])
    _, first, count = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    boundary: Ints = edges[first[count == 1]]
    return boundary


def _loops(edges: Ints) -> list[list[int]]:
    """Closed loops of directed edges, as nodes in order."""
    after: dict[int, list[int]] = {}
    for start, end in edges.tolist():
        after.setdefault(start, []).append(end)
    loops = []
    while after:
        loop = [next(iter(after))]
        while ends := after.get(loop[-1]):
            loop.append(ends.pop())
            if not ends:
                del after[loop[-2]]
            if loop[-1] == loop[0]:
                break
        loops.append(loop[:-1] if len(loop) > 3 else loop)
    return [loop for loop in loops if len(loop) >= 3]


def skirt(field: Field, triangles: Ints, corners: Floats) -> tuple[Floats, Floats, Floats]:
    """A strip outside of the boundary of a mesh with the values there: x, y and values of its triangles."""
    at_node = np.full(len(field.x), np.nan)
    at_node[triangles.ravel()] = corners.ravel()
    edges = _boundary_edges(field)
    edges = edges[np.isfinite(at_node[edges]).all(axis=1)]
    x, y, values = field.x[edges], field.y[edges], at_node[edges]
    # To the right of the edge, as far as it is long, and wider there, to meet the next one.
    along_x, along_y = np.diff(x, axis=1), np.diff(y, axis=1)
    far_x = x + along_y + along_x * [-1.0, 1.0]
    far_y = y - along_x + along_y * [-1.0, 1.0]
    quads = [np.column_stack(pair) for pair in ((x, far_x), (y, far_y), (values, values))]
    found_x, found_y, found = (np.concatenate([q[:, [0, 1, 2]], q[:, [1, 2, 3]]]) for q in quads)
    return found_x, found_y, found


def crosses_zero(field: Field) -> bool:
    known = field.bed[np.isfinite(field.bed)] if field.bed is not None else np.empty(0)
    return bool(known.size) and bool(known.min() < 0.0 < known.max())
