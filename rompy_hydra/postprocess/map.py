"""The postprocessor that draws a map of one variable."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field as Setting
from pydantic import FiniteFloat, model_validator

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess import conventions as cv
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.drawing import Style, picture
from rompy_hydra.postprocess.field import Field, Place, Statistic, load, locate
from rompy_hydra.postprocess.netcdf import opened
from rompy_hydra.postprocess.outputs import NETCDF, Glob, output_names, some, suffix
from rompy_hydra.postprocess.places import degrees, places
from rompy_hydra.workspace import Workspace, write_atomic

if TYPE_CHECKING:
    import xarray as xr

_WORDS = {"max": "maximum", "min": "minimum", "mean": "mean", "last": "last", "first": "first"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_KM_FROM = 20_000.0  # m; maps wider than that have their axes in km


class MapPostprocessor(BasePostprocessor):
    """Draws `map-VARIABLE.png` of a variable on a grid or a triangular mesh, reduced over time.

    Without `file` and `variable` it takes the first netCDF output that has a variable over the plane,
    and there the water level, else the significant wave height, else the first that there is. The
    coast is the zero contour of the bed, where the file has the bed. Where it also has the water level,
    what has less than `dry_depth` of water counts as land. A `statistic` other than `max` goes into the
    picture's name: `map-VARIABLE-mean.png`.
    """

    name: ClassVar[str] = "map"

    # Which netCDF output, a path or glob inside the run directory.
    file: Glob | None = None
    variable: str | None = None
    # Over time.
    statistic: Statistic = "max"
    # Written at the colour bar instead of those in the file.
    units: str | None = None
    # Ends of the colour bar; by default robust ones, symmetric about 0 where both signs occur.
    vmin: FiniteFloat | None = None
    vmax: FiniteFloat | None = None
    # A name that matplotlib knows; by default viridis, or RdBu_r where both signs occur.
    colormap: str | None = None
    # Inch; the height follows from the map.
    width: float = Setting(default=8.0, ge=2, le=40)
    # Dots per inch.
    dpi: int = Setting(default=150, ge=20, le=1200)
    # Water shallower than this is no water, m; None: draw the values as they are stored.
    dry_depth: FiniteFloat | None = Setting(default=0.01, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.vmin is not None and self.vmax is not None and self.vmin >= self.vmax:
            raise ValueError(f"vmin ({self.vmin:g}) must be less than vmax ({self.vmax:g})")
        return self

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class; the answer's `plots` has the picture's path.

        Raises PostprocessError if there is nothing to map, if the variable or the colour map does not
        exist, or if a file cannot be read.
        """
        workspace = outputs_of(model_run)
        return self.with_settings(settings)._map(model_run.run_id, workspace)

    def _map(self, run_id: str, workspace: Workspace) -> Results:
        if not workspace.path.is_dir():
            return {
                "success": False,
                "message": f"Output directory not found: {workspace.path}",
                "run_id": run_id,
            }
        self._check_colormap(workspace)
        names = output_names(workspace, [self.file] if self.file else [])
        files = [name for name in names if suffix(name) in NETCDF or name == self.file]
        if not files:
            raise PostprocessError(
                f"nothing to map in {workspace.path}: a map needs a netCDF output with a variable over "
                f"the plane, and the outputs are {some(names)}. Choose processor=summary for tables"
            )
        seen: dict[str, str] = {}
        for file in files:
            with opened(workspace.path / file) as groups:
                for dataset in groups.values():
                    seen |= {name: file for name in mappable(dataset)}
                    chosen = self._choose(dataset, file)
                    if chosen is not None:
                        return self._draw(run_id, workspace, file, dataset, *chosen)
        looked = f"{workspace.path} ({some(files)})"
        if not seen:
            raise PostprocessError(
                f"nothing to map in {looked}: no variable lies over the plane, that is on two dimensions "
                "of a grid, or on one of a mesh whose triangles are told, and perhaps on time"
            )
        raise PostprocessError(
            f"no variable '{self.variable}' to map in {looked}. {closest(str(self.variable), seen)} "
            "Set it with processor.variable"
        )

    def _check_colormap(self, workspace: Workspace) -> None:
        try:
            from matplotlib import colormaps
        except ImportError as error:
            raise PostprocessError(
                f"a map of {workspace.path} needs matplotlib ({error}): "
                "pip install 'rompy-hydra[analysis]'"
            ) from error
        if self.colormap is not None and self.colormap not in colormaps:
            near = difflib.get_close_matches(self.colormap, colormaps, n=3, cutoff=0.5)
            raise PostprocessError(
                f"matplotlib has no colour map '{self.colormap}' (processor.colormap). "
                f"Did you mean {' or '.join(near or ['viridis', 'RdBu_r'])}?"
            )

    def _choose(self, dataset: xr.Dataset, file: str) -> tuple[str, Place] | None:
        if self.variable is None:
            ranked = sorted(mappable(dataset).items(), key=lambda item: cv.rank(dataset, item[0]))
            return ranked[0] if ranked else None
        if self.variable not in dataset.variables:
            return None
        place = locate(dataset, self.variable)
        if place is None:
            dims = ", ".join(f"{dim}: {n}" for dim, n in dataset.variables[self.variable].sizes.items())
            raise PostprocessError(
                f"the variable '{self.variable}' of {file} has no map: its dimensions are ({dims}), and "
                "a map needs two of a grid, or one of a mesh, and perhaps time. "
                f"Variables with a map: {some(mappable(dataset))}"
            )
        return self.variable, place

    def _draw(
        self,
        run_id: str,
        workspace: Workspace,
        file: str,
        dataset: xr.Dataset,
        variable: str,
        place: Place,
    ) -> Results:
        stored = variable
        if self.dry_depth is not None and cv.as_computed(dataset, variable) != variable:
            stored = cv.as_computed(dataset, variable)
            place = locate(dataset, stored) or place
        field = load(dataset, stored, place, self.statistic, self.dry_depth)
        if not has_values(field):
            raise PostprocessError(
                f"the variable '{variable}' of {file} in {workspace.path} has no value to draw: all are "
                "missing or dry"
            )
        unit = self.units if self.units is not None else cv.units(dataset, variable)
        words = f"{_WORDS[self.statistic]} " if field.steps else ""
        told = str(dataset.variables[variable].attrs.get("long_name", "")) or variable.replace("_", " ")
        steps = f"{words}over {field.steps} time steps" if field.steps > 1 else ""
        if self.statistic in {"first", "last"} and field.steps > 1:
            steps = f"{words}of {field.steps} time steps"
        style = Style(
            title=run_id,
            subtitle=", ".join(filter(None, [f"{file}: {variable}", steps])),
            quantity=f"{words}{told}" + (f" ({superscripts(unit)})" if unit else ""),
            **placed(field, dataset, place, workspace, file),
            **self.model_dump(include={"vmin", "vmax", "colormap", "width", "dpi"}),
        )
        facts = {"run_id": run_id, "variable": variable, "statistic": self.statistic, "units": unit}
        metadata = {"Title": f"{variable} of {run_id}", "Software": "rompy_hydra", "Source": file, **facts}
        target = workspace.path / picture_name(variable, self.statistic)
        png = picture(style.field, style, metadata)
        write_atomic(target, png)
        return {
            "success": True,
            "message": f"map of the {words}{variable} of {file}: {target.name}",
            **facts,
            "plots": [str(target)],
        }
