"""Read tables of numbers: separated by commas, semicolons, tabs or spaces, or in columns of fixed width."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TextIO

_MISSING = {"", "na", "n/a", "null", "none", "-", "--"}
# What starts a comment in the tables of models: SWAN writes %.
_COMMENTS = ("#", "%", "!", "$")
_SHORT_EXPONENT = re.compile(r"([+-]?(?:\d+\.\d*|\.\d+))([+-]\d{3})")
# Characters of a line: a file without line ends may be larger than the memory.
_LONGEST_LINE = 1 << 24


def read_header(file: TextIO) -> tuple[list[str], Iterator[list[str]]]:
    """The column names, and the rows below them without comments and blank lines."""
    comment, skipped, first = "", 0, ""
    lines = _lines(file)
    for first in lines:
        if first.strip() and not first.lstrip().startswith("#"):
            break
        comment = first.lstrip("# \t") if first.strip() else comment
        skipped, first = skipped + 1, ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(itertools.chain([first] if first else [], lines), delimiter=delimiter)
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
        number = number_of(cell)
        if math.isnan(number):
            text = cell.strip().lower()
            if text in _MISSING or is_too_large(text) or text.lstrip("+-") == "nan":
                continue
            return None
        if math.isfinite(number):
            numbers.append(number)
    return numbers


def open_table(
    file: TextIO, is_csv: bool, widths: Sequence[int] = ()
) -> tuple[list[str], Iterator[list[str]]]:
    """The column names and the rows of a table; csv.Error if it is not one.

    Rows are split at the delimiter of a CSV file, else at spaces, or into columns of fixed `widths`
    (characters). Without a header, columns are named `column_1` and so on.
    """
    if is_csv:
        return read_header(file)
    return _read_space_separated(file, widths)


def column_of(names: Sequence[str], variable: str | int) -> int | None:
    """The index of a column by its name or its number from 1; None if there is none."""
    if isinstance(variable, int):
        return variable - 1 if 1 <= variable <= len(names) else None
    return names.index(variable) if variable in names else None


def number_of(cell: str) -> float:
    """The number in a cell, NaN if it has none. Fortran's exponents are accepted (`1.0D+03`, `1.0-103`).

    >>> number_of("1.5D+03"), number_of("1.5+103"), number_of("******")
    (1500.0, 1.5e+103, nan)
    """
    text = cell.strip()
    if "_" in text:
        return math.nan  # a name such as 2020_01, which Python parses as a number
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Fortran leaves out the letter of an exponent with three digits.
        short = _SHORT_EXPONENT.fullmatch(text)
        return float(f"{short[1]}E{short[2]}" if short else text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return math.nan


def is_too_large(cell: str) -> bool:
    """Whether a cell has the asterisks that Fortran writes for a number that does not fit."""
    return set(cell.strip()) == {"*"}


def _read_space_separated(file: TextIO, widths: Sequence[int]) -> tuple[list[str], Iterator[list[str]]]:
    comments: list[list[str]] = []
    first: list[str] = []
    lines = _lines(file)
    for line in lines:
        if line.lstrip()[:1] in _COMMENTS:
            words = line.strip().lstrip("".join(_COMMENTS)).split()
            # Units stand below the names, in brackets.
            comments += [] if all(word[0] in "[(" for word in words) else [words]
        elif line.strip():
            first = _cells(line, widths)
            break
    has_header = bool(first) and parse_numbers(first) is None
    numbered = [f"column_{number}" for number in range(1, len(first) + 1)]
    named = (words for words in reversed(comments) if len(words) == len(first))
    names = first if has_header else next(named, numbered)

    def rows() -> Iterator[list[str]]:
        if first and not has_header:
            yield first
        for line in lines:
            if line.strip() and line.lstrip()[0] not in _COMMENTS:
                yield _cells(line, widths)

    return names, rows()


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line is longer than {_LONGEST_LINE} characters")
        yield line


def _cells(line: str, widths: Sequence[int]) -> list[str]:
    if not widths:
        return line.split()
    ends = list(itertools.accumulate(widths))
    text = line.rstrip("\n")
    return [text[end - width : end].strip() for end, width in zip(ends, widths, strict=True)]
