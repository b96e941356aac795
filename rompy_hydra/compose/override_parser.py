"""Overrides as Hydra's grammar has them, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json
from rompy_hydra.sweep.label import label, named
from rompy_hydra.sweep.points import Assignment


def assignments(overrides: Sequence[str]) -> list[Assignment]:
    """Overrides as they were typed, with their values; deletions and groups of lists left out."""
    return [
        Assignment(each.get_key_element(), plain_value(each), str(each.input_line))
        for each in parse(list(overrides))
        if not each.is_delete() and not each.is_sweep_override()
    ]


def label_of(overrides: Sequence[str], without: set[str] | None = None) -> str:
    """The label of overrides as they were typed."""
    parsed = parse(list(overrides))
    return label(
        (override_key(each), plain_value(each))
        for each in parsed
        if override_key(each) not in (without or set()) and named(override_key(each))
    )


def override_key(override: Override) -> str:
    """`+group@package` or `key.sub`, as it tells overrides apart."""
    sign = "~" if override.is_delete() else ""
    return sign + override.get_key_element().lstrip("+~")


def plain_value(override: Override) -> Json:
    """The value of an override that is no sweep, as Python has it."""
    return json_value(override.value())


def json_value(value: Any) -> Json:
    """A value of Hydra's grammar as plain data."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    found: Json = value
    return found


def parse(overrides: list[str]) -> list[Override]:
    """Parsed overrides; ConfigError for one that is none."""
    override_parser = OverridesParser.create()
    found = []
    for line in overrides:
        try:
            found.append(override_parser.parse_override(line))
        except HydraException as error:
            raise ConfigError(_no_override(line, first_line(error))) from error
        if not found[-1].key_or_group:
            raise ConfigError(_no_override(line, "there is no key"))
    return found


def _no_override(line: str, why: str) -> str:
    return (
        f"'{line}' is no override: write key=value, +key=value to add, ~key to remove; quote "
        f"values with blanks or commas as in key='\"a, b\"' ({why})"
    )


def whole_text(error: BaseException) -> str:
    """What an error and those that it came from say, a line each."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        if str(current) and str(current) not in parts:
            parts.append(str(current))
        current = current.__cause__
    return "\n".join(parts) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of that."""
    return (whole_text(error).splitlines() or [""])[0]
