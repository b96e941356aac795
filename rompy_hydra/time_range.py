"""The simulated period of a run."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from rompy_hydra.jsonable import Json

# `m` and `M` are both minutes, as in rompy's configurations; months have no fixed length.
_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_DURATION = re.compile(
    r"[0-9]+(?:\.[0-9]+)?\s*(?:min|[smhdwSMHDW])"
    rf"|P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_PART = re.compile(rf"({_NUMBER})\s*(min|[A-Za-z])")


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
    text = value.strip() if isinstance(value, str) else ""
    if _DURATION.fullmatch(text) and (parts := _PART.findall(text)):
        try:
            return timedelta(seconds=sum(float(n) * _UNIT_SECONDS[unit.lower()] for n, unit in parts))
        except OverflowError:
            raise ValueError(f"'{value}' exceeds the longest possible time range") from None
    raise ValueError(f"{value!r} is not a duration; write '1h', '15M', '2d', '30s' or 'PT1H'")


def parse_seconds(value: object) -> object:
    """Seconds from a duration with a unit, such as `1h`; numbers, which are seconds, stay as they are."""
    if isinstance(value, str) and not re.fullmatch(r"[-+.\deE]+|[-+]?(inf|nan).*", value.strip(), re.I):
        try:
            return parse_duration(value).total_seconds()
        except ValueError:
            raise ValueError(
                "is not a duration. Write seconds, or a number with a unit such as 90s, 15M, 1h or 2d"
            ) from None
    return value.total_seconds() if isinstance(value, timedelta) else value


# A duration in seconds, which may be given with a unit.
Seconds = Annotated[float, BeforeValidator(parse_seconds)]


def parse_time(value: object) -> datetime:
    """A point in time from ISO 8601 text, a date or a datetime; converted to UTC if it has an offset."""
    time = value
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"'{value}' is not a time; write '2024-01-31T06:00:00'") from None
    if not isinstance(time, date):
        raise ValueError(
            f"{value!r} is not a time; write '2024-01-31T06:00:00' in quotes "
            "(an unquoted time in YAML turns into a number)"
        )
    if not isinstance(time, datetime):
        return datetime(time.year, time.month, time.day)
    try:
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{time.isoformat()} is outside the years 1 to 9999 in UTC") from None


# A date in a text: `{start:%Y%m%d}`, also with an offset, `{end-1d:%Y%m%d}`.
_DATE = re.compile(r"\{(start|end)(?:([+-])([^{}:+-]+))?:([^{}]*%[^{}]*)\}")


def has_dates(text: str) -> bool:
    """Whether a text has dates of a period, such as `{start:%Y%m%d}`."""
    return bool(_DATE.search(text))


def with_dates(text: str, period: TimeRange) -> str:
    """A text with the dates of a period, which it has as `{start:%Y%m%d}` or `{end-1d:%Y%m%d}`.

    Other braces are kept. ValueError for an offset that is not a duration, or that leads too far.

    >>> with_dates("wind_{start-6h:%Y%m%d}.nc", TimeRange(start="2024-06-01", duration="1d"))
    'wind_20240531.nc'
    """

    def date(found: re.Match[str]) -> str:
        time: datetime = getattr(period, found[1])
        offset = parse_duration(found[3]) if found[3] else timedelta(0)
        try:
            return format(time - offset if found[2] == "-" else time + offset, found[4])
        except OverflowError:
            raise ValueError(f"{found[0]} is outside the years 1 to 9999") from None

    return _DATE.sub(date, text)


class Range(Protocol):
    """Two points in time, as in any package's class of periods."""

    start: datetime
    end: datetime


class TimeRange(BaseModel):
    """Start and end of the simulated period (UTC) and the interval between outputs.

    Two of `start`, `end` and `duration` determine the third. If all three are given, they must agree.
    An object of another package with `start`, `end` and `interval`, such as rompy's, is accepted as well.
    With `include_end`, `date_range` includes `end`, even if it falls between two steps.

    >>> TimeRange(start="2024-01-01", duration="6h").end
    datetime.datetime(2024, 1, 1, 6, 0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: datetime
    end: datetime
    duration: timedelta
    interval: Annotated[timedelta, BeforeValidator(parse_duration)] = timedelta(hours=1)
    include_end: bool = True

    @model_validator(mode="before")
    @classmethod
    def _derive_third(cls, data: Any) -> Any:
        if hasattr(data, "start") and hasattr(data, "end") and not isinstance(data, cls):
            # Not the duration, which rompy keeps beside the two.
            names = ("start", "end", "interval", "include_end")
            data = {name: getattr(data, name) for name in names if hasattr(data, name)}
        if not isinstance(data, dict):
            return data
        given = {key: value for key, value in data.items() if value is not None}
        for key in [key for key in ("start", "end", "duration") if key in given]:
            try:
                given[key] = parse_duration(given[key]) if key == "duration" else parse_time(given[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        try:
            if given.keys() >= {"start", "end"}:
                given.setdefault("duration", given["end"] - given["start"])
            elif given.keys() >= {"start", "duration"}:
                given["end"] = given["start"] + given["duration"]
            elif given.keys() >= {"end", "duration"}:
                given["start"] = given["end"] - given["duration"]
            else:
                raise ValueError("needs two of start, end and duration")
        except OverflowError:
            raise ValueError(
                f"a duration of {given['duration']} reaches beyond the years 1 to 9999"
            ) from None
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

    def plain_data(self) -> dict[str, Json]:
        """The period as plain data, as it distinguishes a run: without `include_end` at its default."""
        data: dict[str, Json] = self.model_dump(mode="json")
        if self.include_end:  # earlier versions do not have it
            del data["include_end"]
        return data

    @property
    def date_range(self) -> list[datetime]:
        """The times of `times` before `end`, and `end` if `include_end` is set, as in rompy."""
        before = [time for time in self.times if time < self.end]
        return [*before, self.end] if self.include_end else before

    def contains(self, date: datetime | str) -> bool:
        """Whether a point in time is between `start` and `end`, or one of them."""
        return self.start <= parse_time(date) <= self.end

    def contains_range(self, date_range: Range) -> bool:
        """Whether all of another range is in this one."""
        return self.contains(date_range.start) and self.contains(date_range.end)

    def common_times(self, date_range: Range) -> list[datetime]:
        """The times of `date_range` that are in another range, too."""
        start, end = parse_time(date_range.start), parse_time(date_range.end)
        return [time for time in self.date_range if start <= time <= end]

    def format_duration(self, duration: timedelta) -> str:
        """A duration in words, to the second; `None` for no time at all, as in rompy."""
        minutes, seconds = divmod(duration.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        parts = {"day": duration.days, "hour": hours, "minute": minutes, "second": seconds}
        words = [f"{number} {unit}{'s' * (number != 1)}" for unit, number in parts.items() if number > 0]
        return ", ".join(words) or ("0 seconds" if duration else "None")

    @property
    def times(self) -> list[datetime]:
        """Output times from `start` in steps of `interval`, including `end` if it falls on a step."""
        steps = self.duration // self.interval
        return [self.start + step * self.interval for step in range(steps + 1)]
