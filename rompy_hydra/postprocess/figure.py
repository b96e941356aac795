"""Draw a map as PNG with matplotlib, without a window and without its global state."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import textwrap
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, PathPatch
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import Triangulation
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from rompy_hydra.postprocess.colours import common_limits, default_colours, extension, has_both_signs
from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf.field import Field, cell_edges, mean_at_nodes
from rompy_hydra.postprocess.netcdf.mapping import Location
from rompy_hydra.postprocess.rim import crosses_zero, rim_path, skirt

_GRID_KEYS = ["origin_longitude_degrees_east", "origin_latitude_degrees_north"]
_GRID_KEYS += ["metres_per_degree_longitude", "metres_per_degree_latitude"]
_METRE = {"m", "meter", "metre", "meters", "metres"}
# Along a meridian, and along a parallel at the equator.
_KM_PER_DEGREE = 111.2
_COAST = "#3d3a36"
_INK = "#222222"

# All figures of a process share matplotlib's fonts and caches.
_LOCK = threading.Lock()


@dataclass(frozen=True)
class ProjectedField:
    """A field in the coordinates of the axes: in degrees, or in the units of the labels."""

    field: Field
    x_label: str
    y_label: str
    degrees: bool = False
    # Length of a unit of both axes; None: unknown, or they are degrees.
    km_per_unit: float | None = None
    # Name, x, y.
    markers: Sequence[tuple[str, float, float]] = ()


@dataclass(frozen=True)
class Style:
    """The texts of a map, its colour scale, and its size (inches, dots per inch)."""

    title: str
    subtitle: str
    colour_label: str
    # The limits of the colour scale; None: those of the values.
    vmin: float | None
    vmax: float | None
    colormap: str | None
    width: float
    dpi: int
    # The kind of variable, which decides about the colours unless a colormap is given.
    kind: str = ""
    # Which ends of the colour scale some values lie beyond: `min`, `max`, `both`, `neither`; "": found out.
    extend: Literal["", "min", "max", "both", "neither"] = ""


def render_png(projected: ProjectedField, style: Style, metadata: Mapping[str, str]) -> bytes:
    """The map as PNG; equal arguments give equal bytes."""
    with _LOCK:
        figure = draw_figure(projected, style)
        facts = {key: text.encode(errors="replace").decode() for key, text in metadata.items()}
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=style.dpi, facecolor="white", metadata=facts)
        return png.getvalue()


def draw_figure(projected: ProjectedField, style: Style) -> Figure:
    """The map as a figure of matplotlib."""
    figure = Figure(figsize=(style.width, 1.2 * style.width), dpi=style.dpi)
    FigureCanvasAgg(figure)
    _draw(figure, projected, style)
    layout = ConstrainedLayoutEngine()
    layout.execute(figure)
    # The height of the map and its texts at this width.
    figure.set_figheight(min(1.2 * style.width, figure.get_tightbbox().height + 0.15))
    layout.execute(figure)
    return figure


def _draw(figure: Figure, projected: ProjectedField, style: Style) -> None:
    # More cells along a side are not visible, and slow to draw.
    axes, field = figure.add_subplot(), thin(projected.field, 1600)
    axes.set_facecolor("#d9d6cf")  # land
    low, high = common_limits([projected.field], style.vmin, style.vmax)
    if field.circle:
        field = replace(field, values=low + (field.values - low) % field.circle)
    diverging = style.colormap is None and not field.circle and has_both_signs(low, high)
    norm = TwoSlopeNorm(0.0, low, high) if diverging else Normalize(low, high)
    colours = style.colormap or default_colours(diverging, bool(field.circle), style.kind)
    if field.triangles is None:
        x, y = cell_edges(field.x), cell_edges(field.y)
        shown: ScalarMappable = axes.pcolormesh(x, y, field.values, cmap=colours, norm=norm)
    else:
        x, y = field.x[field.triangles], field.y[field.triangles]
        shown = _draw_mesh(axes, field, colours, norm)
    _draw_coast(axes, field)
    axes.set_xlim(float(np.min(x)), float(np.max(x)))
    axes.set_ylim(float(np.min(y)), float(np.max(y)))
    _set_ticks(axes, projected.degrees)
    _add_labels(axes, projected, style)
    _add_markers(axes, projected.markers)
    _add_scale(axes, projected)
    # An inset always has exactly the height of the map.
    inset = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    bar = figure.colorbar(shown, cax=inset, extend=style.extend or extension([field], low, high))
    if field.circle:
        bar.set_ticks(np.linspace(low, high, 9).tolist())
    bar.set_label(_printable(style.colour_label), color=_INK, size=10, parse_math=False)
    inset.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _draw_mesh(axes: Axes, field: Field, colours: str | Colormap, norm: Normalize) -> ScalarMappable:
    assert field.triangles is not None
    triangles, values = field.triangles, field.values
    if field.on_triangles:
        triangles = triangles[np.isfinite(field.values)]
        values = mean_at_nodes(
            field.values[np.isfinite(field.values)], triangles, len(field.x), field.circle
        )
    triangles = triangles[np.isfinite(values[triangles]).any(axis=1)]
    corners = values[triangles]
    # A dry corner gets a value of the wet corners, so that the colours reach the waterline.
    wet = np.isfinite(corners)
    fill = (
        corners[np.arange(len(corners)), wet.argmax(axis=1)]
        if field.circle
        else np.nanmean(corners, axis=1)
    )
    corners = np.where(wet, corners, fill[:, np.newaxis])
    x, y = field.x[triangles], field.y[triangles]
    rim = rim_path(field)
    if rim is not None:
        # Below the mesh, in its colours: the smooth rim lies partly outside of it.
        outside = skirt(field, triangles, corners)
        x, y, corners = (np.concatenate(pair) for pair in zip(outside, (x, y, corners), strict=True))
    mesh = Triangulation(x.ravel(), y.ravel(), np.arange(x.size).reshape(-1, 3))
    shown = axes.tripcolor(mesh, corners.ravel(), shading="gouraud", cmap=colours, norm=norm)
    if rim is not None:
        shown.set_clip_path(rim, axes.transData)
        axes.add_patch(PathPatch(rim, facecolor="none", edgecolor=_COAST, linewidth=0.7))
    return shown


def _draw_coast(axes: Axes, field: Field) -> None:
    """The zero contour of the bed. Without one, a mesh ends at the coast and is drawn with its rim."""
    if field.bed is None or not crosses_zero(field):
        return
    if field.triangles is None:
        land = np.ma.masked_invalid(field.bed)
        axes.contour(field.x, field.y, land, [0.0], colors=[_COAST], linewidths=[0.7])
    else:
        known = np.isfinite(field.bed)[field.triangles].all(axis=1)
        mesh = Triangulation(field.x, field.y, field.triangles[known])
        axes.tricontour(mesh, np.nan_to_num(field.bed), [0.0], colors=[_COAST], linewidths=[0.7])


def thin(field: Field, limit: int) -> Field:
    """A grid reduced to at most `limit` cells along each side; a mesh is returned unchanged."""
    if field.triangles is not None:
        return field
    rows, columns = (slice(None, None, math.ceil(n / limit)) for n in field.values.shape)
    x = field.x[columns] if field.x.ndim == 1 else field.x[rows, columns]
    y = field.y[rows] if field.y.ndim == 1 else field.y[rows, columns]
    bed = None if field.bed is None else field.bed[rows, columns]
    return replace(field, x=x, y=y, values=field.values[rows, columns], bed=bed)


def _set_ticks(axes: Axes, degrees: bool) -> None:
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    aspect = 1.0 / max(0.05, math.cos(math.radians(0.5 * (south + north)))) if degrees else 1.0
    ratio = (east - west) / ((north - south) * aspect)
    if 0.2 <= ratio <= 5.0:
        axes.set_aspect(aspect)
    else:  # too narrow to draw to scale
        axes.set_box_aspect(0.5)
    for line, letters in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        wide = degrees and max(east - west, north - south) > 45.0
        line.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 3, 6, 9, 10] if wide else [1, 2, 5, 10]))
        text = functools.partial(_format_degrees, letters) if degrees else _format_number
        line.set_major_formatter(FuncFormatter(text))
    axes.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _format_degrees(letters: str, value: float, _position: int | None = None) -> str:
    value = (value + 180.0) % 360.0 - 180.0 if letters == "EW" else value
    letter = letters[int(value < 0.0)] if round(value, 9) and abs(value) < 180.0 else ""
    return f"{abs(value):.6g}°{letter}"


def _format_number(value: float, _position: int | None = None) -> str:
    return f"{value:.10g}".replace("-", "−")


def _add_labels(axes: Axes, projected: ProjectedField, style: Style) -> None:
    axes.set_xlabel(_printable(projected.x_label), color=_INK, size=10, parse_math=False)
    axes.set_ylabel(_printable(projected.y_label), color=_INK, size=10, parse_math=False)
    title = textwrap.fill(_printable(style.title), max(20, int(9 * style.width)))
    pad = 21.0 + 12.5 * style.subtitle.count("\n")
    axes.set_title(title, loc="left", pad=pad, size=12, weight="bold", color=_INK, parse_math=False)
    subtitle, units = _printable(style.subtitle), ("axes fraction", "offset points")
    axes.annotate(subtitle, (0.0, 1.0), (0.0, 7.0), *units, size=9, color="#555555", parse_math=False)


def _add_scale(axes: Axes, projected: ProjectedField) -> None:
    """A bar with a round length, if the units are known and the scale is about the same everywhere."""
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    latitude = 0.5 * (south + north)
    km = projected.km_per_unit or 0.0
    if projected.degrees:
        km = _KM_PER_DEGREE * math.cos(math.radians(latitude)) if north - south <= 20.0 else 0.0
    width = (east - west) * km
    if not width > 0.0 or axes.get_aspect() == "auto":
        return
    power = 10.0 ** math.floor(math.log10(width / 4.0))
    length = next(factor * power for factor in (5.0, 2.0, 1.0) if factor * power <= width / 4.0)
    text = f"{length:g} km" if length >= 1.0 else f"{1000.0 * length:g} m"
    bar = AnchoredSizeBar(
        axes.transData,
        length / km,
        text,
        "lower right",
        pad=0.5,
        sep=3.0,
        frameon=False,
        color=_INK,
        fontproperties=FontProperties(size=9),
    )
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for artist in bar.findobj(lambda each: isinstance(each, (Text, Patch))):
        artist.set_path_effects(halo)
    axes.add_artist(bar)


def _add_markers(axes: Axes, markers: Sequence[tuple[str, float, float]]) -> None:
    west, east = axes.get_xlim()
    for name, x, y in markers:
        axes.plot([x], [y], "o", color="white", markersize=6, markeredgecolor=_INK, clip_on=True)
        left = x < west + 0.75 * (east - west)
        axes.annotate(
            _printable(name),
            (x, y),
            (7.0 if left else -7.0, 4.0),
            textcoords="offset points",
            ha="left" if left else "right",
            size=9,
            color=_INK,
            parse_math=False,
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _printable(text: str) -> str:
    """The text with a question mark for characters missing in the font, which cause warnings."""
    known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(char if ord(char) in known or char == "\n" else "?" for char in text)


def project(dataset: xr.Dataset, location: Location, field: Field, directory: Path) -> ProjectedField:
    """Project a field to longitude and latitude if they are known, else to metres, km or the file's units.

    Two optional files in `directory` complement ANUGA's output. `grid.json` maps metres to degrees with
    `_GRID_KEYS`. `*_places.csv` lists places to mark: the column `place`, with `x_m` and `y_m`, or with
    `longitude_degrees_east` and `latitude_degrees_north`.
    """
    if location.x is None or location.y is None:
        return ProjectedField(field, location.dims[1], location.dims[0])
    x, y = dataset.variables[location.x], dataset.variables[location.y]
    if (cv.axis(location.x, x.attrs), cv.axis(location.y, y.attrs)) == ("lon", "lat"):
        if field.x.ndim == 1:  # without the jump from 180 to -180
            field = replace(field, x=np.unwrap(field.x, period=360.0))
        markers = _read_places(directory, "longitude_degrees_east", "latitude_degrees_north")
        return ProjectedField(field, "longitude", "latitude", True, None, markers)
    units = [cv.units(dataset, location.x), cv.units(dataset, location.y)]
    if cv.is_anuga(dataset):
        east, north = (float(dataset.attrs.get(key, 0.0)) for key in ("xllcorner", "yllcorner"))
        return _project_metres(replace(field, x=field.x + east, y=field.y + north), directory)
    if set(units) <= _METRE:
        return _project_metres(field, directory)
    x_unit, y_unit = (f" ({unit})" if unit else "" for unit in units)
    return ProjectedField(field, location.x + x_unit, location.y + y_unit)


def _project_metres(field: Field, directory: Path) -> ProjectedField:
    grid = _read_grid(directory)
    west, south, per_x, per_y = grid or (0.0, 0.0, 1.0, 1.0)
    labels = ("longitude", "latitude") if grid else ("x (m)", "y (m)")
    if not grid and max(np.ptp(field.x), np.ptp(field.y)) > 20_000.0:  # m
        per_x, per_y, labels = 1000.0, 1000.0, ("x (km)", "y (km)")
    places = _read_places(directory, "x_m", "y_m")
    markers = [(name, west + x / per_x, south + y / per_y) for name, x, y in places]
    field = replace(field, x=west + field.x / per_x, y=south + field.y / per_y)
    km = None if grid else 0.001 * per_x
    return ProjectedField(field, *labels, grid is not None, km, markers)


def _read_grid(directory: Path) -> tuple[float, float, float, float] | None:
    """Longitude and latitude of the origin, and metres per degree of each, from `grid.json`."""
    try:
        data = json.loads((directory / "grid.json").read_text(encoding="utf-8"))
        west, south, per_x, per_y = (float(data[key]) for key in _GRID_KEYS)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # an unrelated file of this name
    valid = all(map(math.isfinite, (west, south, per_x, per_y))) and min(per_x, per_y) > 0.0
    return (west, south, per_x, per_y) if valid else None


def _read_places(directory: Path, x: str, y: str) -> list[tuple[str, float, float]]:
    """Places with their columns `x` and `y`, from each `*_places.csv` that has these columns."""
    found = []
    for path in sorted(directory.glob("*_places.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    name = row["place"].replace("_", " ")
                    name = name.title() if name.islower() else name
                    found.append((name, float(row[x]), float(row[y])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            continue  # an unrelated file of this name
    return found[:30]  # more would cover the map
