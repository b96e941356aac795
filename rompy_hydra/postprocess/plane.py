"""Where on a map a field lies: its axes with their units, and the places marked on it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rompy_hydra.postprocess import conventions as cv
from rompy_hydra.postprocess.field import Field, Place

if TYPE_CHECKING:
    import xarray as xr

_KM_FROM = 20_000.0  # m; a map wider than that has its axes in km
_MOST_MARKS = 30  # more would cover the map
_ORIGIN = ("origin_longitude_degrees_east", "origin_latitude_degrees_north")
_METRES = ("metres_per_degree_longitude", "metres_per_degree_latitude")


@dataclasses.dataclass(frozen=True)
class Plane:
    """A field with its coordinates as the axes show them: in degrees, or in units told by the labels."""

    field: Field
    x_label: str
    y_label: str
    degrees: bool = False
    # Name, x, y.
    marks: Sequence[tuple[str, float, float]] = ()


def lay_out(dataset: xr.Dataset, place: Place, field: Field, directory: Path) -> Plane:
    """Longitude and latitude where they are known, else metres, kilometres or what the file says.

    Two optional files in `directory` add what ANUGA's files cannot tell. `grid.json` says how metres
    map to degrees: `origin_longitude_degrees_east`, `origin_latitude_degrees_north`,
    `metres_per_degree_longitude`, `metres_per_degree_latitude`. `*_places.csv` names places to mark in
    the column `place`, with `x_m` and `y_m`, or `longitude_degrees_east` and `latitude_degrees_north`.
    """
    if place.x is None or place.y is None:
        return Plane(field, *reversed(place.dims))
    names = place.x, place.y
    kinds = [cv.axis(name, dataset.variables[name].attrs) for name in names]
    if kinds == ["lon", "lat"]:
        field = dataclasses.replace(field, x=_unwrapped(field))
        marks = _places(directory, "longitude_degrees_east", "latitude_degrees_north")
        return Plane(field, "longitude", "latitude", True, marks)
    units = [cv.units(dataset, name) for name in names]
    if cv.is_anuga(dataset):
        units = ["m", "m"]
        corner = [float(dataset.attrs.get(key, 0.0)) for key in ("xllcorner", "yllcorner")]
        field = dataclasses.replace(field, x=field.x + corner[0], y=field.y + corner[1])
    if units not in (["m", "m"], ["meter", "meter"], ["metre", "metre"]):
        labels = [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]
        return Plane(field, *labels)
    begin, per_unit = _degrees(directory) or ((0.0, 0.0), (1.0, 1.0))
    in_degrees = per_unit != (1.0, 1.0)
    if not in_degrees and max(float(v.max() - v.min()) for v in (field.x, field.y)) > _KM_FROM:
        per_unit = (1000.0, 1000.0)
    labels = ["x (km)", "y (km)"] if per_unit[0] == 1000.0 else ["x (m)", "y (m)"]
    marks = [
        (name, begin[0] + x / per_unit[0], begin[1] + y / per_unit[1])
        for name, x, y in _places(directory, "x_m", "y_m")
    ]
    x, y = begin[0] + field.x / per_unit[0], begin[1] + field.y / per_unit[1]
    field = dataclasses.replace(field, x=x, y=y)
    if in_degrees:
        labels = ["longitude", "latitude"]
    return Plane(field, *labels, in_degrees, marks)
