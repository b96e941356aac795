"""A field as a picture: PNG bytes from matplotlib, without a window and without its global state."""

from __future__ import annotations

import io
import math
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rompy_hydra.postprocess.field import Field, at_nodes
from rompy_hydra.postprocess.plane import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from rompy_hydra.postprocess.field import Ints
    from rompy_hydra.postprocess.netcdf import Floats

_LAND = "#d9d6cf"
_COAST = "#3d3a36"
_INK = "#222222"
_DIVERGING, _SEQUENTIAL = "RdBu_r", "viridis"
_MOST_CELLS = 1600  # along a side of a grid; more are not seen, and take long to draw
_NARROWEST = 5.0  # length over width beyond which a map is not drawn to scale

# Matplotlib's fonts and caches are shared by all figures of a process.
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Style:
    """The words of a map, the ends of its colours, and its size (inch, dots per inch)."""

    title: str
    subtitle: str
    quantity: str
    vmin: float | None
    vmax: float | None
    colormap: str | None
    width: float
    dpi: int


def picture(plane: Plane, style: Style, metadata: Mapping[str, str]) -> bytes:
    """The map as PNG, the same bytes for the same plane and style."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _LOCK:
        figure = Figure(figsize=(style.width, 1.2 * style.width), dpi=style.dpi, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure, plane, style)
        # The height that the map takes at this width, with its words.
        figure.draw_without_rendering()
        figure.set_figheight(min(1.2 * style.width, figure.get_tightbbox().height + 0.15))
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=style.dpi, facecolor="white", metadata=dict(metadata))
        return png.getvalue()


def limits(values: Floats, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """The ends of the colour bar: those given, else robust ones around the finite values.

    Two hundredths of the values at either end are left out where they would stretch the range by a
    fifth or more. Values of both signs get a range that is symmetric about 0; positive ones begin at 0 if they
    come close to it.
    """
    import numpy as np

    finite = values[np.isfinite(values)]
    lowest, low, high, highest = (float(v) for v in np.percentile(finite, [0, 2, 98, 100]))
    spread = high - low
    low = lowest if low - lowest <= 0.2 * spread else low
    high = highest if highest - high <= 0.2 * spread else high
    if 0.0 < low < 0.15 * high:
        low = 0.0
    if 0.0 < -high < 0.15 * -low:
        high = 0.0
    if low < 0.0 < high and min(-low, high) > 0.1 * max(-low, high):
        low, high = (-max(-low, high), max(-low, high))
        low = -vmax if vmin is None and vmax is not None and vmax > 0 else low
        high = -vmin if vmax is None and vmin is not None and vmin < 0 else high
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    if low >= high:
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low if vmin is not None else high - room, high if vmax is not None else low + room
    return low, high


def _colours(low: float, high: float, colormap: str | None) -> tuple[str, Normalize]:
    from matplotlib.colors import Normalize, TwoSlopeNorm

    signed = low < 0.0 < high and min(-low, high) > 0.1 * max(-low, high)
    if signed and colormap is None:
        return _DIVERGING, TwoSlopeNorm(0.0, low, high)
    return colormap or _SEQUENTIAL, Normalize(low, high)


def _draw(figure: Figure, plane: Plane, style: Style) -> None:
    import numpy as np

    axes, field = figure.add_subplot(), _thinned(plane.field)
    axes.set_facecolor(_LAND)
    low, high = limits(field.values, style.vmin, style.vmax)
    colours, norm = _colours(low, high, style.colormap)
    if field.triangles is None:
        x, y = _edges(field.x), _edges(field.y)
        shown: ScalarMappable = axes.pcolormesh(x, y, field.values, cmap=colours, norm=norm)
    else:
        x, y = field.x[field.triangles], field.y[field.triangles]
        shown = _draw_mesh(axes, field, colours, norm)
    _draw_coast(axes, field)
    axes.set_xlim(float(np.min(x)), float(np.max(x)))
    axes.set_ylim(float(np.min(y)), float(np.max(y)))
    _set_scale(axes, plane.degrees)
    _label(axes, plane, style)
    _mark(axes, plane.marks)
    below, above = np.nanmin(field.values) < low, np.nanmax(field.values) > high
    # An inset is exactly as high as the map, whatever shape that has.
    inset = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = figure.colorbar(shown, cax=inset, extend=extend.get((bool(below), bool(above)), "neither"))
    bar.set_label(_printable(style.quantity), color=_INK, size=10, parse_math=False)
    inset.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _draw_mesh(axes: Axes, field: Field, colours: str, norm: Normalize) -> ScalarMappable:
    import numpy as np
    from matplotlib.tri import Triangulation

    assert field.triangles is not None
    triangles = field.triangles
    if field.on_triangles:
        wet = np.isfinite(field.values)
        nodes = at_nodes(field.values[wet], triangles[wet], len(field.x))
    else:
        nodes = field.values
        wet = np.isfinite(nodes[triangles]).any(axis=1)
    corners = nodes[triangles[wet]]
    # A corner on dry land has the mean of the wet ones, so that the water reaches its edge.
    corners = np.where(np.isfinite(corners), corners, np.nanmean(corners, axis=1, keepdims=True))
    x, y = field.x[triangles[wet]], field.y[triangles[wet]]
    mesh = Triangulation(x.ravel(), y.ravel(), np.arange(x.size).reshape(-1, 3))
    return axes.tripcolor(mesh, corners.ravel(), shading="gouraud", cmap=colours, norm=norm)


def _draw_coast(axes: Axes, field: Field) -> None:
    """The zero contour of the bed, or the rim of a mesh that ends where the land begins."""
    import numpy as np
    from matplotlib.collections import LineCollection
    from matplotlib.tri import Triangulation

    bed = np.full(len(field.x), np.nan) if field.bed is None else field.bed
    known = np.isfinite(bed)
    crosses = bool(known.any()) and bed[known].min() < 0.0 < bed[known].max()
    if field.triangles is None:
        if crosses:
            land = np.ma.masked_invalid(bed)
            axes.contour(field.x, field.y, land, [0.0], colors=[_COAST], linewidths=[0.7])
    elif crosses:
        mesh = Triangulation(field.x, field.y, field.triangles[known[field.triangles].all(axis=1)])
        land = np.nan_to_num(bed)
        axes.tricontour(mesh, land, [0.0], colors=[_COAST], linewidths=[0.7])
    else:
        rim = _rim(field.triangles)
        lines = np.stack([field.x[rim], field.y[rim]], axis=-1)
        axes.add_collection(LineCollection(list(lines), colors=[_COAST], linewidths=[0.7]))


def _rim(triangles: Ints) -> Ints:
    """The edges, as two nodes each, that belong to one triangle only."""
    import numpy as np

    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]))
    found, count = np.unique(edges, axis=0, return_counts=True)
    return found[count == 1]


def _set_scale(axes: Axes, degrees: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    aspect = 1.0
    if degrees:
        aspect = 1.0 / max(0.05, math.cos(math.radians(0.5 * (south + north))))
    ratio = (east - west) / ((north - south) * aspect)
    if 1.0 / _NARROWEST <= ratio <= _NARROWEST:
        axes.set_aspect(aspect)
    else:
        axes.set_box_aspect(0.5)
    for line, letters in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        line.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        line.set_major_formatter(FuncFormatter(_degrees(letters) if degrees else _plain))
    axes.tick_params(labelsize=9, width=0.6, labelcolor=_INK)


def _degrees(letters: str) -> Callable[[float, int | None], str]:
    def text(value: float, _position: int | None = None) -> str:
        value = (value + 180.0) % 360.0 - 180.0 if letters == "EW" else value
        letter = letters[int(value < 0.0)] if round(value, 9) and abs(value) < 180.0 else ""
        return f"{abs(value):.6g}°{letter}"

    return text


def _plain(value: float, _position: int | None = None) -> str:
    return f"{value:.10g}".replace("-", "−")


def _label(axes: Axes, plane: Plane, style: Style) -> None:
    axes.set_xlabel(_printable(plane.x_label), color=_INK, size=10, parse_math=False)
    axes.set_ylabel(_printable(plane.y_label), color=_INK, size=10, parse_math=False)
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


def _mark(axes: Axes, marks: Sequence[tuple[str, float, float]]) -> None:
    from matplotlib.patheffects import withStroke

    west, east = axes.get_xlim()
    for name, x, y in marks:
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
    """The text with a question mark for what the font has not, of which matplotlib would warn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(char if ord(char) in known or char == "\n" else "?" for char in text)


def _thinned(field: Field) -> Field:
    """A grid with not more cells than can be seen."""
    if field.triangles is not None:
        return field
    rows, columns = (slice(None, None, math.ceil(n / _MOST_CELLS)) for n in field.values.shape)
    x = field.x[columns] if field.x.ndim == 1 else field.x[rows, columns]
    y = field.y[rows] if field.y.ndim == 1 else field.y[rows, columns]
    bed = None if field.bed is None else field.bed[rows, columns]
    return Field(x, y, field.values[rows, columns], bed, steps=field.steps)


def _edges(centres: Floats) -> Floats:
    """The corners of cells from their centres, along each dimension."""
    import numpy as np

    for axis in range(centres.ndim):
        along = np.moveaxis(centres, axis, 0)
        middle = 0.5 * (along[1:] + along[:-1])
        ends = along[:1] - (middle[:1] - along[:1]), along[-1:] + (along[-1:] - middle[-1:])
        centres = np.moveaxis(np.concatenate([ends[0], middle, ends[1]]), 0, axis)
    return centres
