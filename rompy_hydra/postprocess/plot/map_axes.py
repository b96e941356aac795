"""Where on a map a field lies: its axes with their units, and the places marked on it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import Field
from rompy_hydra.postprocess.netcdf.reading import Place

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.postprocess.netcdf.dataset import Floats

_METRE = {"m", "meter", "metre", "meters", "metres"}
_KM_FROM = 20_000.0  # m; a map wider than that has its axes in km
_MOST_MARKS = 30  # more would cover the map


@dataclass(frozen=True)
class Plane:
    """A field with its coordinates as the axes show them: in degrees, or in what the labels tell."""

    field: Field
    x_label: str
    y_label: str
    degrees: bool = False
    # Name, x, y.
    marks: Sequence[tuple[str, float, float]] = ()


def lay_out(dataset: xr.Dataset, place: Place, field: Field, directory: Path) -> Plane:
    """Longitude and latitude where they are known, else metres, kilometres or what the file says.

    Two optional files in `directory` add what ANUGA's own cannot tell. `grid.json` says how metres
    map to degrees: `origin_longitude_degrees_east`, `origin_latitude_degrees_north`,
    `metres_per_degree_longitude`, `metres_per_degree_latitude`. `*_places.csv` names places to mark in
    the column `place`, with `x_m` and `y_m`, or `longitude_degrees_east` and `latitude_degrees_north`.
    """
    if place.x is None or place.y is None:
        return Plane(field, place.dims[1], place.dims[0])
    x, y = dataset.variables[place.x], dataset.variables[place.y]
    if (cv.axis(place.x, x.attrs), cv.axis(place.y, y.attrs)) == ("lon", "lat"):
        marks = _places(directory, "longitude_degrees_east", "latitude_degrees_north")
        return Plane(replace(field, x=_unwrapped(field.x)), "longitude", "latitude", True, marks)
    units = [cv.units(dataset, place.x), cv.units(dataset, place.y)]
    if cv.is_anuga(dataset):
        east, north = (float(dataset.attrs.get(key, 0.0)) for key in ("xllcorner", "yllcorner"))
        return _in_metres(replace(field, x=field.x + east, y=field.y + north), directory)
    if set(units) <= _METRE:
        return _in_metres(field, directory)
    names = (place.x, place.y)
    labels = [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]
    return Plane(field, labels[0], labels[1])


def _in_metres(field: Field, directory: Path) -> Plane:
    earth = _degrees(directory)
    begin, per_unit, labels = (0.0, 0.0), (1.0, 1.0), ("x (m)", "y (m)")
    if earth is not None:
        begin, per_unit, labels = earth[:2], earth[2:], ("longitude", "latitude")
    elif max(float(each.max() - each.min()) for each in (field.x, field.y)) > _KM_FROM:
        per_unit, labels = (1000.0, 1000.0), ("x (km)", "y (km)")
    marks = [
        (name, begin[0] + x / per_unit[0], begin[1] + y / per_unit[1])
        for name, x, y in _places(directory, "x_m", "y_m")
    ]
    x, y = begin[0] + field.x / per_unit[0], begin[1] + field.y / per_unit[1]
    return Plane(replace(field, x=x, y=y), *labels, earth is not None, marks)


def _unwrapped(longitudes: Floats) -> Floats:
    """Longitudes of a grid without the jump from 180 to -180."""
    import numpy as np

    return np.unwrap(longitudes, period=360.0) if longitudes.ndim == 1 else longitudes


def _degrees(directory: Path) -> tuple[float, float, float, float] | None:
    """Longitude and latitude of the origin, and the metres that a degree of each has."""
    try:
        told = json.loads((directory / "grid.json").read_text(encoding="utf-8"))
        earth = (
            float(told["origin_longitude_degrees_east"]),
            float(told["origin_latitude_degrees_north"]),
            float(told["metres_per_degree_longitude"]),
            float(told["metres_per_degree_latitude"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # another file of this name
    return earth if all(map(math.isfinite, earth)) and min(earth[2:]) > 0.0 else None


def _places(directory: Path, x: str, y: str) -> list[tuple[str, float, float]]:
    """The places with their columns `x` and `y`, of each `*_places.csv` that has these."""
    found = []
    for path in sorted(directory.glob("*_places.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    name = row["place"].replace("_", " ")
                    name = name.title() if name.islower() else name
                    found.append((name, float(row[x]), float(row[y])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            continue  # another file of this name
    return found[:_MOST_MARKS]
