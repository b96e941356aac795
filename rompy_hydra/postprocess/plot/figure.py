"""Draw a map as PNG with matplotlib, without a window and without its global state."""

from __future__ import annotations

import io
import math
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import Triangulation

from rompy_hydra.postprocess.netcdf.field import (
    Field,
    Floats,
    boundary_edges,
    cell_edges,
    mean_at_nodes,
    thin,
)
from rompy_hydra.postprocess.plot.map_axes import ProjectedField

_LAND = "#d9d6cf"
_COAST = "#3d3a36"
_INK = "#222222"
_MAX_CELLS = 1600  # along a side of a grid; more are not visible, and slow to draw
_MAX_RATIO = 5.0  # narrower maps are not drawn to scale

# All figures of a process share matplotlib's fonts and caches.
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Style:
    """The texts of a map, its colour scale, and its size (inches, dots per inch)."""

    title: str
    subtitle: str
    colour_label: str
    vmin: float | None
    vmax: float | None
    colormap: str | None
    width: float
    dpi: int


def render_png(projected: ProjectedField, style: Style, metadata: Mapping[str, str]) -> bytes:
    """The map as PNG; equal arguments give equal bytes."""
    with _LOCK:
        figure = Figure(figsize=(style.width, 1.2 * style.width), dpi=style.dpi)
        FigureCanvasAgg(figure)
        _draw(figure, projected, style)
        layout = ConstrainedLayoutEngine()
        layout.execute(figure)
        # The height of the map and its texts at this width.
        figure.set_figheight(min(1.2 * style.width, figure.get_tightbbox().height + 0.15))
        layout.execute(figure)
        facts = {key: text.encode(errors="replace").decode() for key, text in metadata.items()}
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=style.dpi, facecolor="white", metadata=facts)
        return png.getvalue()


def _draw(figure: Figure, projected: ProjectedField, style: Style) -> None:
    axes, field = figure.add_subplot(), thin(projected.field, _MAX_CELLS)
    axes.set_facecolor(_LAND)
    low, high = colour_limits(projected.field.values, style.vmin, style.vmax)
    colours, norm = colour_scale(low, high, style.colormap)
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
    below, above = np.nanmin(projected.field.values) < low, np.nanmax(projected.field.values) > high
    # An inset always has exactly the height of the map.
    inset = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = figure.colorbar(shown, cax=inset, extend=extend.get((bool(below), bool(above)), "neither"))
    bar.set_label(_printable(style.colour_label), color=_INK, size=10, parse_math=False)
    inset.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _draw_mesh(axes: Axes, field: Field, colours: str, norm: Normalize) -> ScalarMappable:
    assert field.triangles is not None
    triangles, nodes = field.triangles, field.values
    if field.on_triangles:
        triangles = triangles[np.isfinite(field.values)]
        nodes = mean_at_nodes(field.values[np.isfinite(field.values)], triangles, len(field.x))
    triangles = triangles[np.isfinite(nodes[triangles]).any(axis=1)]
    corners = nodes[triangles]
    # A dry corner gets the mean of the wet corners, so that the colours reach the waterline.
    corners = np.where(np.isfinite(corners), corners, np.nanmean(corners, axis=1, keepdims=True))
    x, y = field.x[triangles], field.y[triangles]
    mesh = Triangulation(x.ravel(), y.ravel(), np.arange(x.size).reshape(-1, 3))
    return axes.tripcolor(mesh, corners.ravel(), shading="gouraud", cmap=colours, norm=norm)


def _draw_coast(axes: Axes, field: Field) -> None:
    """The zero contour of the bed, or else the boundary of a mesh, which ends at the coast."""
    bed = np.full(len(field.x), np.nan) if field.bed is None else field.bed
    known = np.isfinite(bed)
    crosses = bool(known.any()) and bed[known].min() < 0.0 < bed[known].max()
    if field.triangles is None:
        if crosses:
            land = np.ma.masked_invalid(bed)
            axes.contour(field.x, field.y, land, [0.0], colors=[_COAST], linewidths=[0.7])
    elif crosses:
        mesh = Triangulation(field.x, field.y, field.triangles[known[field.triangles].all(axis=1)])
        axes.tricontour(mesh, np.nan_to_num(bed), [0.0], colors=[_COAST], linewidths=[0.7])
    else:
        boundary = boundary_edges(field.triangles)
        lines = np.stack([field.x[boundary], field.y[boundary]], axis=-1)
        axes.add_collection(LineCollection(list(lines), colors=[_COAST], linewidths=[0.7]))


def _set_ticks(axes: Axes, degrees: bool) -> None:
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    aspect = 1.0
    if degrees:
        aspect = 1.0 / max(0.05, math.cos(math.radians(0.5 * (south + north))))
    ratio = (east - west) / ((north - south) * aspect)
    if 1.0 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        axes.set_aspect(aspect)
    else:
        axes.set_box_aspect(0.5)
    for line, letters in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        wide = degrees and max(east - west, north - south) > 45.0
        line.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 3, 6, 9, 10] if wide else [1, 2, 5, 10]))
        line.set_major_formatter(FuncFormatter(_format_degrees(letters) if degrees else _format_number))
    axes.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _format_degrees(letters: str) -> Callable[[float, int | None], str]:
    def text(value: float, _position: int | None = None) -> str:
        value = (value + 180.0) % 360.0 - 180.0 if letters == "EW" else value
        letter = letters[int(value < 0.0)] if round(value, 9) and abs(value) < 180.0 else ""
        return f"{abs(value):.6g}°{letter}"

    return text


def _format_number(value: float, _position: int | None = None) -> str:
    return f"{value:.10g}".replace("-", "−")


def _add_labels(axes: Axes, projected: ProjectedField, style: Style) -> None:
    axes.set_xlabel(_printable(projected.x_label), color=_INK, size=10, parse_math=False)
    axes.set_ylabel(_printable(projected.y_label), color=_INK, size=10, parse_math=False)
    title = textwrap.fill(_printable(style.title), max(20, int(9 * style.width)))
    axes.set_title(title, loc="left", pad=21, size=12, weight="bold", color=_INK, parse_math=False)
    axes.annotate(
        _printable(style.subtitle),
        (0.0, 1.0),
        (0.0, 7.0),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9,
        color="#555555",
        parse_math=False,
    )


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


def colour_limits(values: Floats, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """The limits of the colour scale: those given, else robust limits of the finite values.

    The lowest and the highest 2 % of the values are ignored if they would extend the range by a fifth or
    more. If both signs occur, the range is symmetric about 0; otherwise it includes 0 if the values come
    close to it.
    """
    finite = values[np.isfinite(values)]
    lowest, low, high, highest = (float(v) for v in np.percentile(finite, [0, 2, 98, 100]))
    spread = high - low
    low = lowest if low - lowest <= 0.2 * spread else low
    high = highest if highest - high <= 0.2 * spread else high
    if 0.0 < low < 0.25 * high:
        low = 0.0
    if 0.0 < -high < 0.25 * -low:
        high = 0.0
    if _has_both_signs(low, high):
        low, high = (-max(-low, high), max(-low, high))
        low = -vmax if vmin is None and vmax is not None and vmax > 0 else low
        high = -vmin if vmax is None and vmin is not None and vmin < 0 else high
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    if low >= high:
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low if vmin is not None else high - room, high if vmax is not None else low + room
    return low, high


def colour_scale(low: float, high: float, colormap: str | None) -> tuple[str, Normalize]:
    """The colormap and its normalization: diverging about 0 if both signs occur."""
    if _has_both_signs(low, high) and colormap is None:
        return "RdBu_r", TwoSlopeNorm(0.0, low, high)
    return colormap or "viridis", Normalize(low, high)


def _has_both_signs(low: float, high: float) -> bool:
    """Whether both signs occur, each to a relevant extent."""
    return low < 0.0 < high and min(-low, high) > 0.1 * max(-low, high)
