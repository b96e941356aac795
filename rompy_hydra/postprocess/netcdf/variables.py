"""Which variables of ocean models' netCDF files are the water level and the bed level."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

import xarray as xr

from rompy_hydra.postprocess.netcdf.conventions import canonical_name, spatial_dims, time_dimension

_LEVELS = ["stage", "zs", "zsmax", "s1", "eta", "zeta", "zeta_max", "water_level", "waterlevel", "wlv"]
_LEVELS += ["ssh", "zos", "sea_surface_height", "elev", "maxele", "elevation"]
_WAVES = ["hs", "hsig", "hsign", "significant_wave_height", "swh", "vhm0", "hm0", "h_mean"]
# The default variable of a map is the first of these that exists.
_PREFERRED = [*_LEVELS, *_WAVES]

_BEDS = ["elevation", "zb", "topography", "topo", "topobathy", "flowelem_bl", "bed_level", "bedlevel"]
_BEDS += ["bed_elevation", "bed", "node_z", "bathymetry", "bathy", "depth", "h"]
_STANDARD_LEVEL = re.compile("(sea|water)_surface_(height|elevation)")
_STANDARD_BED = re.compile("sea_floor_depth|(surface|bedrock)_altitude|^altitude$")
# Depths in most models, elevations in some.
_AMBIGUOUS = {"bathymetry", "bathy", "depth", "h"}


def is_water_level(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable is the water level, which on dry land is that of the land."""
    variable = dataset.variables[name]
    if canonical_name(name) == "elevation":
        # The water level in SCHISM, the bed level in ANUGA.
        varies = time_dimension(dataset, variable) is not None
        return varies and not any(canonical_name(str(other)) in _LEVELS[:-1] for other in dataset.variables)
    standard = str(variable.attrs.get("standard_name", ""))
    return canonical_name(name) in _LEVELS or bool(_STANDARD_LEVEL.search(standard))


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
    return None if canonical_name(name) in _AMBIGUOUS else False


def _numeric_variables(dataset: xr.Dataset, dims: set[Hashable] | None = None) -> Iterator[str]:
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iuf" and (dims is None or set(variable.dims) == dims):
            yield str(name)
