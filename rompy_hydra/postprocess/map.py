"""The postprocessor that draws a map of one variable."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field as Setting
from pydantic import FiniteFloat, model_validator

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf import variables
from rompy_hydra.postprocess.netcdf.dataset import opened
from rompy_hydra.postprocess.netcdf.field import has_values
from rompy_hydra.postprocess.netcdf.reading import Place, Statistic, load, locate
from rompy_hydra.postprocess.outputs import NETCDF, Glob, output_names, some, suffix
from rompy_hydra.postprocess.plot.figure import Style, picture
from rompy_hydra.postprocess.plot.map_axes import lay_out
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.atomic import write_atomic

if TYPE_CHECKING:
    import xarray as xr

_WORDS = {"max": "maximum", "min": "minimum", "mean": "mean", "last": "last", "first": "first"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
            message = f"Output directory not found: {workspace.path}"
            return {"success": False, "message": message, "run_id": run_id}
        self._check_colormap()
        names = output_names(workspace, [self.file] if self.file else [])
        files = [name for name in names if suffix(name) in NETCDF or name == self.file]
        if not files:
            raise PostprocessError(
                f"nothing to map in {workspace.path}: a map needs a netCDF output with a variable over "
                f"the plane, and the outputs are {some(names)}. For tables choose processor=summary"
            )
        seen: list[str] = []
        for file in files:
            with opened(workspace.path / file) as groups:
                for dataset in groups.values():
                    seen += mappable(dataset)
                    variable = self._choose(dataset, file)
                    if variable is not None:
                        return self._draw(run_id, workspace, file, dataset, variable)
        if not seen:
            raise PostprocessError(
                f"nothing to map in {workspace.path} ({some(files)}): no variable lies over the plane, "
                "on two dimensions of a grid, or on one of a mesh that the file describes, besides time"
            )
        raise PostprocessError(
            f"{some(files)} in {workspace.path} has no variable '{self.variable}' (processor.variable). "
            f"{closest(str(self.variable), set(seen))}"
        )

    def _check_colormap(self) -> None:
        try:
            from matplotlib import colormaps
        except ImportError as error:
            raise PostprocessError(
                f"a map needs matplotlib ({error}): pip install 'rompy-hydra[analysis]'"
            ) from error
        if self.colormap is not None and self.colormap not in colormaps:
            near = difflib.get_close_matches(self.colormap, colormaps, n=3, cutoff=0.5)
            raise PostprocessError(
                f"matplotlib has no colour map '{self.colormap}' (processor.colormap). "
                f"Did you mean {' or '.join(near or ['viridis', 'RdBu_r'])}?"
            )

    def _choose(self, dataset: xr.Dataset, file: str) -> str | None:
        names = mappable(dataset)
        if self.variable is None or self.variable in names:
            return self.variable or next(iter(names), None)
        if self.variable in dataset.variables:
            sizes = dataset.variables[self.variable].sizes.items()
            raise PostprocessError(
                f"the variable '{self.variable}' of {file} ({', '.join(f'{d}: {n}' for d, n in sizes)}) "
                "does not lie over the plane: on two dimensions of a grid, or on one of a mesh that the "
                f"file describes, besides time. What does: {some(names)}"
            )
        return None

    def _draw(
        self, run_id: str, workspace: Workspace, file: str, dataset: xr.Dataset, variable: str
    ) -> Results:
        stored = variable if self.dry_depth is None else cv.as_computed(dataset, variable)
        place = locate(dataset, stored)
        assert place is not None, stored
        field = load(dataset, stored, place, self.statistic, self.dry_depth)
        if not has_values(field):
            raise PostprocessError(
                f"the variable '{variable}' of {file} in {workspace.path} has no value to draw: all are "
                "missing or dry"
            )
        unit = self.units if self.units is not None else cv.units(dataset, variable)
        facts = {"run_id": run_id, "variable": variable, "statistic": self.statistic, "units": unit}
        told = str(dataset.variables[variable].attrs.get("long_name") or variable.replace("_", " "))
        style = self._style(run_id, file, variable, told, unit, field.steps)
        plane = lay_out(dataset, place, field, (workspace.path / file).parent)
        metadata = {"Title": f"{variable} of {run_id}", "Software": "rompy_hydra", "Source": file, **facts}
        target = workspace.path / picture_name(variable, self.statistic)
        write_atomic(target, picture(plane, style, metadata))
        message = f"{target.name}: {style.subtitle}"
        return {"success": True, "message": message, **facts, "plots": [str(target)]}

    def _style(self, run_id: str, file: str, variable: str, told: str, unit: str, steps: int) -> Style:
        word = _WORDS[self.statistic]
        if not steps:
            before, after = "", ""
        elif self.statistic in {"first", "last"}:
            before, after = "", f", {word} of {steps} time steps"
        else:
            before, after = f"{word} ", f" over {steps} time steps"
        return Style(
            title=run_id,
            subtitle=f"{file}: {before}{variable}{after}",
            quantity=f"{before}{told}" + (f" ({superscripts(unit)})" if unit else ""),
            **self.model_dump(include={"vmin", "vmax", "colormap", "width", "dpi"}),
        )


def mappable(dataset: xr.Dataset) -> list[str]:
    """The variables that a map can be drawn of, the one that says most of a run first."""
    places: dict[str, Place] = {}
    for name in map(str, dataset.variables):
        place = locate(dataset, name)
        if place is not None:
            places[name] = place

    def order(name: str) -> tuple[int, bool, bool, bool]:
        still = cv.time_dimension(dataset, dataset.variables[name]) is None
        twin = cv.is_as_computed(dataset, name)
        return variables.rank(dataset, name), twin, places[name].x is None, still

    return sorted(places, key=order)


def picture_name(variable: str, statistic: Statistic) -> str:
    """The file name of a map."""
    part = "" if statistic == "max" else f"-{statistic}"
    return f"map-{variable.replace('/', '-')}{part}.png"


def superscripts(units: str) -> str:
    """Units with their exponents set as such.

    >>> superscripts("m2 s-1")
    'm² s⁻¹'
    """
    return re.sub(r"(?<=[A-Za-z])-?\d+(?!/?\d)", lambda found: found[0].translate(_SUPERSCRIPTS), units)
