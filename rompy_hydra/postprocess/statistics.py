"""Minimum, mean and maximum of numbers that never are in memory all at once, and of a CSV's columns."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rompy_hydra.errors import PostprocessError

_ROWS_AT_ONCE = 5000
_NO_NUMBER = {"", "na", "n/a", "null", "none", "-", "--"}


@dataclass
class Tally:
    """What is known of a variable so far. `cells` counts all its values, `valid` those not missing."""

    cells: int = 0
    valid: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0

    def add(self, cells: int, valid: int, minimum: float, mean: float, maximum: float) -> None:
        """Add a part of the variable; minimum, mean and maximum are not looked at if `valid` is 0."""
        self.cells += cells
        if valid == 0:
            return
        self.valid += valid
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)
        share = valid / self.valid
        self.mean = self.mean * (1.0 - share) + mean * share

    def add_numbers(self, cells: int, valid: Sequence[float]) -> None:
        """Add the numbers among `cells` values."""
        if valid:
            mean = math.fsum(number / len(valid) for number in valid)
            self.add(cells, len(valid), min(valid), mean, max(valid))
        else:
            self.add(cells, 0, 0.0, 0.0, 0.0)

    def numbers(self) -> dict[str, float]:
        """The statistics by name, as far as they are finite numbers: nothing if there is no value."""
        if not self.cells:
            return {}
        found = {"missing_share": (self.cells - self.valid) / self.cells}
        if self.valid:
            # A mean of equal numbers must not leave them by a rounding error.
            mean = min(max(self.mean, self.minimum), self.maximum)
            found |= {"min": self.minimum, "mean": mean, "max": self.maximum}
        return {name: value for name, value in found.items() if math.isfinite(value)}


def table_tallies(path: Path) -> dict[str, Tally]:
    """The numeric columns of a CSV file by name, read once, a few thousand rows at a time.

    A column is numeric if each of its cells is a number or says that there is none (blank, nan, NA,
    null, stars of a Fortran overflow). The delimiter is the one of `,` `;` and tab that the first
    line has most. Lines that start with `#` are comments; where the first line has numbers only, the
    names are those of the last comment if it has as many, else `column_1` and so on.
    PostprocessError if the file is no table.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return _tallies(file)
    except (OSError, csv.Error, _NoTable) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise PostprocessError(
            f"cannot read {path} as a table: {reason}. Mend it, or leave it out with processor.files"
        ) from error


class _NoTable(ValueError):
    pass


def _tallies(file: TextIO) -> dict[str, Tally]:
    names, rows = _header(file)
    tallies: list[Tally | None] = [Tally() for _ in names]
    while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        for column, tally in enumerate(tallies):
            if tally is None:
                continue
            cells = [row[column] if column < len(row) else "" for row in batch]
            valid = _numbers(cells)
            if valid is None:
                tallies[column] = None  # text
            else:
                tally.add_numbers(len(cells), valid)
    found: dict[str, Tally] = {}
    for column, (name, tally) in enumerate(zip(names, tallies, strict=True), start=1):
        if tally is None or not (name or tally.valid):
            continue
        name = name or f"column_{column}"
        found[name if name not in found else f"{name}_{column}"] = tally
    return found


def _header(file: TextIO) -> tuple[list[str], Iterator[list[str]]]:
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
    if names and _numbers(names) is not None:
        head = [names]
        named = [name.strip() for name in comment.split(delimiter)]
        names = named if len(named) == len(names) else [f"column_{i + 1}" for i in range(len(names))]

    def rows() -> Iterator[list[str]]:
        for row in itertools.chain(head, reader):
            blank = len(row) < 2 and not "".join(row).strip()
            if blank or row[0].lstrip().startswith("#"):
                continue
            if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
                line = skipped + reader.line_num
                raise _NoTable(f"line {line} has {len(row)} cells, the first line {len(names)}")
            yield row

    return names, rows()


def _numbers(cells: Sequence[str]) -> list[float] | None:
    """The finite numbers among the cells, or None if one of them is text."""
    numbers = []
    for cell in cells:
        try:
            number = float(cell)
        except ValueError:
            text = cell.strip()
            if text.lower() in _NO_NUMBER or set(text) == {"*"}:
                continue
            return None
        if "_" in cell:
            return None  # a name such as 2020_01, which Python takes for a number
        if math.isfinite(number):
            numbers.append(number)
    return numbers
