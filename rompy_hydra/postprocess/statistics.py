"""Minimum, mean and maximum of values that are read in parts, and of the columns of CSV files."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rompy_hydra.errors import PostprocessError

_MISSING = {"", "na", "n/a", "null", "none", "-", "--"}


@dataclass
class RunningStatistics:
    """Statistics of the values so far. `cells` counts all values, `valid` those that are not missing."""

    cells: int = 0
    valid: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0

    def add(self, cells: int, valid: int, minimum: float, mean: float, maximum: float) -> None:
        """Add the statistics of further values; the last three are ignored if `valid` is 0."""
        self.cells += cells
        if valid:
            self.valid += valid
            self.minimum = min(self.minimum, minimum)
            self.maximum = max(self.maximum, maximum)
            share = valid / self.valid
            self.mean = self.mean * (1.0 - share) + mean * share

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
    names, rows = _read_header(file)
    columns = {index: RunningStatistics() for index in range(len(names))}
    while batch := list(itertools.islice(rows, 5000)):
        for index, column in list(columns.items()):
            valid = _parse_numbers([row[index] if index < len(row) else "" for row in batch])
            if valid is None:
                del columns[index]  # text
            else:
                mean = math.fsum(number / len(valid) for number in valid)
                column.add(len(batch), len(valid), min(valid, default=0), mean, max(valid, default=0))
    found: dict[str, RunningStatistics] = {}
    for index, column in columns.items():
        if names[index] or column.valid:
            name = names[index] or f"column_{index + 1}"
            found[name if name not in found else f"{name}_{index + 1}"] = column
    return found


def _read_header(file: TextIO) -> tuple[list[str], Iterator[list[str]]]:
    """The column names, and the rows below them without comments and blank lines."""
    comment, skipped, first = "", 0, ""
    for first in file:
        if first.strip() and not first.lstrip().startswith("#"):
            break
        comment = first.lstrip("# \t") if first.strip() else comment
        skipped, first = skipped + 1, ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(itertools.chain([first] if first else [], file), delimiter=delimiter)
    names = [name.strip() for name in next(reader, [])]
    head: list[list[str]] = []
    if names and _parse_numbers(names) is not None:
        head = [names]
        names = [name.strip() for name in comment.split(delimiter)]
        if len(names) != len(head[0]):
            names = [f"column_{i + 1}" for i in range(len(head[0]))]

    def rows() -> Iterator[list[str]]:
        for row in itertools.chain(head, reader):
            blank = len(row) < 2 and not "".join(row).strip()
            if blank or row[0].lstrip().startswith("#"):
                continue
            if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
                line = skipped + reader.line_num
                raise csv.Error(f"line {line} has {len(row)} cells, but the first line has {len(names)}")
            yield row

    return names, rows()


def _parse_numbers(cells: Sequence[str]) -> list[float] | None:
    """The finite numbers among the cells, or None if one of them is text."""
    numbers = []
    for cell in cells:
        try:
            number = float(cell)
        except ValueError:
            text = cell.strip()
            if text.lower() in _MISSING or set(text) == {"*"}:
                continue
            return None
        if "_" in cell:
            return None  # a name such as 2020_01, which Python parses as a number
        if math.isfinite(number):
            numbers.append(number)
    return numbers
