"""The axes of a map with their units, and the places marked on it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import Field
from rompy_hydra.postprocess.netcdf.reading import Location

_GRID_KEYS = ["origin_longitude_degrees_east", "origin_latitude_degrees_north"]
_GRID_KEYS += ["metres_per_degree_longitude", "metres_per_degree_latitude"]
_METRE = {"m", "meter", "metre", "meters", "metres"}
_KM_FROM = 20_000.0  # m; wider maps have axes in km
_MAX_MARKERS = 30  # more would cover the map


@dataclass(frozen=True)
class ProjectedField:
    """A field in the coordinates of the axes: in degrees, or in the units of the labels."""

    field: Field
    x_label: str
    y_label: str
    degrees: bool = False
    # Name, x, y.
    markers: Sequence[tuple[str, float, float]] = ()


def project(dataset: xr.Dataset, location: Location, field: Field, directory: Path) -> ProjectedField:
    """Project a field to longitude and latitude if they are known, else to metres, km or the file's units.

    Two optional files in `directory` complement ANUGA's output. `grid.json` maps metres to degrees:
    `origin_longitude_degrees_east`, `origin_latitude_degrees_north`, `metres_per_degree_longitude`,
    `metres_per_degree_latitude`. `*_places.csv` lists places to mark: the column `place`, with `x_m` and
    `y_m`, or with `longitude_degrees_east` and `latitude_degrees_north`.
    """
    if location.x is None or location.y is None:
        return ProjectedField(field, location.dims[1], location.dims[0])
    x, y = dataset.variables[location.x], dataset.variables[location.y]
    if (cv.axis(location.x, x.attrs), cv.axis(location.y, y.attrs)) == ("lon", "lat"):
        if field.x.ndim == 1:  # without the jump from 180 to -180
            field = replace(field, x=np.unwrap(field.x, period=360.0))
        markers = _read_places(directory, "longitude_degrees_east", "latitude_degrees_north")
        return ProjectedField(field, "longitude", "latitude", True, markers)
    units = [cv.units(dataset, location.x), cv.units(dataset, location.y)]
    if cv.is_anuga(dataset):
        east, north = (float(dataset.attrs.get(key, 0.0)) for key in ("xllcorner", "yllcorner"))
        return _project_metres(replace(field, x=field.x + east, y=field.y + north), directory)
    if set(units) <= _METRE:
        return _project_metres(field, directory)
    names = (location.x, location.y)
    labels = [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]
    return ProjectedField(field, labels[0], labels[1])


def _project_metres(field: Field, directory: Path) -> ProjectedField:
    grid = _read_grid(directory)
    origin, per_unit, labels = (0.0, 0.0), (1.0, 1.0), ("x (m)", "y (m)")
    if grid is not None:
        origin, per_unit, labels = grid[:2], grid[2:], ("longitude", "latitude")
    elif max(float(each.max() - each.min()) for each in (field.x, field.y)) > _KM_FROM:
        per_unit, labels = (1000.0, 1000.0), ("x (km)", "y (km)")
    markers = [
        (name, origin[0] + x / per_unit[0], origin[1] + y / per_unit[1])
        for name, x, y in _read_places(directory, "x_m", "y_m")
    ]
    x, y = origin[0] + field.x / per_unit[0], origin[1] + field.y / per_unit[1]
    return ProjectedField(replace(field, x=x, y=y), *labels, grid is not None, markers)


def _read_grid(directory: Path) -> tuple[float, float, float, float] | None:
    """Longitude and latitude of the origin, and metres per degree of each, from `grid.json`."""
    try:
        data = json.loads((directory / "grid.json").read_text(encoding="utf-8"))
        west, south, per_x, per_y = (float(data[key]) for key in _GRID_KEYS)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # an unrelated file of this name
    valid = all(map(math.isfinite, (west, south, per_x, per_y))) and min(per_x, per_y) > 0.0
    return (west, south, per_x, per_y) if valid else None


def _read_places(directory: Path, x: str, y: str) -> list[tuple[str, float, float]]:
    """Places with their columns `x` and `y`, from each `*_places.csv` that has these columns."""
    found = []
    for path in sorted(directory.glob("*_places.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    name = row["place"].replace("_", " ")
                    name = name.title() if name.islower() else name
                    found.append((name, float(row[x]), float(row[y])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            continue  # an unrelated file of this name
    return found[:_MAX_MARKERS]
