"""Minimum, mean and maximum of values and directions, read in parts, and of the columns of CSV files."""

from __future__ import annotations

import cmath
import csv
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rompy_hydra.errors import PostprocessError
from rompy_hydra.postprocess.directions import full_circle
from rompy_hydra.reading.tables import parse_numbers, read_header

# The full circle is divided into this many bins to find the shortest arc with all directions.
BINS = 3600
# A shorter mean vector has no direction: it is the rounding error of directions that cancel out.
SHORTEST_VECTOR = 1e-9


@dataclass
class RunningStatistics:
    """Statistics of the values so far. `cells` counts all values, `valid` those that are not missing."""

    cells: int = 0
    valid: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0
    # What a person should know of them; '' for nothing.
    note: str = ""

    def add(self, cells: int, valid: int, minimum: float, mean: float, maximum: float) -> None:
        """Add the statistics of further values; the last three are ignored if `valid` is 0."""
        self.cells += cells
        if valid:
            self.valid += valid
            self.minimum = min(self.minimum, minimum)
            self.maximum = max(self.maximum, maximum)
            share = valid / self.valid
            self.mean = self.mean * (1.0 - share) + mean * share

    def add_values(self, cells: int, values: Sequence[float]) -> None:
        """Add single values of `cells`, of which the others are missing."""
        mean = math.fsum(value / len(values) for value in values)
        self.add(cells, len(values), min(values, default=0.0), mean, max(values, default=0.0))

    def empty(self) -> RunningStatistics:
        """Statistics of the same kind without values."""
        return RunningStatistics()

    def merge(self, other: RunningStatistics) -> None:
        """Add all values of another part."""
        self.add(other.cells, other.valid, other.minimum, other.mean, other.maximum)

    def results(self) -> dict[str, float]:
        """The statistics by name; those without a finite value are left out."""
        if not self.cells:
            return {}
        found = {"missing_share": (self.cells - self.valid) / self.cells}
        if self.valid:
            # Rounding must not move the mean of equal values outside their range.
            mean = min(max(self.mean, self.minimum), self.maximum)
            found |= {"min": self.minimum, "mean": mean, "max": self.maximum}
        return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass
class RunningDirections(RunningStatistics):
    """Statistics of directions that are read in parts.

    The mean is the direction of the mean unit vector, from 0 to the full circle; there is none if the
    directions cancel out. The minimum and the maximum are the ends of the shortest arc that contains all
    directions, so that the minimum of 350° and 10° is 350°; they are 0 and the full circle if the
    directions lie all around it. Source: N. I. Fisher, Statistical Analysis of Circular Data, 1993, 2.3.
    """

    circle: float = 360.0
    vector: complex = 0j
    # The lowest and highest direction in each bin that contains any.
    bins: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add_directions(
        self, cells: int, valid: int, vector: complex, bins: Iterable[tuple[float, float]]
    ) -> None:
        """Add `valid` directions: the sum of their unit vectors, the lowest and highest of each bin."""
        self.cells += cells
        self.valid += valid
        self.vector += vector
        for low, high in bins:
            here = min(int(low / self.circle * BINS), BINS - 1)
            before = self.bins.get(here, (low, high))
            self.bins[here] = min(low, before[0]), max(high, before[1])

    def add_values(self, cells: int, values: Sequence[float]) -> None:
        unit_vectors = (cmath.rect(1.0, value * math.tau / self.circle) for value in values)
        wrapped = (value % self.circle for value in values)
        self.add_directions(cells, len(values), sum(unit_vectors), ((each, each) for each in wrapped))

    def empty(self) -> RunningStatistics:
        return RunningDirections(circle=self.circle)

    def merge(self, other: RunningStatistics) -> None:
        assert isinstance(other, RunningDirections)
        self.add_directions(other.cells, other.valid, other.vector, other.bins.values())

    def results(self) -> dict[str, float]:
        found = super().results()
        if self.valid:
            found |= dict(zip(("min", "max"), self._arc(), strict=True))
            found.pop("mean", None)
            if abs(self.vector) > SHORTEST_VECTOR * self.valid:
                found["mean"] = self.mean_direction
        return {key: found[key] for key in ("missing_share", "min", "mean", "max") if key in found}

    @property
    def mean_direction(self) -> float:
        return round(cmath.phase(self.vector) * self.circle / math.tau, 9) % self.circle

    def _arc(self) -> tuple[float, float]:
        """The first and the last direction of the shortest arc that contains all, clockwise in numbers."""
        arcs = [self.bins[key] for key in sorted(self.bins)]
        # The empty arc before each occupied bin.
        gaps = [low - high for (_, high), (low, _) in zip([arcs[-1], *arcs[:-1]], arcs, strict=True)]
        gaps[0] += self.circle
        widest = max(range(len(gaps)), key=gaps.__getitem__)
        if gaps[widest] <= 2.0 * self.circle / BINS:
            return 0.0, self.circle
        return arcs[widest][0], arcs[widest - 1][1]


def statistics_of(circle: float | None) -> RunningStatistics:
    """Empty statistics, of directions if the value of a full circle is given."""
    return RunningStatistics() if circle is None else RunningDirections(circle=circle)


def table_statistics(path: Path) -> dict[str, RunningStatistics]:
    """The statistics of each numeric column of a CSV file, which is read once, in batches of rows.

    A column is numeric if each cell is a number or marks a missing value (blank, nan, NA, null, the
    asterisks of a Fortran overflow). The delimiter is the most frequent of `,` `;` and tab in the first
    line. Lines that start with `#` are comments. If the first line contains only numbers, the names come
    from the last comment if it has as many, else they are `column_1` and so on. Raises PostprocessError
    if the file is not a table.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return _column_statistics(file)
    except (OSError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise PostprocessError(
            f"cannot read {path} as a table: {reason}. Fix it, or exclude it with processor.files"
        ) from error


def _column_statistics(file: TextIO) -> dict[str, RunningStatistics]:
    names, rows = read_header(file)
    columns = {index: statistics_of(full_circle(name)) for index, name in enumerate(names)}
    while batch := list(itertools.islice(rows, 5000)):
        for index, column in list(columns.items()):
            valid = parse_numbers([row[index] if index < len(row) else "" for row in batch])
            if valid is None:
                del columns[index]  # text
            else:
                column.add_values(len(batch), valid)
    found: dict[str, RunningStatistics] = {}
    for index, column in columns.items():
        if names[index] or column.valid:
            name = names[index] or f"column_{index + 1}"
            found[name if name not in found else f"{name}_{index + 1}"] = column
    return found
