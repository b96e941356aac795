"""The role of the variables in ocean models' netCDF files: coordinates, meshes, units, water and bed level.

Attributes of the CF and UGRID conventions take precedence over the names that models use.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence

import xarray as xr

from rompy_hydra.postprocess.directions import full_circle, has_unknown_units

_CONNECTIVITY = {"volumes", "tri", "triangles", "element", "elements", "nv", "face_nodes"}
_AXES = {
    "lon": re.compile(r"x?lon(g|gitude)?(_\w+)?|nav_lon"),
    "lat": re.compile(r"x?lat(itude)?(_\w+)?|nav_lat"),
    "x": re.compile(r"(x|xc|xp|global_?x|easting|projection_x_coordinate)|(x|node|face)_(x|rho)"),
    "y": re.compile(r"(y|yc|yp|global_?y|northing|projection_y_coordinate)|(y|node|face)_(y|rho)"),
    "time": re.compile("time|times|ocean_time"),
}
# ANUGA does not write units.
_ANUGA_UNITS = dict.fromkeys(["x", "y", "stage", "elevation", "height"], "m")
_ANUGA_UNITS |= dict.fromkeys(["xmomentum", "ymomentum"], "m2 s-1")
_ANUGA_UNITS |= dict.fromkeys(["xvelocity", "yvelocity"], "m s-1") | {"friction": "s m-1/3"}
_LEVELS = ["stage", "zs", "zsmax", "s1", "eta", "zeta", "zeta_max", "water_level", "waterlevel", "wlv"]
_LEVELS += ["ssh", "zos", "sea_surface_height", "elev", "maxele", "elevation"]
# The default variable of a map is the first of these that exists.
_PREFERRED = [*_LEVELS, "hs", "hsig", "hsign", "significant_wave_height", "swh", "vhm0", "hm0", "h_mean"]
_BEDS = ["elevation", "zb", "topography", "topo", "topobathy", "flowelem_bl", "bed_level", "bedlevel"]
_BEDS += ["bed_elevation", "bed", "node_z", "bathymetry", "bathy", "depth", "h"]
_LAYERS = re.compile(
    r"(n_?)?(vert(ical)?\w*|lay(er)?s?|laydim|lev(el)?s?|sigma|sig(lay|lev)|s_(rho|w|r)|z(_?[cwtuvfl])?|[kz]max|olevel|plev"
    r"|depth[tuvw]?|(mesh2d_)?n?(layers|interfaces)|\w*(vgrid_layers|_z)|bottom_top(_stag)?|height|n_?vrt|wdim)"
)
# No direction on a map: the nodes and faces of a mesh, spectral bins, stations.
_NO_AXIS = re.compile(
    r"(?![xyij]_?(cell|point))\w*(node|face|edge|elem|element|ele|side|vertex|vertices|volumes?|cells?|points?)s?\d*d?|ncells?|npoints?"
    r"|(n_?)?(freq|dir|frequenc|direction|theta|spectr)\w*|\w*stations?|\w*gauges?|\w*(string|char|strlen)\w*"
)
_STANDARD_LEVEL = re.compile("(sea|water)_surface_(height|elevation)")
_STANDARD_BED = re.compile("sea_floor_depth|(surface|bedrock)_altitude|^altitude$")


def is_anuga(dataset: xr.Dataset) -> bool:
    """Whether this is an ANUGA .sww file, or has its structure."""
    return {"volumes", "x", "y"} <= set(dataset.variables) and "number_of_points" in dataset.dims


def canonical_name(name: str) -> str:
    """A variable's name in lower case, without the prefix of a mesh or the suffix of ANUGA's centroids."""
    return re.sub(r"^(mesh2d|schism_hgrid)_|(?<=\w)_c$", "", name.lower())


def centroid_name(dataset: xr.Dataset, name: str) -> str:
    """ANUGA's variable `name_c`, computed at the centroids of its triangles, if there is one; else `name`.

    ANUGA smooths `name` from it.
    """
    return f"{name}_c" if is_anuga(dataset) and f"{name}_c" in dataset.variables else name


def is_at_centroids(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable holds centroid values of ANUGA, in addition to a smoothed variable."""
    plain = name.removesuffix("_c")
    return plain != name and plain in dataset.variables and centroid_name(dataset, plain) == name


def units(dataset: xr.Dataset, name: str) -> str:
    """The units of a variable, `""` if it has none or they are unknown."""
    found = str(dataset.variables[name].attrs.get("units", "")).strip()
    if not found and is_anuga(dataset):
        found = _ANUGA_UNITS.get(canonical_name(name), "")
    return "" if found.lower() in {"1", "-", "none", "dimensionless"} else found


def circle(dataset: xr.Dataset, name: str) -> float | None:
    """The value of a full circle if a variable is a direction, 360 or 2π in radians; else None."""
    attrs = dataset.variables[name].attrs
    if axis(name, attrs) in {"lon", "lat", "time"}:
        return None
    return full_circle(name, *(str(attrs.get(key, "")) for key in ("units", "standard_name", "long_name")))


def unclear_direction(dataset: xr.Dataset, name: str) -> str:
    """What to know of a variable that is a direction by its name, but in unknown units; '' otherwise."""
    attrs = dataset.variables[name].attrs
    unit = str(attrs.get("units", ""))
    if axis(name, attrs) or not has_unknown_units(name, unit, str(attrs.get("standard_name", ""))):
        return ""
    return f"{name} may be a direction, but its units '{unit}' are unknown: its mean is not circular"


def axis(name: str, attrs: Mapping[str, object]) -> str:
    """Which coordinate a variable is: `lon`, `lat`, `x`, `y`, `time`, or `""` for none of these."""
    unit = str(attrs.get("units", "")).lower()
    if " since " in unit:
        return "time"
    if found := re.fullmatch(r"degrees?_?([en])(ast|orth)?", unit):
        return "lon" if found[1] == "e" else "lat"
    if standard := _axis_by_name(str(attrs.get("standard_name", ""))):
        return standard
    if (letter := str(attrs.get("axis", "")).lower()) in {"x", "y", "t"}:
        return "time" if letter == "t" else letter
    kind = _axis_by_name(canonical_name(name))
    is_angle = not unit or unit.startswith(("deg", "rad"))
    return kind if is_angle or kind not in {"lon", "lat"} else ""


def _axis_by_name(name: str) -> str:
    return next((kind for kind, names in _AXES.items() if names.fullmatch(name)), "")


def is_auxiliary(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable only describes the others: coordinates, time, bounds, mesh connectivity."""
    variable = dataset.variables[name]
    return bool(
        name in dataset.coords
        or axis(name, variable.attrs)
        or {"cf_role", "grid_mapping_name"} & set(variable.attrs)
        or canonical_name(name) in _CONNECTIVITY
        or any(name == str(other.attrs.get("bounds")) for other in dataset.variables.values())
        or (is_anuga(dataset) and "numbers_in_range" in variable.dims)
    )


def time_dimension(dataset: xr.Dataset, variable: xr.Variable) -> str | None:
    """The time dimension of a variable, if it has one."""
    for dim in map(str, variable.dims):
        attrs = dataset.variables[dim].attrs if dim in dataset.variables else {}
        if "time" in dim.lower() or dim.lower() in {"t", "nt"} or axis(dim, attrs) == "time":
            return dim
    return None


def spatial_dims(dataset: xr.Dataset, variable: xr.Variable) -> tuple[str, ...]:
    """The dimensions of a variable without time, and without those of size 1."""
    time = time_dimension(dataset, variable)
    return tuple(str(dim) for dim, size in variable.sizes.items() if dim != time and size > 1)


def is_vertical(dataset: xr.Dataset, dim: str) -> bool:
    """Whether a dimension counts layers or levels."""
    attrs = dataset.variables[dim].attrs if dim in dataset.variables else {}
    if str(attrs.get("axis", "")).lower() == "z" or str(attrs.get("positive", "")).lower() in {
        "up",
        "down",
    }:
        return True
    return bool(_LAYERS.fullmatch(dim.lower())) and not axis(dim, attrs)


def may_span_picture(dims: Sequence[str]) -> bool:
    """Whether two dimensions without coordinates can be the rows and columns of a map."""
    return not any(_NO_AXIS.fullmatch(dim.lower()) for dim in dims)


def coordinates(dataset: xr.Dataset, dims: Sequence[str]) -> tuple[str, str] | None:
    """The names of the x and y coordinates on these dimensions of a grid or mesh, longitudes preferred."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {kind: [] for kind in _AXES}
    for name, variable in dataset.variables.items():
        kind, own_dims = axis(str(name), variable.attrs), spatial_dims(dataset, variable)
        if kind and own_dims and set(own_dims) <= set(dims) and variable.dtype.kind in "iuf":
            found[kind].append((str(name), own_dims))
    for x_kind, y_kind in (("lon", "lat"), ("x", "y")):
        for x, x_dims in sorted(found[x_kind], key=lambda each: len(each[1])):
            for y, y_dims in found[y_kind]:
                if set(x_dims) | set(y_dims) == set(dims) and len(x_dims) == len(y_dims):
                    return x, y
    return None


def connectivity(dataset: xr.Dataset) -> tuple[str, tuple[str, ...]] | None:
    """The variable with the corners of a mesh's faces, and the node coordinates if the file names them."""
    for variable in dataset.variables.values():
        faces = str(variable.attrs.get("face_node_connectivity", ""))
        if variable.attrs.get("cf_role") == "mesh_topology" and faces in dataset.variables:
            return faces, tuple(str(variable.attrs.get("node_coordinates", "")).split())
    for name, variable in dataset.variables.items():
        found = variable.attrs.get("cf_role") == "face_node_connectivity"
        found |= canonical_name(str(name)) in _CONNECTIVITY
        if found and variable.ndim == 2 and variable.sizes[corner_and_face_dims(variable)[0]] >= 3:
            return str(name), ()
    return None


def corner_and_face_dims(faces: xr.Variable) -> tuple[str, str]:
    """The corner and the face dimension of a connectivity variable; a few models swap them."""
    first, last = map(str, faces.dims)
    swapped = faces.shape[0] in (3, 4) and faces.shape[1] > 8
    return (first, last) if swapped else (last, first)


def is_water_level(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable is the water level, which on dry land is that of the land."""
    variable = dataset.variables[name]
    if canonical_name(name) == "elevation":
        # The water level in SCHISM, the bed level in ANUGA.
        varies = time_dimension(dataset, variable) is not None
        return varies and not any(canonical_name(str(other)) in _LEVELS[:-1] for other in dataset.variables)
    standard = str(variable.attrs.get("standard_name", ""))
    return canonical_name(name) in _LEVELS or bool(_STANDARD_LEVEL.search(standard))


def kind(dataset: xr.Dataset, name: str) -> str:
    """What a variable is, for its colours: `depth`, `temperature`, `salinity`, `speed`, else `""`."""
    attrs = dataset.variables[name].attrs
    words = re.split(r"[_\W]+", f"{canonical_name(name)} {attrs.get('standard_name', '')}".lower())
    kinds = {
        "depth": {"depth", "bathymetry", "bathy", "dpt", "botlev"},
        "temperature": {"temperature", "temp", "sst", "thetao", "votemper"},
        "salinity": {"salinity", "salt", "sss", "so", "vosaline"},
        "speed": {"speed", "magnitude", "umag", "wndspd", "curspd", "windspeed"},
    }
    return next((each for each, names in kinds.items() if names & set(words)), "")


def water_level(dataset: xr.Dataset, name: str) -> str | None:
    """The water level on the same dimensions as the variable `name`, possibly `name` itself."""
    if is_water_level(dataset, name):
        return name
    dims = set(dataset.variables[name].dims)
    return next((n for n in _numeric_variables(dataset, dims) if is_water_level(dataset, n)), None)


def map_rank(dataset: xr.Dataset, name: str) -> int:
    """The rank of a variable when a map chooses one; the water level comes first."""
    short, standard = canonical_name(name), str(dataset.variables[name].attrs.get("standard_name", ""))
    if short in _PREFERRED and (short != "elevation" or is_water_level(dataset, name)):
        return _PREFERRED.index(short)
    if _STANDARD_LEVEL.search(standard):
        return len(_LEVELS)
    return len(_PREFERRED) + (standard != "sea_surface_wave_significant_height")


def bed(dataset: xr.Dataset, dims: Sequence[str]) -> str | None:
    """The variable with the elevation or the depth of the bed on these spatial dimensions."""
    ranked: list[tuple[int, str]] = []
    for name in _numeric_variables(dataset):
        variable = dataset.variables[name]
        if set(spatial_dims(dataset, variable)) != set(dims) or is_water_level(dataset, name):
            continue
        # A depth that varies over time is the water depth below the surface.
        varies = name.lower() in {"depth", "h"} and time_dimension(dataset, variable) is not None
        if _STANDARD_BED.search(str(variable.attrs.get("standard_name", ""))):
            ranked.append((-1, name))
        elif canonical_name(name) in _BEDS and name != "H" and not varies:
            ranked.append((_BEDS.index(canonical_name(name)), name))
    return min(ranked)[1] if ranked else None


def is_depth(dataset: xr.Dataset, name: str) -> bool | None:
    """Whether a bed variable is a depth, positive downward, or an elevation; None if unknown."""
    attrs = dataset.variables[name].attrs
    positive, standard = str(attrs.get("positive", "")).lower(), str(attrs.get("standard_name", ""))
    if positive in {"up", "down"}:
        return positive == "down"
    if _STANDARD_BED.search(standard):
        return "depth" in standard
    # Depths in most models, elevations in some.
    return None if canonical_name(name) in {"bathymetry", "bathy", "depth", "h"} else False


def _numeric_variables(dataset: xr.Dataset, dims: set[Hashable] | None = None) -> Iterator[str]:
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iuf" and (dims is None or set(variable.dims) == dims):
            yield str(name)
