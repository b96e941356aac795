"""Gridded model output in netCDF: reading, conventions, statistics."""

from typing import Literal

# How a map reduces a variable over time.
Statistic = Literal["max", "min", "mean", "last", "first"]
