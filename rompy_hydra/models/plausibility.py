"""Declared checks of what outputs and logs contain: ranges, missing values, times, counts, log values.

Only the variables that a check names are read, in blocks, each once for all checks of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    model_validator,
)

from rompy_hydra.time_range import parse_duration, parse_time
from rompy_hydra.workspace import Glob

Name = str | PositiveInt


def check_regex(pattern: str) -> str:
    """`pattern` unchanged if it is a valid regular expression, else ValueError."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a valid regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(check_regex)]


def _check_has_number(pattern: str) -> str:
    if re.compile(pattern).groups != 1:
        raise ValueError(f"'{pattern}' must have one group, in parentheses, for the number")
    return pattern


def _seconds(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value).total_seconds()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _beyond(value: object) -> object:
    return value if value == "any" else _seconds(value)


def _reached(value: object) -> object:
    is_time = isinstance(value, str) and value != "end"
    return parse_time(value).isoformat() if is_time or isinstance(value, datetime) else value


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class _Bounded(_Data):
    """With a minimum, a maximum, or both."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max, {self.max:g}")
        return self

    def excess(self, low: float, high: float, unit: str = "") -> str:
        """What is wrong with values between `low` and `high`; '' if they are in the range."""
        if self.max is not None and high > self.max:
            return f"reaches {high:.6g}{unit}, above the maximum of {self.max:g}{unit}"
        if self.min is not None and low < self.min:
            return f"reaches {low:.6g}{unit}, below the minimum of {self.min:g}{unit}"
        return ""


class Mask(_Bounded):
    """Where a check applies: the cells in which another variable of the same file is in a range."""

    variable: Name


class OfFiles(_Data):
    """Files of the run: netCDF by their suffix, delimited text as .csv or .tsv, else columns of numbers."""

    # All files that match are one data set.
    file: Glob
    # Characters of each column, where numbers are not separated by spaces.
    widths: tuple[PositiveInt, ...] = ()
    # Whether the check is about an input; otherwise, an input that the model did not write fails it.
    input: bool = False


class OfVariable(OfFiles):
    """A variable of a netCDF file, or a column of a table by its name or its number from 1; `*` for all."""

    variable: Name
    mask: Mask | None = None
    # Further numbers that stand for missing values, such as -9 in the tables of SWAN.
    missing: tuple[FiniteFloat, ...] = ()

    @property
    def source(self) -> tuple[object, ...]:
        """What is read for this check; checks with an equal source share it."""
        return self.file, self.variable, self.mask, self.missing, self.widths, self.input


class Range(OfVariable, _Bounded):
    """All values that are not missing are between `min` and `max`, and there is at least one.

    Infinity is not in any range, nor are the asterisks that Fortran writes for a number that does not fit.
    """

    check: ClassVar[str] = "range"


class Finite(OfVariable):
    """At most this share of the values, from 0 to 1, is missing (NaN, infinite, or a fill value)."""

    check: ClassVar[str] = "finite"

    max_missing: float = Field(default=0.0, ge=0, le=1)


class NotConstant(OfVariable):
    """The largest and the smallest value differ by more than `spread`."""

    check: ClassVar[str] = "not_constant"

    spread: FiniteFloat = Field(default=0.0, ge=0)


class NotAllZero(OfVariable):
    """At least one value is not zero."""

    check: ClassVar[str] = "not_all_zero"


class LastTime(OfFiles):
    """The last time in the output reaches the end of the period, or another time, and not much more.

    `reaches` is `end`, a date, or a number in the variable's own units. Times without a reference date are
    `unit`s since the start of the period. `tolerance` is a duration: `1h`, or seconds. `beyond` is how much
    later than the end of the period the output may end, or `any`; by default one of its own time steps.
    """

    check: ClassVar[str] = "last_time"

    variable: Name | None = None
    reaches: Annotated[Literal["end"] | FiniteFloat | str, BeforeValidator(_reached)] = "end"
    tolerance: Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)] = 1.0
    beyond: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["any"] | None, BeforeValidator(_beyond)
    ] = None
    unit: Literal["s", "min", "h", "d"] = "s"


class Count(OfFiles):
    """The number of time steps of a netCDF file, or of lines of a table, is in a range.

    Files that are consecutive in time count together, all others each for themselves. `dimension` is
    another dimension to count. Comments and blank lines do not count.
    """

    check: ClassVar[str] = "count"

    dimension: str | None = None
    min: int = Field(default=1, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min} is above max, {self.max}")
        return self


class LogValue(_Bounded):
    """A number in a log is in a range: the group of a regular expression, in lines that match.

    `which` line counts: every one, the first or the last. At least one line must match. `file` is the log,
    by default `log_file`.
    """

    check: ClassVar[str] = "log_value"

    pattern: Annotated[Regex, AfterValidator(_check_has_number)]
    file: Glob | None = None
    which: Literal["every", "first", "last"] = "every"


class LogPatterns(_Data):
    """Patterns for one more log: regular expressions, each of which is compared with every line.

    The log must exist, unless it is `optional`: some models write a file of warnings only if there are any.
    """

    file: Glob
    optional: bool = False
    must_contain: tuple[Regex, ...] = ()
    must_not_contain: tuple[Regex, ...] = ()
    warnings: tuple[Regex, ...] = ()


def describe_share(share: float) -> str:
    """A share as a percentage that is never rounded to all or nothing.

    >>> describe_share(0.4321), describe_share(0.999999)
    ('43 %', '99.9999 %')
    """
    percent = 100 * share
    return f"{percent:.0f} %" if 1 <= percent <= 99 or percent in (0, 100) else f"{percent:.6g} %"


@dataclass
class Values:
    """Statistics of a variable: all cells, those that are not missing, and their range.

    `too_large` counts the infinite ones, and those that did not fit into their column; they are missing.
    """

    cells: int = 0
    valid: int = 0
    low: float = math.inf
    high: float = -math.inf
    too_large: int = 0

    def add(self, cells: int, valid: int, low: float, high: float, too_large: int) -> None:
        """Add the statistics of further values."""
        self.cells, self.valid = self.cells + cells, self.valid + valid
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.too_large += too_large


def wrong_values(check: OfVariable, found: Values) -> str:
    """What is wrong with the statistics of a variable; '' if the check passes."""
    if not found.cells:
        return "has no values" + (" where the mask applies" if check.mask else "")
    if isinstance(check, Finite):
        share = (found.cells - found.valid) / found.cells
        shown, limit = describe_share(share), describe_share(check.max_missing)
        return f"lacks {shown} of its values, more than {limit}" if share > check.max_missing else ""
    if isinstance(check, Range) and found.too_large:
        plural = "" if found.too_large == 1 else "s"
        return f"has {found.too_large} value{plural} infinite or too large for its column (****)"
    if not found.valid:
        return "has only missing values"
    if isinstance(check, Range):
        return check.excess(found.low, found.high)
    if isinstance(check, NotConstant):
        return f"is {found.low:.6g} everywhere" if found.high - found.low <= check.spread else ""
    return "is zero everywhere" if found.low == found.high == 0 else ""
