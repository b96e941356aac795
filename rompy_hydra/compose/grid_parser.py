"""From overrides as typed to the points of a sweep."""

from __future__ import annotations

import contextlib
import decimal
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from loguru import logger

from rompy_hydra.compose.override_parser import json_value, parse, path_of, text_of
from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json
from rompy_hydra.redaction import remember_secrets
from rompy_hydra.redaction.names import is_secret
from rompy_hydra.sweep.cases import read_cases
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.filter import compile_filter
from rompy_hydra.sweep.points import Assignment, Axis, Grid, Lazy, zip_axes
from rompy_hydra.sweep.sampling import samples

# Up to here the values of a range are counted one by one.
_COUNTED = 1_000_000
# Decimal numbers, as the grammar and Python read them alike.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,30})?", re.ASCII)
# What a sweep sets in each of its runs.
_SET_BY_THE_SWEEP = {
    "run_id": "a sweep names its runs by their overrides; leave it out, or name the sweep: sweep.name=NAME",
    "output_dir": "the runs of a sweep are stored in its directory; set sweep.directory=DIR instead",
}


def grid(
    arguments: Sequence[str], params: Mapping[str, Any], sweep: SweepConfig, config_loader: Any
) -> Grid:
    """The grid of a command line; its own overrides win over `hydra.sweeper.params`.

    Nothing is enumerated here, so that a huge grid can be counted.
    """
    typed = parse(arguments)
    if not isinstance(params, Mapping):
        raise ConfigError(
            f"hydra.sweeper.params = {params!r}: must be a mapping from keys to values, such as "
            "{model.friction: '0.01,0.02'}"
        )
    if nested := next((key for key, value in params.items() if isinstance(value, Mapping)), None):
        raise ConfigError(
            f"hydra.sweeper.params: '{nested}' has keys below it. Write a whole path as one key, such as "
            "'model.friction: 0.01,0.02', or the values into the command: model.friction=0.01,0.02"
        )
    given = {path_of(override) for override in typed}
    defaults = parse([f"{key}={value}" for key, value in params.items()])
    _check_swept_by_file("hydra.sweeper.params", list(params))
    axes: dict[str, Axis] = {}
    intervals: dict[str, tuple[float, float, bool]] = {}
    for override in [*(each for each in defaults if path_of(each) not in given), *typed]:
        override = replace(override, config_loader=config_loader)
        key, values = override.get_key_element(), override.value()
        is_twice = key.lstrip("+") in {other.lstrip("+") for other in (*axes, *intervals)}
        if is_twice and (override.is_sweep_override() or len(axes.get(key, ())) > 1):
            raise ConfigError(f"'{key}' is given twice: put all its values into one override")
        if isinstance(values, IntervalSweep):
            low, high = values.start, values.end
            assert low is not None and high is not None
            intervals[key] = float(low), float(high), isinstance(low, int) and isinstance(high, int)
            continue
        # As in Hydra the last of two counts, also where its place matters.
        axes.pop(key, None)
        axes[key] = _axis(override)
        if not axes[key]:
            raise ConfigError(f"{override.input_line}: there is nothing to sweep over")
    joined = list(zip_axes(axes, sweep.zip))
    if sweep.design is not None:
        joined.append(_design(sweep, intervals))
    elif intervals:
        raise ConfigError(
            f"{next(iter(intervals))}=interval(...) needs a design: sweep.design=latin_hypercube "
            "sweep.samples=20"
        )
    if sweep.cases is not None:
        cases = read_cases(sweep.cases, assignment, _from_cell)
        keys = [each.key for each in cases[0]]
        _check_swept_by_file(f"sweep.cases: {sweep.cases}", keys)
        elsewhere = {key.lstrip("+~") for key in (*axes, *intervals)}
        if both := sorted(key for key in keys if key.lstrip("+") in elsewhere):
            raise ConfigError(f"'{both[0]}' is given on the command line and in {sweep.cases}")
        joined.append(cases)
    return Grid(tuple(joined), compile_filter(sweep.filter) if sweep.filter else None)


def batch(lines: Sequence[Sequence[str]]) -> Grid:
    """The points that another sweeper made, from its overrides."""
    points = [[_fixed(override) for override in parse(line)] for line in lines]
    common = set.intersection(*({each.text for each in point} for point in points))
    return Grid(([tuple(replace(a, fixed=a.text in common) for a in point) for point in points],))


def check_settable(where: str, path: str) -> None:
    """ConfigError if a key is one that a sweep sets in each of its runs."""
    if path in _SET_BY_THE_SWEEP:
        raise ConfigError(f"{where}: {_SET_BY_THE_SWEEP[path]}")


def _check_swept_by_file(where: str, keys: Sequence[str]) -> None:
    for key in keys:
        path = key.lstrip("+~")
        check_settable(f"{where}: '{key}'", path)
        if path.split(".")[0] in ("sweep", "hydra"):
            raise ConfigError(f"{where}: '{key}' is a setting of the sweep: it has one value")


def _design(sweep: SweepConfig, intervals: Mapping[str, tuple[float, float, bool]]) -> Axis:
    design, count = sweep.design, sweep.samples
    assert design is not None and count is not None
    # The order in which the keys were typed must not matter.
    ordered = dict(sorted(intervals.items(), key=lambda each: each[0].lstrip("+")))

    def make() -> Iterator[tuple[Assignment, ...]]:
        for row in samples(design, ordered, count, sweep.seed):
            yield tuple(assignment(key, value) for key, value in row.items())

    return Lazy(count, make)


def _axis(override: Override) -> Axis:
    values = override.value()
    if not override.is_sweep_override():
        return [(_fixed(override),)]

    def make() -> Iterator[tuple[Assignment, ...]]:
        # Values are converted here once, so that no point needs the parser again.
        for value in override.sweep_iterator():
            plain = json_value(Override._convert_value(value))
            if isinstance(plain, float) and isinstance(values, RangeSweep):
                # Steps add up to 0.30000000000000004, where 0.3 is meant, and typed the next time.
                plain = float(f"{plain:.{sys.float_info.dig}g}")
            yield (assignment(override.get_key_element(), plain),)

    if isinstance(values, RangeSweep):
        _check_step(override, values)
    if isinstance(values, RangeSweep) and not values.shuffle:
        return Lazy(_length(override, values), make)
    if isinstance(values, ChoiceSweep) and not values.shuffle:
        return Lazy(len(values.list), make)
    if isinstance(values, RangeSweep) and _length(override, values) > _COUNTED:
        raise ConfigError(f"{override.input_line}: at most {_COUNTED} values can be shuffled")
    return list(make())  # shuffled only once, or the options of a group


def _check_step(override: Override, sweep: RangeSweep) -> None:
    """Warn of a range of fractions that counts in steps of 1, because no step is given."""
    start, stop, line = sweep.start, sweep.stop, str(override.input_line)
    given = re.search(r"range\(([^()]*)\)", line)
    if given is None or "step" in given[1] or given[1].count(",") > 1 or not isinstance(start, int | float):
        return
    if not isinstance(stop, int | float) or not math.isfinite(stop - start):
        return  # reported where the values are counted
    if isinstance(start, float) or isinstance(stop, float):
        count = max(0, math.ceil(stop - start))
        step = float(f"{(stop - start) / 4:.1g}")
        logger.warning(
            f"{line} has no step, so it counts in steps of 1: {count} value{'s' * (count != 1)}. Add one, "
            f"such as range({start},{stop},{step})"
        )


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
    if about > sys.maxsize:
        raise ConfigError(f"{override.input_line}: the range has too many values")
    # Hydra adds up the steps, which may make one value more or less.
    return about if about > _COUNTED else sum(1 for _ in numbers)


def _fixed(override: Override) -> Assignment:
    key = override.get_key_element()
    if override.is_delete():
        return Assignment(key, None, str(override.input_line), fixed=True)
    return replace(assignment(key, json_value(override.value())), fixed=True)


def assignment(key: str, value: Json) -> Assignment:
    """An override that sets a key to a value."""
    if is_secret(key):
        remember_secrets(value, key)
    return Assignment(key, value, f"{key}={text_of(value)}")


def _from_cell(key: str, text: str) -> Assignment:
    """A cell of a table: what Hydra's grammar reads in it, or else the text itself."""
    if _NUMBER.fullmatch(text):  # most cells: a hundred times as quick as the parser
        return assignment(key, float(text) if "." in text else int(text))
    with contextlib.suppress(ConfigError):  # such as 'a, b (c)': the grammar knows it only in quotes
        [parsed] = parse([f"{key}={text}"])
        if not parsed.is_sweep_override():
            return assignment(key, json_value(parsed.value()))
    return assignment(key, text)
