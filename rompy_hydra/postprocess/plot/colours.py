"""The colour scale of a map."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm

from rompy_hydra.postprocess.netcdf.field import Floats

_DIVERGING, _SEQUENTIAL = "RdBu_r", "viridis"


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
        return _DIVERGING, TwoSlopeNorm(0.0, low, high)
    return colormap or _SEQUENTIAL, Normalize(low, high)


def _has_both_signs(low: float, high: float) -> bool:
    """Whether both signs occur, each to a relevant extent."""
    return low < 0.0 < high and min(-low, high) > 0.1 * max(-low, high)
