from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from rompy_hydra import LocalConfig, TimeRange
from rompy_hydra.run import DockerConfig
from rompy_hydra.time_range import parse_duration, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600),
        ("15M", 900),
        ("15m", 900),
        ("15min", 900),
        ("2d", 172800),
        ("30s", 30),
        ("1w", 604800),
        ("1.5H", 5400),
        (" 2 D ", 172800),
        ("PT1H", 3600),
        ("PT30S", 30),
        ("P1DT12H", 129600),
        ("P2W", 1209600),
        ("PT0.5S", 0.5),
    ],
)
def test_short_and_iso_durations_are_parsed(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1y", "1 month", "P", "PT", "P1Y", "PT1.2.3S", "-1h", "1h30", "x"]
)
def test_an_invalid_duration_is_rejected_with_the_valid_forms(text):
    with pytest.raises(ValueError, match="is not a duration; write '1h'"):
        parse_duration(text)


@pytest.mark.parametrize("number", [90, 5400, 1.5, True, 0])
def test_a_number_is_not_a_duration_because_yaml_turns_unquoted_times_into_numbers(number):
    with pytest.raises(ValueError, match=r"has no unit.*put it in quotes"):
        parse_duration(number)


@pytest.mark.parametrize("value", [None, [1], {"hours": 1}])
def test_values_of_other_types_are_not_durations(value):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-31T06:00:00", datetime(2024, 1, 31, 6)),
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024-01-31 06:00", datetime(2024, 1, 31, 6)),
        ("2024-01-31T06:00:00Z", datetime(2024, 1, 31, 6)),
        ("2024-01-31T06:00:00+02:00", datetime(2024, 1, 31, 4)),
        ("20240131T0600", datetime(2024, 1, 31, 6)),
        (date(2024, 1, 31), datetime(2024, 1, 31)),
        (datetime(2024, 1, 31, 6), datetime(2024, 1, 31, 6)),
        (datetime(2024, 1, 31, 6, tzinfo=UTC), datetime(2024, 1, 31, 6)),
        (datetime(2024, 1, 31, 6, tzinfo=timezone(timedelta(hours=-3))), datetime(2024, 1, 31, 9)),
    ],
)
def test_times_are_parsed_and_converted_to_utc(value, expected):
    assert parse_time(value) == expected


@pytest.mark.parametrize("value", ["yesterday", "2024-13-01", "2024-02-30", "", "31.1.2024"])
def test_an_invalid_time_is_rejected(value):
    with pytest.raises(ValueError, match="is not a time; write"):
        parse_time(value)


@pytest.mark.parametrize("value", [20240131, 1.5, None])
def test_a_number_is_not_a_time_and_the_message_explains_the_missing_quotes(value):
    with pytest.raises(ValueError, match="in quotes"):
        parse_time(value)


def test_two_of_start_end_and_duration_determine_the_third():
    complete = TimeRange(start="2024-01-01", end="2024-01-02", duration="1d")
    assert TimeRange(start="2024-01-01", end="2024-01-02") == complete
    assert TimeRange(start="2024-01-01", duration="24h") == complete
    assert TimeRange(end="2024-01-02", duration="P1D") == complete
    assert complete.interval == timedelta(hours=1)


def test_null_counts_as_not_given():
    period = TimeRange(start="2024-01-01", end=None, duration="6h", interval="30M")
    assert period.end == datetime(2024, 1, 1, 6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": "2024-01-01", "end": "2024-01-02", "duration": "2d"}, "contradict each other"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "before it starts"),
        ({"start": "2024-01-01", "end": "2024-01-01"}, "starts and ends at the same time"),
        ({"start": "2024-01-01", "duration": "0h"}, "starts and ends at the same time"),
        ({"start": "2024-01-01", "duration": timedelta(hours=-1)}, "before it starts"),
        ({"start": "2024-01-01", "duration": "1h", "interval": "0s"}, "interval must be positive"),
        ({"start": "2024-01-01"}, "needs two of"),
        ({"duration": "1h"}, "needs two of"),
        ({}, "needs two of"),
        ({"start": "2024-01-01", "duration": 90}, "has no unit"),
        ({"start": 20240101, "duration": "1h"}, "is not a time"),
        ({"start": "2024-01-01", "duration": "1h", "step": "1h"}, "step"),
        # Beyond the range of dates: a message instead of an OverflowError.
        ({"start": "2024-01-01", "duration": "9999999d"}, "beyond the years"),
        ({"end": "2024-01-01", "duration": "9999999d"}, "beyond the years"),
        ({"start": "2024-01-01", "duration": "99999999999999d"}, "exceeds the longest"),
        ({"start": "2024-01-01", "end": "2024-01-02", "duration": "9999999d"}, "contradict"),
        ({"start": "0001-01-01T00:00+05:00", "duration": "1h"}, "outside the years"),
    ],
)
def test_an_inconsistent_period_is_rejected_with_the_reason(fields, message):
    with pytest.raises(ValidationError, match=message):
        TimeRange(**fields)


def test_output_times_run_from_start_to_end_in_steps():
    period = TimeRange(start="2024-01-01", duration="3h")
    assert [time.hour for time in period.times] == [0, 1, 2, 3]
    uneven = TimeRange(start="2024-01-01", duration="5h", interval="2h")
    assert [time.hour for time in uneven.times] == [0, 2, 4]


def test_output_times_are_exact_for_intervals_without_an_exact_binary_fraction():
    period = TimeRange(start="2024-01-01", duration="0.3s", interval="0.1s")
    assert len(period.times) == 4
    assert period.times[-1] == period.end


def test_a_period_survives_a_round_trip_through_json():
    period = TimeRange(start="2024-01-01T06:00", duration="90M", interval="PT10M")
    assert TimeRange.model_validate(period.model_dump(mode="json")) == period
    assert TimeRange.model_validate_json(period.model_dump_json()) == period


def test_a_period_is_immutable():
    period = TimeRange(start="2024-01-01", duration="1h")
    with pytest.raises(ValidationError, match="frozen"):
        period.start = datetime(2025, 1, 1)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("1h", 3600.0),
        ("2.5 min", 150.0),
        ("PT1M30S", 90.0),
        ("90", 90.0),
        ("1e3", 1000.0),
        (7, 7.0),
        (timedelta(minutes=1), 60.0),
    ],
)
def test_a_time_limit_is_given_in_seconds_or_with_a_unit(given, seconds):
    assert LocalConfig(timeout=given).timeout == seconds
    assert DockerConfig(timeout=given, kill_grace=given).kill_grace == seconds


@pytest.mark.parametrize("given", ["1 hour", "soon", "h", "1:30", ""])
def test_a_text_that_is_not_a_duration_is_refused_as_a_time_limit(given):
    with pytest.raises(ValueError, match=r"is not a duration\. Write seconds, or a number with a unit"):
        LocalConfig(timeout=given)


@pytest.mark.parametrize("given", ["0s", "-1", 0, "inf", "nan"])
def test_a_time_limit_must_be_a_positive_number(given):
    with pytest.raises(ValueError, match=r"greater than 0|finite number"):
        LocalConfig(timeout=given)
