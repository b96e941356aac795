"""What the variables of ocean models' netCDF files are for: time, coordinates, meshes, units.

Attributes of the CF and UGRID conventions come first, then the names that models use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

_CONNECTIVITY = {"volumes", "tri", "triangles", "element", "elements", "nv", "face_nodes"}
_AXES = {
    "lon": re.compile(r"x?lon(g|gitude)?(_\w+)?|nav_lon"),
    "lat": re.compile(r"x?lat(itude)?(_\w+)?|nav_lat"),
    "x": re.compile(r"(x|xc|xp|global_?x|easting)|(x|node|face)_(x|rho)"),
    "y": re.compile(r"(y|yc|yp|global_?y|northing)|(y|node|face)_(y|rho)"),
    "time": re.compile("time|times|ocean_time"),
}
_STANDARD_AXES = {
    "longitude": "lon",
    "latitude": "lat",
    "projection_x_coordinate": "x",
    "projection_y_coordinate": "y",
    "time": "time",
}
# ANUGA writes no units.
_ANUGA_UNITS = {
    "x": "m",
    "y": "m",
    "stage": "m",
    "elevation": "m",
    "height": "m",
    "friction": "s m-1/3",
    "xmomentum": "m2 s-1",
    "ymomentum": "m2 s-1",
    "xvelocity": "m s-1",
    "yvelocity": "m s-1",
}


def is_anuga(dataset: xr.Dataset) -> bool:
    """Whether this is ANUGA's .sww, or of its shape."""
    return {"volumes", "x", "y"} <= set(dataset.variables) and "number_of_points" in dataset.dims


def canonical(name: str) -> str:
    """A variable's name in small letters, without what a mesh or a place of storage adds to it."""
    return re.sub(r"^(mesh2d|schism_hgrid)_|(?<=\w)_c$", "", name.lower())


def as_computed(dataset: xr.Dataset, name: str) -> str:
    """The variable that holds what ANUGA computed, in its triangles, where `name` is smoothed from it."""
    return f"{name}_c" if is_anuga(dataset) and f"{name}_c" in dataset.variables else name


def is_as_computed(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable is what ANUGA computed, of one that it also stores smoothed."""
    plain = name.removesuffix("_c")
    return plain != name and plain in dataset.variables and as_computed(dataset, plain) == name


def units(dataset: xr.Dataset, name: str) -> str:
    """The units of a variable, `""` if it has none or they are not known."""
    found = str(dataset.variables[name].attrs.get("units", "")).strip()
    if not found and is_anuga(dataset):
        found = _ANUGA_UNITS.get(canonical(name), "")
    return "" if found.lower() in {"1", "-", "none", "dimensionless"} else found


def axis(name: str, attrs: Mapping[str, object]) -> str:
    """Which coordinate a variable is: `lon`, `lat`, `x`, `y`, `time`, or `""` for none of these."""
    unit = str(attrs.get("units", "")).lower()
    if " since " in unit:
        return "time"
    if found := re.fullmatch(r"degrees?_?([en])(ast|orth)?", unit):
        return "lon" if found[1] == "e" else "lat"
    if standard := _STANDARD_AXES.get(str(attrs.get("standard_name", ""))):
        return standard
    if (letter := str(attrs.get("axis", "")).lower()) in {"x", "y", "t"}:
        return "time" if letter == "t" else letter
    kind = next((kind for kind, names in _AXES.items() if names.fullmatch(canonical(name))), "")
    of_angle = not unit or unit.startswith(("deg", "rad"))
    return kind if of_angle or kind not in {"lon", "lat"} else ""


def is_auxiliary(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable says where and when the others are: coordinates, time, bounds, meshes."""
    variable = dataset.variables[name]
    return bool(
        name in dataset.coords
        or axis(name, variable.attrs)
        or {"cf_role", "grid_mapping_name"} & set(variable.attrs)
        or canonical(name) in _CONNECTIVITY
        or any(name == str(other.attrs.get("bounds")) for other in dataset.variables.values())
        or (is_anuga(dataset) and "numbers_in_range" in variable.dims)
    )


def time_dimension(dataset: xr.Dataset, variable: xr.Variable) -> str | None:
    """The dimension of a variable along which time runs, if there is one."""
    for dim in map(str, variable.dims):
        along = dataset.variables.get(dim)
        if "time" in dim.lower() or dim.lower() in {"t", "nt"}:
            return dim
        if along is not None and axis(dim, along.attrs) == "time":
            return dim
    return None


def space(dataset: xr.Dataset, variable: xr.Variable) -> tuple[str, ...]:
    """The dimensions of a variable without time, and without those of size 1."""
    time = time_dimension(dataset, variable)
    return tuple(str(dim) for dim, size in variable.sizes.items() if dim != time and size > 1)


def coordinates(dataset: xr.Dataset, dims: Sequence[str]) -> tuple[str, str] | None:
    """The variables that hold x and y on these dimensions, of a grid or a mesh; longitudes go before."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {kind: [] for kind in _AXES}
    for name, variable in dataset.variables.items():
        kind, on = axis(str(name), variable.attrs), space(dataset, variable)
        if kind and on and set(on) <= set(dims) and variable.dtype.kind in "iuf":
            found[kind].append((str(name), on))
    for x_kind, y_kind in (("lon", "lat"), ("x", "y")):
        for x, x_on in sorted(found[x_kind], key=lambda each: len(each[1])):
            for y, y_on in found[y_kind]:
                if set(x_on) | set(y_on) == set(dims) and len(x_on) == len(y_on):
                    return x, y
    return None


def connectivity(dataset: xr.Dataset) -> tuple[str, tuple[str, ...]] | None:
    """The variable with the corners of a mesh's faces, and its nodes' coordinates where that is told."""
    for variable in dataset.variables.values():
        faces = str(variable.attrs.get("face_node_connectivity", ""))
        if variable.attrs.get("cf_role") == "mesh_topology" and faces in dataset.variables:
            return faces, tuple(str(variable.attrs.get("node_coordinates", "")).split())
    for name, variable in dataset.variables.items():
        told = variable.attrs.get("cf_role") == "face_node_connectivity"
        if variable.ndim != 2 or not (told or canonical(str(name)) in _CONNECTIVITY):
            continue
        if variable.sizes[corners_and_faces(variable)[0]] >= 3:
            return str(name), ()
    return None


def corners_and_faces(faces: xr.Variable) -> tuple[str, str]:
    """The two dimensions of the variable with the faces' corners; a few models turn them."""
    first, last = map(str, faces.dims)
    turned = faces.shape[0] in (3, 4) and faces.shape[1] > 8
    return (first, last) if turned else (last, first)
