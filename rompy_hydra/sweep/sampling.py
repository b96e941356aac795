"""Space-filling designs over intervals, from `scipy.stats.qmc` (extra `analysis`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from rompy_hydra.errors import ConfigError


def samples(
    design: Literal["latin_hypercube", "sobol"],
    intervals: Mapping[str, tuple[float, float, bool]],
    count: int,
    seed: int,
) -> Iterator[dict[str, float | int]]:
    """Sample `count` points of a design, always the same ones for a seed.

    `intervals` are by key: the lowest and the highest value, and whether values are integers. Latin
    hypercube: McKay, Beckman and Conover (1979). Sobol: scrambled after Owen (1998), for a power of
    two points. Values have six significant digits. ConfigError if the design is not possible.
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
    sampler = qmc.Sobol if design == "sobol" else qmc.LatinHypercube  # Sobol scrambles by default
    engine = sampler(len(intervals), rng=seed)
    for row in engine.random(count):
        yield {
            key: _scale(float(unit), *interval)
            for unit, (key, interval) in zip(row, intervals.items(), strict=True)
        }


def _scale(unit: float, low: float, high: float, integers: bool) -> float | int:
    if integers:
        # Every integer from low to high is equally likely, including both ends.
        return min(int(low + unit * (high - low + 1)), int(high))
    # Few enough digits to type a value again, and to find it in a label.
    return float(f"{low + unit * (high - low):.6g}")
