"""Read tables of numbers: separated by commas, semicolons, tabs or blanks, or in columns of fixed width."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TextIO

_MISSING = {"", "na", "n/a", "null", "none", "-", "--"}


def read_header(file: TextIO) -> tuple[list[str], Iterator[list[str]]]:
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
    if names and parse_numbers(names) is not None:
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


def parse_numbers(cells: Sequence[str]) -> list[float] | None:
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
