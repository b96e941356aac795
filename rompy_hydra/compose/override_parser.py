"""Overrides: parsed by Hydra's grammar, and what this command line accepts beyond it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString, Sweep
from hydra.errors import HydraException

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json
from rompy_hydra.redaction import redacted_override, remember_secrets
from rompy_hydra.sweep.label import label

_FILTER = re.compile(r"(sweep\.filter=)\s*(?!['\"]|null$)(.+)", re.DOTALL)
_LIST = re.compile(r"\s*processor=\[\s*([\w.:-]+(?:\s*,\s*[\w.:-]+)*)\s*\]\s*")
# Texts that Hydra's grammar reads as themselves.
_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_-]*", re.IGNORECASE)

_STRAIGHT = str.maketrans("\u201c\u201d\u201e\u2018\u2019\u201a", "\"\"\"'''")


def label_of(overrides: Sequence[str], omits: Callable[[str], bool] = lambda _key: False) -> str:
    """The label of overrides as they were typed, less the keys that `omits` is true for."""
    return label(
        (key, json_value(each.value()))
        for each in parse(overrides)
        if not omits(key := ("~" if each.is_delete() else "") + path_of(each))
    )


def path_of(override: Override) -> str:
    """`group@package` or `key.sub`, without a sign."""
    return str(override.get_key_element()).lstrip("+~")


def json_value(value: Any) -> Json:
    """A value of Hydra's grammar as plain data."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    found: Json = value
    return found


def text_of(value: Json) -> str:
    """A value as it can be typed, the same text for the same value."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return str(Override._get_value_element_as_str(_quoted(value)))


def _quoted(value: Json) -> Any:
    """A value as the grammar's parser would have it, every text in quotes."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    if isinstance(value, dict):
        return {name: _quoted(each) for name, each in value.items()}
    return value


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parsed overrides; ConfigError for an invalid one. They are shared: do not change them."""
    return [_parsed(line) for line in overrides]


# Several modules ask about the overrides of a command, and the parser takes a millisecond for each.
@functools.lru_cache(maxsize=1024)
def _parsed(line: str) -> Override:
    try:
        found = OverridesParser.create().parse_override(line)
        if not found.key_or_group:
            raise HydraException("there is no key")
    except RecursionError as error:
        raise ConfigError(f"'{redacted_override(line)[:60]}...' is nested too deeply") from error
    except (HydraException, ValueError) as error:  # ValueError: a number with thousands of digits
        if reason := _mistyped(redacted_override(line)):
            raise ConfigError(reason) from error
        # The parser quotes what it has read.
        reason = f" ({first_line(error)})" if redacted_override(line) == line else ""
        raise ConfigError(
            f"'{_shortened(redacted_override(line))}' is not a valid override: write key=value, "
            "+key=value to add, ~key to remove; quote values with spaces or commas as in "
            f"key='\"a, b\"'{reason}"
        ) from error
    return found


def _mistyped(line: str) -> str:
    """Why an override is not valid, if it is a common mistake; '' otherwise."""
    straight = line.translate(_STRAIGHT)
    if straight != line:
        return f"'{line}' has curly quotes. Type straight ones: {straight}"
    if found := re.fullmatch(r"([^=]+)==(.*)", line, re.DOTALL):
        return f"'{line}' has two equals signs. Write {found[1]}={found[2].lstrip('=')}"
    return ""


def _shortened(line: str) -> str:
    return line if len(line) <= 400 else f"{line[:400]}..."


def whole_text(error: BaseException) -> str:
    """The messages of an error and of its causes, each on a line of its own."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        if str(current) and str(current) not in parts:
            parts.append(str(current))
        current = current.__cause__
    return "\n".join(parts) or type(error).__name__


def first_line(error: BaseException) -> str:
    return whole_text(error).partition("\n")[0]


def remember_overrides(overrides: Sequence[str]) -> None:
    """Notice the secrets in overrides before anything is said about them."""
    for line in overrides:
        with contextlib.suppress(ConfigError):  # reported where the overrides are used
            [found] = parse([line])
            key, value = found.get_key_element(), found.value()
            if isinstance(value, ChoiceSweep):
                value = value.list
            if not isinstance(value, Sweep):
                remember_secrets(json_value(value), key)


def in_hydra_grammar(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra's grammar wants them.

    `sweep.filter=a < b` needs no second pair of quotes, and `processor=[summary,map]` selects several
    options of one group, in this order: each goes to its own package, such as `processor.summary`.
    """
    found: list[str] = []
    for line in overrides:
        if match := _FILTER.fullmatch(line):
            found.append(match[1] + text_of(match[2]))
        elif match := _LIST.fullmatch(line):
            names = [name.strip() for name in match[1].split(",")]
            # `dist:name` selects one of two plugins, but a key has no colon.
            added = [f"+processor@processor.{name.replace(':', '_')}={name}" for name in names]
            found += ["processor=none", *added]
        else:
            found.append(line)
    return found
