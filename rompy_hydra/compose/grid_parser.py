"""From overrides as typed to the points of a sweep."""

from __future__ import annotations

import decimal
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from rompy_hydra.compose.override_parser import json_value, parse
from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json
from rompy_hydra.sweep.cases import read_cases
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.filter import compile_filter
from rompy_hydra.sweep.points import Assignment, Axis, Grid, Lazy, zip_axes
from rompy_hydra.sweep.sampling import samples

# Up to here the values of a range are counted one by one.
_COUNTED = 1_000_000
# Decimal numbers, as the grammar and Python read them alike.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,30})?", re.ASCII)
# What a sweep gives to each of its runs.
_BY_THE_SWEEP = {
    "run_id": "a sweep names its runs by their overrides; leave it out, or name the sweep: sweep.name=NAME",
    "output_dir": "the runs of a sweep lie in its directory; say sweep.directory=DIR instead",
}
# Texts that Hydra's grammar reads as themselves.
_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_-]*", re.IGNORECASE)


def grid(
    arguments: Sequence[str], params: Mapping[str, Any], sweep: SweepConfig, config_loader: Any
) -> Grid:
    """The grid of a command line; its own overrides win over `hydra.sweeper.params`.

    Nothing is enumerated here, so that a huge grid can be counted.
    """
    typed = parse(arguments)
    given = {_path(override) for override in typed}
    defaults = parse([f"{key}={value}" for key, value in params.items()])
    _refuse_own("hydra.sweeper.params", list(params))
    axes: dict[str, Axis] = {}
    intervals: dict[str, tuple[float, float, bool]] = {}
    for override in [*(each for each in defaults if _path(each) not in given), *typed]:
        override = replace(override, config_loader=config_loader)
        key = override.get_key_element()
        if override.is_interval_sweep():
            _refuse_both(key, {*axes, *intervals})
            intervals[key] = _interval(override)
            continue
        if override.is_sweep_override() or len(axes.get(key, ())) > 1:
            _refuse_both(key, {*axes, *intervals})
        # As in Hydra the last of two counts, also where its place matters.
        axes.pop(key, None)
        axes[key] = _axis(override)
        if not axes[key]:
            raise ConfigError(f"{override.input_line}: there is nothing to sweep over")
    if intervals and sweep.design is None:
        raise ConfigError(
            f"{next(iter(intervals))}=interval(...) needs a design: sweep.design=latin_hypercube "
            "sweep.samples=20"
        )
    joined = list(zip_axes(axes, sweep.zip))
    if sweep.design is not None:
        joined.append(_design(sweep, intervals))
    if sweep.cases is not None:
        joined.append(_cases(sweep, {*axes, *intervals}))
    return Grid(tuple(joined), compile_filter(sweep.filter) if sweep.filter else None)


def batch(lines: Sequence[Sequence[str]]) -> Grid:
    """The points that another sweeper made, as its overrides tell them."""
    points = [[_fixed(override) for override in parse(line)] for line in lines]
    common = set.intersection(*({each.text for each in point} for point in points))
    return Grid(([tuple(replace(a, fixed=a.text in common) for a in point) for point in points],))


def refuse_given(where: str, path: str) -> None:
    """ConfigError if a key is one that a sweep gives to each of its runs."""
    if path in _BY_THE_SWEEP:
        raise ConfigError(f"{where}: {_BY_THE_SWEEP[path]}")


def _refuse_own(where: str, keys: Sequence[str]) -> None:
    """ConfigError if a file sweeps over what is the sweep's own."""
    for key in keys:
        path = key.lstrip("+~")
        refuse_given(f"{where}: '{key}'", path)
        if path.split(".")[0] in ("sweep", "hydra"):
            raise ConfigError(f"{where}: '{key}' is a setting of the sweep: it has one value")


def _path(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+~")


def _refuse_both(key: str, others: set[str]) -> None:
    if key.lstrip("+") in {other.lstrip("+") for other in others}:
        raise ConfigError(f"'{key}' is given twice: put all its values into one override")


def _design(sweep: SweepConfig, intervals: Mapping[str, tuple[float, float, bool]]) -> Axis:
    design, count = sweep.design, sweep.samples
    assert design is not None and count is not None

    # The order in which the keys were typed decides nothing.
    ordered = dict(sorted(intervals.items(), key=lambda each: each[0].lstrip("+")))

    def make() -> Iterator[tuple[Assignment, ...]]:
        for row in samples(design, ordered, count, sweep.seed):
            yield tuple(assignment(key, value) for key, value in row.items())

    return Lazy(count, make)


def _cases(sweep: SweepConfig, given: set[str]) -> Axis:
    assert sweep.cases is not None
    cases = read_cases(sweep.cases, assignment, _typed)
    _refuse_own(f"sweep.cases: {sweep.cases}", [a.key for a in cases[0]])
    elsewhere = {key.lstrip("+~") for key in given}
    both = sorted(a.key for a in cases[0] if a.key.lstrip("+") in elsewhere)
    if both:
        raise ConfigError(f"'{both[0]}' is given on the command line and in {sweep.cases}")
    return cases


def _axis(override: Override) -> Axis:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [(_fixed(override),)]

    def make() -> Iterator[tuple[Assignment, ...]]:
        # Values are converted here once, so that no point needs the parser again.
        for value in override.sweep_iterator():
            plain = json_value(Override._convert_value(value))
            if isinstance(plain, float) and is_range:
                # Steps add up to 0.30000000000000004, where 0.3 is meant, and typed the next time.
                yield (assignment(key, float(f"{plain:.{sys.float_info.dig}g}")),)
            else:
                yield (Assignment(key, plain, f"{key}={_text(value)}"),)

    values = override.value()
    is_range = isinstance(values, RangeSweep)
    if isinstance(values, RangeSweep) and not values.shuffle:
        return Lazy(_length(override, values), make)
    if isinstance(values, ChoiceSweep) and not values.shuffle:
        return Lazy(len(values.list), make)
    return list(make())  # shuffled but once, or the options of a group


def _length(override: Override, sweep: RangeSweep) -> int:
    assert sweep.start is not None and sweep.stop is not None
    if sweep.step == 0:
        raise ConfigError(f"{override.input_line}: the step must not be 0")
    numbers = sweep.range()
    if isinstance(numbers, range):
        return len(numbers)
    start, stop, step = (decimal.Decimal(x) for x in (sweep.start, sweep.stop, sweep.step))
    if not all(number.is_finite() for number in (start, stop, step)):
        raise ConfigError(f"{override.input_line}: a range needs finite numbers")
    about = max(0, math.ceil((stop - start) / step))
    # Hydra adds up the steps, which may make one value more or less.
    return about if about > _COUNTED else sum(1 for _ in numbers)


def _fixed(override: Override) -> Assignment:
    key = override.get_key_element()
    if override.is_delete():
        return Assignment(key, None, str(override.input_line), fixed=True)
    value = json_value(override.value())
    return Assignment(key, value, f"{key}={_text(override._value)}", fixed=True)


def _interval(override: Override) -> tuple[float, float, bool]:
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    low, high = interval.start, interval.end
    assert low is not None and high is not None
    return float(low), float(high), isinstance(low, int) and isinstance(high, int)


def assignment(key: str, value: Json) -> Assignment:
    """An override of a value that does not come from Hydra's grammar."""
    return Assignment(key, value, f"{key}={text_of(value)}")


def text_of(value: Json) -> str:
    """A value as it can be typed."""
    return _text(_quoted(value))


def _typed(key: str, text: str) -> Assignment:
    """A cell of a table: what Hydra's grammar reads in it, or else the text itself."""
    if _NUMBER.fullmatch(text):  # most cells: a hundred times as quick as the parser
        number = float(text) if "." in text else int(text)
        return Assignment(key, number, f"{key}={number}")
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={text}")
        if not parsed.is_sweep_override():
            return Assignment(key, json_value(parsed.value()), f"{key}={_text(parsed._value)}")
    except HydraException:
        pass  # such as 'a, b (c)': a text that the grammar knows only in quotes
    return assignment(key, text)


def _quoted(value: Json) -> Any:
    """A value as the grammar's parser would have it, every text in quotes."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    if isinstance(value, dict):
        return {name: _quoted(each) for name, each in value.items()}
    return value


def _text(element: Any) -> str:
    """A value as it can be typed, the same text for the same value."""
    if isinstance(element, str):
        element = QuotedString(element, Quote.single)
    if isinstance(element, QuotedString):
        return element.text if _WORD.fullmatch(element.text) else _single(element)
    if isinstance(element, bool):
        return str(element).lower()
    return str(Override._get_value_element_as_str(element))


def _single(text: QuotedString) -> str:
    return QuotedString(text.text, Quote.single).with_quotes()
