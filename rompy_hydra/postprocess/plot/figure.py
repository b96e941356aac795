"""A field as a picture: PNG bytes from matplotlib, without a window and without its global state."""

from __future__ import annotations

import io
import math
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rompy_hydra.postprocess.netcdf.field import Field, at_nodes, edges, rim, thinned
from rompy_hydra.postprocess.plot.colours import limits, scale
from rompy_hydra.postprocess.plot.map_axes import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


_LAND = "#d9d6cf"
_COAST = "#3d3a36"
_INK = "#222222"
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
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with _LOCK:
        figure = Figure(figsize=(style.width, 1.2 * style.width), dpi=style.dpi)
        FigureCanvasAgg(figure)
        _draw(figure, plane, style)
        layout = ConstrainedLayoutEngine()
        layout.execute(figure)
        # The height that the map takes at this width, with its words.
        figure.set_figheight(min(1.2 * style.width, figure.get_tightbbox().height + 0.15))
        layout.execute(figure)
        facts = {key: text.encode(errors="replace").decode() for key, text in metadata.items()}
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=style.dpi, facecolor="white", metadata=facts)
        return png.getvalue()


def _draw(figure: Figure, plane: Plane, style: Style) -> None:
    import numpy as np

    axes, field = figure.add_subplot(), thinned(plane.field, _MOST_CELLS)
    axes.set_facecolor(_LAND)
    low, high = limits(plane.field.values, style.vmin, style.vmax)
    colours, norm = scale(low, high, style.colormap)
    if field.triangles is None:
        x, y = edges(field.x), edges(field.y)
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
    below, above = np.nanmin(plane.field.values) < low, np.nanmax(plane.field.values) > high
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
    triangles, nodes = field.triangles, field.values
    if field.on_triangles:
        triangles = triangles[np.isfinite(field.values)]
        nodes = at_nodes(field.values[np.isfinite(field.values)], triangles, len(field.x))
    triangles = triangles[np.isfinite(nodes[triangles]).any(axis=1)]
    corners = nodes[triangles]
    # A corner on dry land has the mean of the wet ones, so that the water reaches its edge.
    corners = np.where(np.isfinite(corners), corners, np.nanmean(corners, axis=1, keepdims=True))
    x, y = field.x[triangles], field.y[triangles]
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
        axes.tricontour(mesh, np.nan_to_num(bed), [0.0], colors=[_COAST], linewidths=[0.7])
    else:
        border = rim(field.triangles)
        lines = np.stack([field.x[border], field.y[border]], axis=-1)
        axes.add_collection(LineCollection(list(lines), colors=[_COAST], linewidths=[0.7]))


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
        wide = degrees and max(east - west, north - south) > 45.0
        line.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 3, 6, 9, 10] if wide else [1, 2, 5, 10]))
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
