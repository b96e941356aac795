"""Space-filling designs over intervals, from `scipy.stats.qmc` (extra `analysis`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rompy_hydra.errors import ConfigError

# So that a value can be read, typed again and found in a label.
_SIGNIFICANT_DIGITS = 6


def samples(
    design: Literal["latin_hypercube", "sobol"],
    intervals: Mapping[str, tuple[float, float, bool]],
    count: int,
    seed: int,
) -> list[dict[str, float | int]]:
    """`count` points that fill the box of `intervals` (low, high, whole numbers), the same for a seed.

    Latin hypercube: McKay, Beckman and Conover (1979). Sobol: scrambled after Owen (1998); the
    number of points is best a power of two. Values are rounded to six significant digits.
    """
    if not intervals:
        raise ConfigError(
            f"sweep.design={design} needs a key with an interval: 'model.friction=interval(0.01,0.05)'"
        )
    for key, (low, high, _) in intervals.items():
        if not low < high:
            raise ConfigError(f"{key}=interval({low:g},{high:g}): the first must be below the second")
    try:
        from scipy.stats import qmc
    except ImportError as error:
        raise ConfigError(
            f"sweep.design={design} needs scipy: pip install 'rompy-hydra[analysis]'"
        ) from error
    if design == "sobol" and count & (count - 1):
        upper = 1 << count.bit_length()
        raise ConfigError(
            f"sweep.samples={count}: a Sobol design is balanced only for a power of two; "
            f"take {upper // 2} or {upper}"
        )
    dimensions = len(intervals)
    engine = (
        qmc.Sobol(dimensions, scramble=True, rng=seed)
        if design == "sobol"
        else qmc.LatinHypercube(dimensions, rng=seed)
    )
    rows = engine.random(count)
    return [
        {
            key: _scaled(float(unit), low, high, whole)
            for unit, (key, (low, high, whole)) in zip(row, intervals.items(), strict=True)
        }
        for row in rows
    ]


def _scaled(unit: float, low: float, high: float, whole: bool) -> float | int:
    if whole:
        # Each whole number from low to high is equally likely, both ends included.
        return min(int(low + unit * (high - low + 1)), int(high))
    return float(f"{low + unit * (high - low):.{_SIGNIFICANT_DIGITS}g}")
