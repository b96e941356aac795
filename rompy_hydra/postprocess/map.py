"""The postprocessor that draws maps of one variable."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field as Setting
from pydantic import FiniteFloat, model_validator

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.outputs import (
    find_outputs,
    is_netcdf,
    metric_prefixes,
    requirement,
    shorten,
)
from rompy_hydra.workspace import Glob, Workspace
from rompy_hydra.workspace.atomic import write_atomic

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.postprocess.netcdf.field import Field
    from rompy_hydra.postprocess.netcdf.parts import Output, Part

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What a mappable variable has.
_DIMENSIONS = "two dimensions of a grid, or one of a mesh that the file describes, besides time"


class MapPostprocessor(BasePostprocessor):
    """Draws `map-VARIABLE.png` of a variable on a grid or a triangular mesh, reduced over time.

    Without `file` and `variable`, it draws the first mappable variable of the netCDF outputs: the water
    level, else the significant wave height, else any other. If several files contain the variable, those
    that are consecutive in time or tiles of one grid or mesh are joined; each other one gets a map of its
    own, `map-VARIABLE-FILE.png`, with the same colours.

    The coastline is the zero contour of the bed level, if the file contains it, else the boundary of the
    mesh. If it also contains the water level, depths below `dry_depth` count as land. A `statistic` other
    than `max` is part of the file name: `map-VARIABLE-mean.png`. Directions have a circular mean and cyclic
    colours.
    """

    name: ClassVar[str] = "map"
    requires: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("xarray", "netCDF4", "matplotlib", "scipy"), "rompy-hydra[analysis]"
    )

    # A netCDF output: path or glob inside the run directory.
    file: Glob | None = None
    variable: str | None = None
    # Over time; None: the maximum, or the mean of directions, which have no maximum.
    statistic: Statistic | None = None
    # The layer of a variable with a vertical dimension, from 0 in the order of the file, -1: the last.
    layer: int | None = None
    # Shown at the colour bar if the file does not have the units; values are not converted.
    units: str | None = None
    # Limits of the colour scale; by default robust, and symmetric about 0 if both signs occur.
    vmin: FiniteFloat | None = None
    vmax: FiniteFloat | None = None
    # A matplotlib colormap; by default one for the kind of variable.
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
        """See the class; the paths of the maps are under `plots`, and `maps` says what each shows.

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
        with requirement(f"reading {workspace.path / files[0]} requires xarray, netCDF4 and scipy"):
            from rompy_hydra.postprocess.netcdf.parts import group_parts
        variable, parts, unreadable = self._find_parts(workspace, files)
        return self._draw(run_id, workspace, variable, group_parts(parts), unreadable)

    def _check_colormap(self) -> None:
        with requirement("a map requires matplotlib"):
            from matplotlib import colormaps
        if self.colormap is not None and self.colormap not in colormaps:
            near = difflib.get_close_matches(self.colormap, colormaps, n=3, cutoff=0.5)
            raise PostprocessError(
                f"matplotlib has no colormap '{self.colormap}' (processor.colormap). "
                f"Did you mean {' or '.join(near or ['viridis', 'RdBu_r'])}?"
            )

    def _find_parts(self, workspace: Workspace, files: Sequence[str]) -> tuple[str, list[Part], list[str]]:
        """The variable, its parts in all files, and the files that cannot be read.

        An unreadable file is an error only if there is nothing to draw.
        """
        from rompy_hydra.postprocess.netcdf import conventions as cv
        from rompy_hydra.postprocess.netcdf.mapping import at_layer, has_layers, mappable_variables
        from rompy_hydra.postprocess.netcdf.parts import part_of
        from rompy_hydra.reading.netcdf import open_groups

        variable, mappable = self.variable, set[str]()
        parts: list[Part] = []
        refused, unreadable = list[PostprocessError](), dict[str, PostprocessError]()
        for file in files:
            path = workspace.path / file
            try:
                with open_groups(path) as groups:
                    for group, whole in groups.items():
                        dataset = at_layer(whole, self.layer)
                        found = mappable_variables(dataset)
                        variable = variable or next(iter(found), None)
                        mappable |= found.keys()
                        if variable in found:
                            as_stored = self.dry_depth is None
                            stored = variable if as_stored else cv.centroid_name(dataset, variable)
                            if self.layer is not None and not has_layers(whole, variable):
                                refused.append(_without_layers(file, variable))
                                continue
                            parts.append(part_of(path, file, group, dataset, stored, found[stored]))
                        elif variable and variable in whole.variables:
                            refused.append(_not_mappable(file, whole, variable, found, self.layer))
            except IndexError as error:
                refused.append(PostprocessError(f"{file} in {workspace.path}: {error} (processor.layer)"))
            except PostprocessError as error:
                unreadable[file] = error
        if parts and variable:
            return variable, parts, list(unreadable)
        for problem in [*refused, *unreadable.values()]:
            raise problem
        if not mappable:
            raise PostprocessError(
                f"nothing to map in {workspace.path} ({shorten(files)}): no variable has {_DIMENSIONS}. "
                "A variable with layers needs processor.variable and processor.layer"
            )
        raise PostprocessError(
            f"{shorten(files)} in {workspace.path} has no variable '{variable}' (processor.variable). "
            f"{closest(str(variable), mappable)}"
        )

    def _draw(
        self,
        run_id: str,
        workspace: Workspace,
        variable: str,
        outputs: Sequence[Output],
        unreadable: Sequence[str],
    ) -> Results:
        """Draw each output, with the same colours: they show the same variable."""
        from rompy_hydra.postprocess.colours import common_limits, extension
        from rompy_hydra.postprocess.figure import Style, project, render_png
        from rompy_hydra.postprocess.netcdf import conventions as cv
        from rompy_hydra.postprocess.netcdf.field import has_values
        from rompy_hydra.postprocess.netcdf.parts import load_output
        from rompy_hydra.reading.netcdf import open_groups

        first = outputs[0].parts[0]
        with open_groups(first.path) as groups:
            dataset = groups[first.group]
            unit = self._units_of(variable, cv.units(dataset, variable))
            unclear = cv.unclear_direction(dataset, variable)
            statistic = self._statistic_of(variable, is_direction=bool(cv.circle(dataset, variable)))
        drawn: list[tuple[Output, Field]] = []
        empty: list[str] = []
        for output in outputs:
            field = load_output(output, statistic, self.dry_depth, self.layer)
            drawn += [(output, field)] if has_values(field) else []
            empty += [] if has_values(field) else [output.names]
        if not drawn:
            raise PostprocessError(
                f"the variable '{variable}' of {', '.join(empty)} in {workspace.path} has no values to "
                "draw: all are missing or dry"
            )
        fields = [field for _, field in drawn]
        low, high = common_limits(fields, self.vmin, self.vmax)
        look = Style("", "", "", low, high, self.colormap, self.width, self.dpi)
        if not fields[0].circle:
            look = replace(look, extend=extension(fields, low, high))
        prefixes = metric_prefixes([output.parts[0].label for output, _ in drawn])
        facts = {"run_id": run_id, "variable": variable, "statistic": statistic, "units": unit}
        maps: list[dict[str, object]] = []
        messages = [unclear] if unclear else []
        for output, field in drawn:
            part = output.parts[0]
            with open_groups(part.path) as groups:
                dataset = groups[part.group]
                subtitle, label = self._texts(dataset, variable, statistic, unit, output)
                kind = cv.kind(dataset, variable)
                style = replace(look, title=run_id, subtitle=subtitle, colour_label=label, kind=kind)
                projected = project(dataset, part.location, field, part.path.parent)
            suffix = f"-{prefixes[part.label]}" if maps else ""
            target = workspace.path / map_file_name(variable, statistic, suffix)
            files = [part.label for part in output.parts]
            source = {"Software": "rompy_hydra", "Source": ", ".join(files)}
            described = "; ".join([*subtitle.splitlines(), label])
            metadata = {"Title": f"{variable} of {run_id}", "Description": described, **source, **facts}
            write_atomic(target, render_png(projected, style, metadata))
            maps.append({"plot": str(target), "files": files, "joined": output.joined})
            messages.append(f"{target.name}: {output.names}: {_shown(variable, statistic, output)}")
        messages += [f"not drawn, without values: {', '.join(empty)}"] if empty else []
        messages += [f"not drawn, unreadable: {shorten(unreadable)}"] if unreadable else []
        plots = [each["plot"] for each in maps]
        return {"success": True, "message": "; ".join(messages), **facts, "plots": plots, "maps": maps}

    def _units_of(self, variable: str, stored: str) -> str:
        """The units to show. Values are not converted, so the setting only names units that are unknown."""
        if self.units is None or not stored or self.units == stored:
            return stored if self.units is None else self.units
        raise PostprocessError(
            f"'{variable}' is in '{stored}', and a map does not convert values to '{self.units}' "
            "(processor.units): leave the setting out. It names the units of variables that have none"
        )

    def _statistic_of(self, variable: str, is_direction: bool) -> Statistic:
        if is_direction and self.statistic in {"max", "min"}:
            raise PostprocessError(
                f"'{variable}' is a direction, which has no {_WORDS[self.statistic]}: set "
                "processor.statistic to mean, first or last"
            )
        return self.statistic or ("mean" if is_direction else "max")

    def _texts(
        self, dataset: xr.Dataset, variable: str, statistic: Statistic, unit: str, output: Output
    ) -> tuple[str, str]:
        """The subtitle and the label of the colours."""
        from rompy_hydra.postprocess.netcdf.parts import period_text

        attrs = dataset.variables[variable].attrs
        long_name = str(attrs.get("long_name") or variable.replace("_", " ")).strip()
        layer = f", layer {self.layer}" if self.layer is not None else ""
        before = f"{_WORDS[statistic]} " if output.steps and statistic in _WORDS else ""
        before = "" if long_name.lower().startswith(before or " ") else before
        lines = [f"{output.names}: {_shown(variable, statistic, output)}{layer}"]
        if times := [time for part in output.parts for time in part.times]:
            first, last = min(times), max(times)
            first, last = {"first": (first, first), "last": (last, last)}.get(statistic, (first, last))
            lines.insert(0, period_text(first, last, output.parts[0].calendar))
        return "\n".join(lines), f"{before}{long_name}" + (f" ({superscripts(unit)})" if unit else "")


_WORDS = {"max": "maximum", "min": "minimum", "mean": "mean"}


def _shown(variable: str, statistic: Statistic, output: Output) -> str:
    """Which variable a map shows, and how it is reduced over time."""
    if not output.steps:
        return variable
    if statistic in _WORDS:
        return f"{_WORDS[statistic]} {variable} over {output.steps} time steps"
    return f"{variable}, {statistic} of {output.steps} time steps"


def _without_layers(file: str, variable: str) -> PostprocessError:
    return PostprocessError(
        f"the variable '{variable}' of {file} has no layers: leave processor.layer out, or choose another "
        "processor.variable"
    )


def _not_mappable(
    file: str, dataset: xr.Dataset, variable: str, found: Iterable[str], layer: int | None
) -> PostprocessError:
    from rompy_hydra.postprocess.netcdf import conventions as cv

    sizes = dataset.variables[variable].sizes
    reason = f"it does not have {_DIMENSIONS}"
    for dim, size in sizes.items():
        if cv.is_vertical(dataset, str(dim)) and size > 1 and layer is None:
            reason = f"choose a layer with processor.layer, 0 to {size - 1} along {dim}, or -1 for the last"
    return PostprocessError(
        f"cannot map the variable '{variable}' of {file} "
        f"({', '.join(f'{dim}: {size}' for dim, size in sizes.items())}): {reason}. "
        f"Mappable variables: {shorten(found)}"
    )


def map_file_name(variable: str, statistic: Statistic, suffix: str = "") -> str:
    """The file name of a map."""
    reduced = "" if statistic == "max" else f"-{statistic}"
    return f"map-{variable}{reduced}{suffix}.png".replace("/", "-")


def superscripts(units: str) -> str:
    """Units with superscript exponents.

    >>> superscripts("m2 s-1")
    'm² s⁻¹'
    """
    return re.sub(r"(?<=[A-Za-z])-?\d+(?!/?\d)", lambda found: found[0].translate(_SUPERSCRIPTS), units)
