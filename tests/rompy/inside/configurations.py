"""Configurations of rompy's packages as plain data, with the files that they read."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rompy.inside.conftest import SWAN

# A square of two triangles with an open and a land boundary.
GRID = """\
square
2 4
1 150.0 -35.0 10.0
2 151.0 -35.0 20.0
3 151.0 -34.0 30.0
4 150.0 -34.0 40.0
1 3 1 2 3
2 3 1 3 4
1 = Number of open boundaries
2 = Total number of open boundary nodes
2 = Number of nodes for open boundary 1
1
2
1 = Number of land boundaries
3 = Total number of land boundary nodes
3 0 = Number of nodes for land boundary 1
2
3
4
"""


def swan(_files: Path) -> dict[str, Any]:
    return {"model_type": "swan", **copy.deepcopy(SWAN)}


def swan_components(_files: Path) -> dict[str, Any]:
    return {"model_type": "swanconfig", **copy.deepcopy(SWAN)}


def swan_with_a_boundary(_files: Path) -> dict[str, Any]:
    shape = {"model_type": "shapespec", "shape": {"model_type": "jonswap", "gamma": 3.3}}
    side = {
        "model_type": "side", "location": {"side": "west", "direction": "ccw"},
        "data": {"model_type": "constantpar", "hs": 2.0, "per": 12.0, "dir": 255.0, "dd": 25.0},
    }  # fmt: skip
    physics = {**SWAN["physics"], "breaking": {"model_type": "constant", "alpha": 1.0, "gamma": 0.73}}
    boundary = {"model_type": "boundspec", "shapespec": shape, **{k: side[k] for k in ("location", "data")}}
    boundary["location"] = {"model_type": "side", **side["location"]}
    return {**swan(_files), "boundary": boundary, "physics": physics}


def schism(files: Path) -> dict[str, Any]:
    (files / "hgrid.gr3").write_text(GRID)
    hgrid = {"id": "hgrid", "model_type": "data_blob", "source": str(files / "hgrid.gr3")}
    core = {"dt": 150.0, "nspool": 24, "ihfskip": 1152}
    return {
        "model_type": "schism",
        "grid": {"grid_type": "schism", "hgrid": hgrid, "drag": 2.5e-3},
        "nml": {"param": {"core": core, "schout": {"iof_hydro__1": 1}}},
    }


def schism_with_waves(files: Path) -> dict[str, Any]:
    found = schism(files)
    found["grid"]["manning"] = found["grid"].pop("drag") * 8
    found["nml"]["param"]["opt"] = {"ihot": 0, "dramp": 1.0}
    return found


def xbeach(files: Path) -> dict[str, Any]:
    rows = [
        f"{115.58 + 0.002 * x:.4f},{-32.65 + 0.002 * y:.4f},{-10 + 0.1 * x}"
        for y in range(26)
        for x in range(31)
    ]
    (files / "bathy.csv").write_text("\n".join(["x,y,z", *rows]) + "\n")
    hours = [
        f"2023-01-{1 + h // 24:02}T{h % 24:02}:00:00,{2 + math.sin(h):.3f},12.0,250.0,3.3,20.0,{h},{5 - h}"
        for h in range(30)
    ]
    (files / "waves.csv").write_text("\n".join(["time,hs,tp,dir,gamma,spr,u,v", *hours]) + "\n")
    grid = {"alfa": 347.0, "dx": 50.0, "dy": 50.0, "nx": 20, "ny": 15, "crs": "EPSG:28350"}
    series = {"model_type": "csv", "filename": str(files / "waves.csv"), "tcol": "time"}
    bathy = {
        "model_type": "xyz", "filename": str(files / "bathy.csv"), "xcol": "x", "ycol": "y", "zcol": "z",
        "crs": 4326, "res": 0.002,
    }  # fmt: skip
    names = {"hm0": "hs", "tp": "tp", "mainang": "dir", "gammajsp": "gamma", "dspr": "spr"}
    wind = {"model_type": "wind_vector", "u": "u", "v": "v"}
    return {
        "model_type": "xbeach",
        "grid": {"model_type": "regular", "ori": {"x": 115.60, "y": -32.63, "crs": "EPSG:4326"}, **grid},
        "bathy": {"model_type": "xbeach_bathy", "source": bathy, "posdwn": False},
        "input": {
            "wave": {"model_type": "point_param_jons", "source": series, **names},
            "wind": {"model_type": "wind_point", "source": series, "wind_vars": wind},
        },
        "front": "abs_2d",
        "rugdepth": 0.011,
    }


def base(_files: Path) -> dict[str, Any]:
    return {"model_type": "base"}


CONFIGURATIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each
    for each in (base, swan, swan_components, swan_with_a_boundary, schism, schism_with_waves, xbeach)
}
