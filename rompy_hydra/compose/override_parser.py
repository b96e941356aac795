"""Overrides: parsed by Hydra's grammar, with what this command line knows beyond it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json
from rompy_hydra.sweep.label import is_named, label
from rompy_hydra.sweep.points import Assignment

_FILTER = re.compile(r"(sweep\.filter=)\s*(?!['\"]|null$)(.+)", re.DOTALL)
_LIST = re.compile(r"processor=\[\s*([\w.:-]+(?:\s*,\s*[\w.:-]+)*)\s*\]")


def assignments(overrides: Sequence[str]) -> list[Assignment]:
    """Overrides as they were typed, with their values; deletions and groups of lists left out."""
    return [
        Assignment(each.get_key_element(), plain_value(each), str(each.input_line))
        for each in parse(overrides)
        if not each.is_delete() and not each.is_sweep_override()
    ]


def label_of(overrides: Sequence[str], without: set[str] | None = None) -> str:
    """The label of overrides as they were typed."""
    parsed = parse(overrides)
    return label(
        (override_key(each), plain_value(each))
        for each in parsed
        if override_key(each) not in (without or set()) and is_named(override_key(each))
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


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parsed overrides; ConfigError for an invalid one. They are shared: do not change them."""
    return [_parsed(line) for line in overrides]


# Several modules ask about the overrides of a command, and the parser takes a millisecond for each.
@functools.lru_cache(maxsize=1024)
def _parsed(line: str) -> Override:
    try:
        found = OverridesParser.create().parse_override(line)
    except HydraException as error:
        raise ConfigError(_invalid(line, first_line(error))) from error
    if not found.key_or_group:
        raise ConfigError(_invalid(line, "there is no key"))
    return found


def _invalid(line: str, why: str) -> str:
    return (
        f"'{line}' is not a valid override: write key=value, +key=value to add, ~key to remove; quote "
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


def in_hydras_terms(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra's grammar wants them."""
    return lists_of_options([_quoted_filter(line) for line in overrides])


def _quoted_filter(line: str) -> str:
    """`sweep.filter=a < b` without a second pair of quotes, which the grammar would need."""
    match = _FILTER.fullmatch(line)
    return line if match is None else match[1] + QuotedString(match[2], Quote.single).with_quotes()


def lists_of_options(overrides: Sequence[str]) -> list[str]:
    """`processor=[summary,map]` written in Hydra's own terms: several options of one group.

    Each goes to a package of its own, `processor.summary` and `processor.map`, in this order.
    """
    found: list[str] = []
    for line in overrides:
        match = _LIST.fullmatch(line.strip())
        if match is None:
            found.append(line)
            continue
        names = [name.strip() for name in match[1].split(",")]
        found.append("processor=none")
        # `dist:name` chooses one of two, but a key has no colon.
        found += [f"+processor@processor.{name.replace(':', '_')}={name}" for name in names]
    return found
