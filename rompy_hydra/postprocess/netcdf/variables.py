"""Which variables of ocean models' netCDF files are the level of the water, and the bed below it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from rompy_hydra.postprocess.netcdf.conventions import canonical, space, time_dimension

if TYPE_CHECKING:
    import xarray as xr

_LEVELS = [
    "stage",
    "zs",
    "zsmax",
    "s1",
    "eta",
    "zeta",
    "zeta_max",
    "water_level",
    "waterlevel",
    "wlv",
    "ssh",
    "zos",
    "sea_surface_height",
    "elev",
    "maxele",
    "elevation",
]
_WAVES = ["hs", "hsig", "hsign", "significant_wave_height", "swh", "vhm0", "hm0", "h_mean"]
# What `map` draws where no variable is asked for: the first of these that there is.
PREFERRED = [*_LEVELS, *_WAVES]

_BEDS = [
    "elevation",
    "zb",
    "topography",
    "topo",
    "topobathy",
    "flowelem_bl",
    "bed_level",
    "bedlevel",
    "bed_elevation",
    "bed",
    "node_z",
    "bathymetry",
    "bathy",
    "depth",
    "h",
]
_STANDARD_LEVEL = re.compile("(sea|water)_surface_(height|elevation)")
_STANDARD_BED = re.compile("sea_floor_depth|(surface|bedrock)_altitude|^altitude$")
# Depths in most models, elevations in some.
_EITHER_WAY = {"bathymetry", "bathy", "depth", "h"}


def is_level(dataset: xr.Dataset, name: str) -> bool:
    """Whether a variable is the level of the water, which on dry land is that of the land."""
    variable = dataset.variables[name]
    if canonical(name) == "elevation":
        # The water's in SCHISM, the land's in ANUGA.
        moves = time_dimension(dataset, variable) is not None
        return moves and not any(canonical(str(other)) in _LEVELS[:-1] for other in dataset.variables)
    standard = str(variable.attrs.get("standard_name", ""))
    return canonical(name) in _LEVELS or bool(_STANDARD_LEVEL.search(standard))


def level(dataset: xr.Dataset, name: str) -> str | None:
    """The variable with the water level where and when `name` is, perhaps itself."""
    if is_level(dataset, name):
        return name
    dims = set(dataset.variables[name].dims)
    return next((n for n in _on(dataset, dims) if is_level(dataset, n)), None)


def rank(dataset: xr.Dataset, name: str) -> int:
    """The place of a variable among those that a map is drawn of, the water level first."""
    short, standard = canonical(name), str(dataset.variables[name].attrs.get("standard_name", ""))
    if short in PREFERRED and (short != "elevation" or is_level(dataset, name)):
        return PREFERRED.index(short)
    if _STANDARD_LEVEL.search(standard):
        return len(_LEVELS)
    return len(PREFERRED) + (standard != "sea_surface_wave_significant_height")


def bed(dataset: xr.Dataset, dims: Sequence[str]) -> str | None:
    """The variable with the elevation of the bed, or its depth, on dimensions of space."""
    ranked: list[tuple[int, str]] = []
    for name in _on(dataset):
        variable = dataset.variables[name]
        if set(space(dataset, variable)) != set(dims) or is_level(dataset, name):
            continue
        # A depth that changes with time is that of the water, from its surface.
        changes = name.lower() in {"depth", "h"} and time_dimension(dataset, variable) is not None
        if _STANDARD_BED.search(str(variable.attrs.get("standard_name", ""))):
            ranked.append((-1, name))
        elif canonical(name) in _BEDS and name != "H" and not changes:
            ranked.append((_BEDS.index(canonical(name)), name))
    return min(ranked)[1] if ranked else None


def is_depth(dataset: xr.Dataset, name: str) -> bool | None:
    """Whether a bed is told as a depth, positive downward, or as an elevation; None if neither is said."""
    attrs = dataset.variables[name].attrs
    told, standard = str(attrs.get("positive", "")).lower(), str(attrs.get("standard_name", ""))
    if told in {"up", "down"}:
        return told == "down"
    if _STANDARD_BED.search(standard):
        return "depth" in standard
    return None if canonical(name) in _EITHER_WAY else False


def _on(dataset: xr.Dataset, dims: set[Hashable] | None = None) -> Iterator[str]:
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iuf" and (dims is None or set(variable.dims) == dims):
            yield str(name)
