"""From overrides as typed to the points of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from rompy_hydra.compose.composer import json_value, parse
from rompy_hydra.errors import ConfigError
from rompy_hydra.provenance import Json
from rompy_hydra.sweep.cases import read_cases
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.design import samples
from rompy_hydra.sweep.filter import compiled
from rompy_hydra.sweep.points import Assignment, Axis, Grid, zipped


def grid(
    arguments: Sequence[str], params: Mapping[str, Any], sweep: SweepConfig, config_loader: Any
) -> Grid:
    """The grid of a command line; its own overrides win over `hydra.sweeper.params`."""
    typed = parse(list(arguments))
    given = {override.get_key_element() for override in typed}
    defaults = parse([f"{key}={value}" for key, value in params.items() if key not in given])
    axes: dict[str, Axis] = {}
    intervals: dict[str, tuple[float, float, bool]] = {}
    for override in [*defaults, *typed]:
        override.config_loader = config_loader
        key = override.get_key_element()
        if override.is_interval_sweep():
            intervals[key] = _interval(override)
        else:
            axes[key] = _axis(override)
            if not axes[key]:
                raise ConfigError(f"{override.input_line}: there is nothing to sweep over")
    if intervals and sweep.design is None:
        raise ConfigError(
            f"{next(iter(intervals))}=interval(...) needs a design: sweep.design=latin_hypercube "
            "sweep.samples=20"
        )
    joined = list(zipped(axes, sweep.zip))
    if sweep.design is not None:
        assert sweep.samples is not None
        rows = samples(sweep.design, intervals, sweep.samples, sweep.seed)
        joined.append([tuple(_assignment(k, v) for k, v in row.items()) for row in rows])
    if sweep.cases is not None:
        joined.append(_cases(sweep, axes))
    return Grid(tuple(joined), compiled(sweep.filter) if sweep.filter else None)


def _cases(sweep: SweepConfig, axes: Mapping[str, Axis]) -> Axis:
    assert sweep.cases is not None
    cases = read_cases(sweep.cases, _from_file)
    both = sorted({a.key for a in cases[0]} & set(axes))
    if both:
        raise ConfigError(f"'{both[0]}' is given on the command line and in {sweep.cases}")
    return cases


def _axis(override: Override) -> Axis:
    key = override.get_key_element()
    if not override.is_sweep_override():
        text = f"{key}={override.get_value_element_as_str()}"
        return [(Assignment(key, json_value(override.value()), text, fixed=True),)]
    # Values are converted here once, so that no point needs the parser again.
    return [
        (Assignment(key, json_value(Override._convert_value(value)), f"{key}={_text(value)}"),)
        for value in override.sweep_iterator()
    ]


def _text(value: Any) -> str:
    return Override._get_value_element_as_str(value)


def _interval(override: Override) -> tuple[float, float, bool]:
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    low, high = interval.start, interval.end
    assert low is not None and high is not None
    return float(low), float(high), isinstance(low, int) and isinstance(high, int)


def _assignment(key: str, value: Json) -> Assignment:
    return Assignment(key, value, f"{key}={_text(value)}")


def _from_file(key: str, value: Json) -> Assignment:
    """A cell of a file: what Hydra's grammar reads in it, or else the text itself."""
    if not isinstance(value, str):
        return _assignment(key, value)
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
        if not parsed.is_sweep_override():
            text = f"{key}={parsed.get_value_element_as_str()}"
            return Assignment(key, json_value(parsed.value()), text)
    except HydraException:
        pass  # such as 'a, b (c)': a text that the grammar knows only in quotes
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return Assignment(key, value, f"{key}='{quoted}'")
