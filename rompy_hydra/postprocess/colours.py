"""The colours of maps: a colormap for each kind of variable, and the limits of the colour scale."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.colors import Colormap, ListedColormap

from rompy_hydra.postprocess.netcdf.field import Field, Floats


def default_colours(diverging: bool, cyclic: bool, kind: str = "") -> str | Colormap:
    """A perceptually uniform colormap for a kind of variable, see `conventions.kind`."""
    if cyclic:
        return hue_circle()
    if diverging:
        return "RdBu_r"
    return {"depth": "cividis_r", "temperature": "inferno", "salinity": "cividis", "speed": "plasma"}.get(
        kind, "viridis"
    )


@functools.cache
def hue_circle() -> Colormap:
    """A cyclic colormap: all hues, equally light, none of which is like the grey of land.

    The colours are a circle in Oklab, in which equal distances look equal (B. Ottosson, 2020,
    https://bottosson.github.io/posts/oklab/).
    """
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    oklab = np.stack([np.full(361, 0.7), 0.115 * np.cos(angle), 0.115 * np.sin(angle)])
    to_lms = [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = np.clip(np.array(to_rgb) @ (np.array(to_lms) @ oklab) ** 3, 0.0, 1.0)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)
    return ListedColormap(rgb.T, name="hue_circle")


def common_limits(fields: Sequence[Field], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """The limits of the colour scale that several maps share; the full circle for directions."""
    if circle := fields[0].circle:
        low = 0.0 if vmin is None else vmin
        return low, low + circle if vmax is None else vmax
    return colour_limits(np.concatenate([field.values.ravel() for field in fields]), vmin, vmax)


def extension(fields: Sequence[Field], low: float, high: float) -> Literal["min", "max", "both", "neither"]:
    """Which ends of the colour scale some values of several maps lie beyond."""
    below = any(np.nanmin(field.values) < low for field in fields)
    above = any(np.nanmax(field.values) > high for field in fields)
    return "both" if below and above else "min" if below else "max" if above else "neither"


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
    if has_both_signs(low, high):
        low, high = (-max(-low, high), max(-low, high))
        low = -vmax if vmin is None and vmax is not None and vmax > 0 else low
        high = -vmin if vmax is None and vmin is not None and vmin < 0 else high
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    if low >= high:
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low if vmin is not None else high - room, high if vmax is not None else low + room
    return low, high


def has_both_signs(low: float, high: float) -> bool:
    """Whether both signs occur, each to a relevant extent."""
    return low < 0.0 < high and min(-low, high) > 0.1 * max(-low, high)
