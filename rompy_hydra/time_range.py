"""The simulated period of a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

# `m` and `M` are both minutes, as in rompy's configurations; months have no fixed length.
_UNIT_SECONDS = {"s": 1, "M": 60, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT_SECONDS |= {"S": 1, "H": 3600, "D": 86400, "W": 604800}
_SHORT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")
_ISO = re.compile(
    r"P(?:(?P<w>[\d.]+)W)?(?:(?P<d>[\d.]+)D)?"
    r"(?:T(?:(?P<h>[\d.]+)H)?(?:(?P<M>[\d.]+)M)?(?:(?P<s>[\d.]+)S)?)?"
)

_T = TypeVar("_T")


def parse_duration(value: object) -> timedelta:
    """A duration from `1h`, `15M`, `2d`, `30s`, `1w`, ISO 8601 (`PT1H`) or a timedelta.

    Raises ValueError for anything else, including numbers: they have no unit, and YAML turns an
    unquoted `1:30` into the number 90.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool | int | float):
        raise ValueError(
            f"{value!r} has no unit; write '1h', '15M' or 'PT30S' (an unquoted time such as 1:30 "
            "in YAML turns into a number: put it in quotes)"
        )
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; write '1h', '15M', '2d' or 'PT1H'")
    parts: dict[str, str | None] = {}
    if short := _SHORT.fullmatch(value):
        number, unit = short.groups()
        parts = {unit: number} if unit in _UNIT_SECONDS else {}
    elif iso := _ISO.fullmatch(value.strip()):
        parts = iso.groupdict()
    if any(parts.values()):
        try:
            return timedelta(seconds=sum(float(n) * _UNIT_SECONDS[u] for u, n in parts.items() if n))
        except ValueError:
            pass  # such as 'PT1.2.3S': reported below, with the valid forms
        except OverflowError:
            raise ValueError(f"'{value}' exceeds the longest possible time range") from None
    raise ValueError(f"'{value}' is not a duration; write '1h', '15M', '2d', '30s' or 'PT1H'")


def parse_time(value: object) -> datetime:
    """A point in time from ISO 8601 text, a date or a datetime; converted to UTC if it has an offset."""
    if isinstance(value, datetime):
        time = value
    elif isinstance(value, date):
        time = datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"'{value}' is not a time; write '2024-01-31T06:00:00'") from None
    else:
        raise ValueError(
            f"{value!r} is not a time; write '2024-01-31T06:00:00' in quotes "
            "(an unquoted time in YAML turns into a number)"
        )
    try:
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{time.isoformat()} is outside the years 1 to 9999 in UTC") from None


def _parse_field(parse: Callable[[object], _T], given: dict[str, object], key: str) -> _T | None:
    """The value of a field, None if it is not given; the error names the field."""
    if key not in given:
        return None
    try:
        return parse(given[key])
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


Time = Annotated[datetime, BeforeValidator(parse_time)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class TimeRange(BaseModel):
    """Start and end of the simulated period (UTC) and the interval between outputs.

    Two of `start`, `end` and `duration` determine the third. If all three are given, they must agree.

    >>> TimeRange(start="2024-01-01", duration="6h").end
    datetime.datetime(2024, 1, 1, 6, 0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Time
    end: Time
    duration: Duration
    interval: Duration = timedelta(hours=1)

    @model_validator(mode="before")
    @classmethod
    def _derive_third(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        given = {k: v for k, v in data.items() if v is not None}
        start, end = (_parse_field(parse_time, given, key) for key in ("start", "end"))
        duration = _parse_field(parse_duration, given, "duration")
        try:
            if start is not None and end is not None:
                given.setdefault("duration", end - start)
            elif start is not None and duration is not None:
                given["end"] = start + duration
            elif end is not None and duration is not None:
                given["start"] = end - duration
            else:
                raise ValueError("needs two of start, end and duration")
        except OverflowError:
            raise ValueError(f"a duration of {duration} reaches beyond the years 1 to 9999") from None
        return given

    @model_validator(mode="after")
    def _check_consistency(self) -> TimeRange:
        if self.end == self.start:
            raise ValueError(f"starts and ends at the same time ({self.start.isoformat()})")
        if self.end < self.start:
            raise ValueError(f"ends ({self.end.isoformat()}) before it starts ({self.start.isoformat()})")
        if self.end - self.start != self.duration:
            raise ValueError(
                f"start, end and duration contradict each other: from {self.start.isoformat()} to "
                f"{self.end.isoformat()} is not {self.duration}; leave one of them out"
            )
        if self.interval <= timedelta(0):
            raise ValueError(f"interval must be positive, not {self.interval}")
        return self

    @property
    def times(self) -> list[datetime]:
        """Output times from `start` in steps of `interval`, including `end` if it falls on a step."""
        steps = self.duration // self.interval
        return [self.start + step * self.interval for step in range(steps + 1)]
