"""Output files as real models write them, on a coast of the same shape: SWAN, SCHISM, WAVEWATCH III."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial import Delaunay

# Beyond this distance from the southern edge it is land, in degrees of latitude, by longitude.
WEST, EAST, SOUTH, NORTH = 150.0, 152.0, -34.0, -33.0


def coast(x: np.ndarray) -> np.ndarray:
    """The latitude of the coast at each longitude; land is in the north."""
    return -33.35 + 0.12 * np.sin(4.0 * x) + 0.04 * np.sin(13.0 * x)


def swan(
    path: Path,
    start: str = "2020-01-01",
    hours: int = 6,
    columns: slice = slice(None),
    step: float = 0.02,
    raised: float = 0.0,
) -> xr.Dataset:
    """A regular grid with waves and their directions, NaN on land, and depth."""
    lon = np.arange(WEST, EAST + step / 2, step)[columns]
    lat = np.arange(SOUTH, NORTH + step / 2, step)
    x, y = np.meshgrid(lon, lat)
    sea = y < coast(x)
    times = pd.date_range(start, periods=hours, freq="h")
    age = np.asarray((times - pd.Timestamp("2020-01-01")) / pd.Timedelta("1h"))[:, None, None]
    height = 1.0 + raised + 0.01 * age + (y - SOUTH) + 0.3 * np.sin(3 * x + 0.1 * age)
    toward = (350.0 + 25.0 * np.sin(5 * x + 0.3 * age)) % 360.0
    dims = ("time", "latitude", "longitude")
    data = xr.Dataset(
        {
            "hs": (
                dims,
                np.where(sea, height, np.nan),
                {"units": "m", "long_name": "significant wave height"},
            ),
            "theta0": (
                dims,
                np.where(sea, toward, np.nan),
                {
                    "units": "degrees",
                    "standard_name": "sea_surface_wave_from_direction",
                    "long_name": "mean wave direction",
                },
            ),
            "depth": (dims[1:], (coast(x) - y) * 100.0, {"units": "m", "positive": "down"}),
        },
        coords={
            "time": times,
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(path, encoding={"time": {"units": "hours since 1990-01-01"}})
    return data


def mesh(cells: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and triangles that cover the sea, coarser in the south: x, y, triangles from 0."""
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.linspace(WEST, EAST, cells), np.linspace(SOUTH, NORTH, cells // 2))
    jitter = rng.uniform(-0.2, 0.2, (2, *x.shape)) * (EAST - WEST) / cells
    inner = (x > WEST) & (x < EAST) & (y > SOUTH) & (y < NORTH)
    x, y = x + np.where(inner, jitter[0], 0.0), y + np.where(inner, jitter[1], 0.0)
    x, y = x.ravel(), y.ravel()
    sea = y < coast(x)
    x, y = x[sea], y[sea]
    triangles = Delaunay(np.column_stack([x, y])).simplices
    centre_x, centre_y = x[triangles].mean(axis=1), y[triangles].mean(axis=1)
    ends = np.stack([x[triangles], np.roll(x[triangles], 1, axis=1)])
    short = np.ptp(ends, axis=0).max(axis=1) < 4.0 * (EAST - WEST) / cells
    triangles = triangles[(centre_y < coast(centre_x)) & short]
    used = np.unique(triangles)
    number = np.full(len(x), -1)
    number[used] = np.arange(len(used))
    return x[used], y[used], number[triangles]


def schism(
    path: Path,
    start: str = "2020-01-01",
    hours: int = 3,
    faces: np.ndarray | None = None,
    layers: int = 0,
    with_mesh: bool = True,
) -> xr.Dataset:
    """UGRID with nodes from 1: elevation, and salinity in layers. `faces` are the elements of a process."""
    x, y, triangles = mesh()
    triangles = triangles if faces is None else triangles[faces]
    used, triangles = np.unique(triangles, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    x, y = x[used], y[used]
    times = np.arange(1, hours + 1) * 3600.0
    base = pd.Timestamp(start)
    node, levels = "nSCHISM_hgrid_node", "nSCHISM_vgrid_layers"
    age = ((base - pd.Timestamp("2020-01-01")).total_seconds() + times)[:, None] / 3600.0
    level = 0.5 * np.sin(2.0 * x + 0.2 * age) + 0.1 * y
    data = xr.Dataset(
        {"elevation": (("time", node), level)},
        coords={"time": ("time", times, {"units": f"seconds since {base:%Y-%m-%d %H:%M:%S} +0000"})},
    )
    if layers:
        depths = np.arange(layers)
        salt = 30.0 + depths + 0.0 * level[:, :, None]
        data["salinity"] = (("time", node, levels), salt, {"units": "psu", "i23d": 2})
    if with_mesh:
        data["depth"] = ((node,), 20.0 + 0.0 * x)
        data["SCHISM_hgrid_node_x"] = ((node,), x, {"units": "degrees_east"})
        data["SCHISM_hgrid_node_y"] = ((node,), y, {"units": "degrees_north"})
        data["SCHISM_hgrid_face_nodes"] = (
            ("nSCHISM_hgrid_face", "nMaxSCHISM_hgrid_face_nodes"),
            (triangles + 1).astype("i4"),
            {"start_index": np.int32(1), "cf_role": "face_node_connectivity"},
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(path)
    return data
