"""The postprocessor that draws a map of one variable."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field as Setting
from pydantic import FiniteFloat, model_validator

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.outputs import find_outputs, is_netcdf, requirement, shorten
from rompy_hydra.workspace import Glob, Workspace
from rompy_hydra.workspace.atomic import write_atomic

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.postprocess.netcdf.reading import Location

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What a mappable variable has.
_DIMENSIONS = "two dimensions of a grid, or one of a mesh that the file describes, besides time"


class MapPostprocessor(BasePostprocessor):
    """Draws `map-VARIABLE.png` of a variable on a grid or a triangular mesh, reduced over time.

    Without `file` and `variable`, it draws the first netCDF output with a mappable variable: the water
    level, else the significant wave height, else the first such variable. The coastline is the zero
    contour of the bed level, if the file contains it. If it also contains the water level, depths below
    `dry_depth` count as land. A `statistic` other than `max` is part of the file name:
    `map-VARIABLE-mean.png`.
    """

    name: ClassVar[str] = "map"

    # A netCDF output: path or glob inside the run directory.
    file: Glob | None = None
    variable: str | None = None
    # Over time.
    statistic: Statistic = "max"
    # Shown at the colour bar instead of the units in the file.
    units: str | None = None
    # Limits of the colour scale; by default robust, and symmetric about 0 if both signs occur.
    vmin: FiniteFloat | None = None
    vmax: FiniteFloat | None = None
    # A matplotlib colormap; by default viridis, or RdBu_r if both signs occur.
    colormap: str | None = None
    # Inches; the height follows from the map.
    width: float = Setting(default=8.0, ge=2, le=40)
    # Dots per inch.
    dpi: int = Setting(default=150, ge=20, le=1200)
    # Shallower water counts as land, m; None: draw the values as stored.
    dry_depth: FiniteFloat | None = Setting(default=0.01, ge=0)

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.vmin is not None and self.vmax is not None and self.vmin >= self.vmax:
            raise ValueError(f"vmin ({self.vmin:g}) must be less than vmax ({self.vmax:g})")
        return self

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class; the path of the map is under `plots`.

        Raises PostprocessError if there is nothing to map, if the variable or the colormap does not
        exist, or if a file cannot be read.
        """
        return self.with_settings(settings)._map(outputs_of(model_run), model_run.run_id)

    def _map(self, workspace: Workspace, run_id: str) -> Results:
        if not workspace.path.is_dir():
            message = f"Output directory not found: {workspace.path}"
            return {"success": False, "message": message, "run_id": run_id}
        self._check_colormap()
        names = find_outputs(workspace, [self.file] if self.file else [])
        files = [name for name in names if is_netcdf(name) or name == self.file]
        if not files:
            raise PostprocessError(
                f"nothing to map in {workspace.path}: a map requires a netCDF output, but the outputs are "
                f"{shorten(names)}. For tables, use processor=summary"
            )
        with requirement(f"reading {workspace.path / files[0]} requires xarray and netCDF4"):
            from rompy_hydra.postprocess.netcdf.reading import mappable_variables, open_groups
        mappable: list[str] = []
        for file in files:
            with open_groups(workspace.path / file) as groups:
                for dataset in groups.values():
                    locations = mappable_variables(dataset)
                    if self.variable in locations or (self.variable is None and locations):
                        return self._draw(run_id, workspace, file, dataset, locations)
                    if self.variable in dataset.variables:
                        sizes = dataset.variables[self.variable].sizes.items()
                        raise PostprocessError(
                            f"cannot map the variable '{self.variable}' of {file} "
                            f"({', '.join(f'{dim}: {size}' for dim, size in sizes)}): it does not have "
                            f"{_DIMENSIONS}. Mappable variables: {shorten(locations)}"
                        )
                    mappable += locations
        if not mappable:
            raise PostprocessError(
                f"nothing to map in {workspace.path} ({shorten(files)}): no variable has {_DIMENSIONS}"
            )
        raise PostprocessError(
            f"{shorten(files)} in {workspace.path} has no variable '{self.variable}' (processor.variable). "
            f"{closest(str(self.variable), set(mappable))}"
        )

    def _check_colormap(self) -> None:
        with requirement("a map requires matplotlib"):
            from matplotlib import colormaps
        if self.colormap is not None and self.colormap not in colormaps:
            near = difflib.get_close_matches(self.colormap, colormaps, n=3, cutoff=0.5)
            raise PostprocessError(
                f"matplotlib has no colormap '{self.colormap}' (processor.colormap). "
                f"Did you mean {' or '.join(near or ['viridis', 'RdBu_r'])}?"
            )

    def _draw(
        self, run_id: str, workspace: Workspace, file: str, dataset: xr.Dataset, found: dict[str, Location]
    ) -> Results:
        from rompy_hydra.postprocess.figure import Style, project, render_png
        from rompy_hydra.postprocess.netcdf import conventions as cv
        from rompy_hydra.postprocess.netcdf.field import has_values
        from rompy_hydra.postprocess.netcdf.reading import load_field

        variable = self.variable or next(iter(found))
        stored = variable if self.dry_depth is None else cv.centroid_name(dataset, variable)
        field = load_field(dataset, stored, found[stored], self.statistic, self.dry_depth)
        if not has_values(field):
            raise PostprocessError(
                f"the variable '{variable}' of {file} in {workspace.path} has no values to draw: all are "
                "missing or dry"
            )
        unit = self.units if self.units is not None else cv.units(dataset, variable)
        facts = {"run_id": run_id, "variable": variable, "statistic": self.statistic, "units": unit}
        long_name = str(dataset.variables[variable].attrs.get("long_name") or variable.replace("_", " "))
        time = cv.time_dimension(dataset, dataset.variables[stored])
        steps = dataset.sizes[time] if time else 0
        before, after = "", ""
        if steps and self.statistic in {"first", "last"}:
            after = f", {self.statistic} of {steps} time steps"
        elif steps:
            word = {"max": "maximum", "min": "minimum"}.get(self.statistic, self.statistic)
            before, after = f"{word} ", f" over {steps} time steps"
        style = Style(
            title=run_id,
            subtitle=f"{file}: {before}{variable}{after}",
            colour_label=f"{before}{long_name}" + (f" ({superscripts(unit)})" if unit else ""),
            **self.model_dump(include={"vmin", "vmax", "colormap", "width", "dpi"}),
        )
        projected = project(dataset, found[stored], field, (workspace.path / file).parent)
        metadata = {"Title": f"{variable} of {run_id}", "Software": "rompy_hydra", "Source": file, **facts}
        target = workspace.path / map_file_name(variable, self.statistic)
        write_atomic(target, render_png(projected, style, metadata))
        message = f"{target.name}: {style.subtitle}"
        return {"success": True, "message": message, **facts, "plots": [str(target)]}


def map_file_name(variable: str, statistic: Statistic) -> str:
    """The file name of a map."""
    return f"map-{variable.replace('/', '-')}{'' if statistic == 'max' else f'-{statistic}'}.png"


def superscripts(units: str) -> str:
    """Units with superscript exponents.

    >>> superscripts("m2 s-1")
    'm² s⁻¹'
    """
    return re.sub(r"(?<=[A-Za-z])-?\d+(?!/?\d)", lambda found: found[0].translate(_SUPERSCRIPTS), units)
