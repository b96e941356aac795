"""Variables in rompy's files: `${VAR}`, `${VAR:-default}`, `${VAR|as_datetime|shift:-1d|strftime:%Y%m%d}`.

They become interpolations of OmegaConf, so that a value is taken from the environment only when it is
used: showing a configuration shows where a value comes from.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta

from omegaconf import OmegaConf

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.redaction import remember
from rompy_hydra.secret_names import is_secret

# A text that is one variable is converted to a number or a truth value, as rompy does it; a variable
# within a text is not.
VALUE, TEXT = "rompy.value", "rompy.text"

_VARIABLE = re.compile(
    r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"(?::-(?P<default>(?:[^|}]|\\[|}])*?))?"
    r"(?:\|(?P<filters>[^}]+))?\}"
)
_SHIFT = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+)(?P<unit>[dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_TIMES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_FILTERS = ("as_datetime", "strftime", "shift")


def register() -> None:
    """Make the two resolvers known to OmegaConf."""
    OmegaConf.register_new_resolver(VALUE, _value, replace=True)
    OmegaConf.register_new_resolver(TEXT, _text, replace=True)


def as_interpolation(text: str) -> str:
    r"""A text of rompy's as OmegaConf reads it; ConfigError for a variable that cannot be used.

    >>> as_interpolation("run_${CYCLE|strftime:%Y}")
    "run_${rompy.text:'CYCLE|strftime:%Y'}"
    >>> as_interpolation("${a.b}")
    '\\${a.b}'
    """
    if "${" not in text:
        return text
    whole = _VARIABLE.fullmatch(text)
    if whole:
        return _interpolation(VALUE, whole)
    parts, end = [], 0
    for found in _VARIABLE.finditer(text):
        parts += [_escaped(text[end : found.start()], before_variable=True), _interpolation(TEXT, found)]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def resolved(text: str) -> object:
    """A text of rompy's with the values of its variables; ConfigError if one is not set."""
    whole = _VARIABLE.fullmatch(text)
    if whole:
        return _value(whole[0][2:-1])
    return _VARIABLE.sub(lambda found: str(_text(found[0][2:-1])), text)


def _interpolation(resolver: str, found: re.Match[str]) -> str:
    inner = found[0][2:-1]
    if "${" in inner:
        raise ConfigError(
            f"'{found[0]}': a variable inside of another one is not replaced; write its value"
        )
    if is_secret(found["name"]) and found["default"]:
        remember(found["default"])
    for name, _ in _filters(found["filters"] or ""):
        if name not in _FILTERS:
            raise ConfigError(f"'{found[0]}': there is no filter '{name}'. {closest(name, _FILTERS)}")
    # Within quotes, backslashes count only before a quote.
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", inner))
    return f"${{{resolver}:'{quoted}'}}"


def _escaped(text: str, before_variable: bool = False) -> str:
    """A text without variables, in which OmegaConf finds none."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    # Backslashes before an interpolation would escape it.
    return re.sub(r"(\\+)$", r"\1\1", text) if before_variable else text


def _value(inner: str) -> object:
    name, default, filters = _parsed(inner)
    value = _filtered(_variable(name, default), filters)
    if filters or not isinstance(value, str):
        return value
    if value.lower() in ("true", "yes", "1"):
        return True
    if value.lower() in ("false", "no", "0"):
        return False
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _text(inner: str) -> object:
    name, default, filters = _parsed(inner)
    return str(_filtered(_variable(name, default), filters))


def _parsed(inner: object) -> tuple[str, str | None, str]:
    found = _VARIABLE.fullmatch(f"${{{inner}}}")
    if found is None:
        raise ConfigError(f"'{inner}' is not a variable: write NAME, NAME:-default or NAME|filter:argument")
    return found["name"], found["default"], found["filters"] or ""


def _variable(name: str, default: str | None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ConfigError(
            f"the environment variable {name} is not set. Set it, or give a default: ${{{name}:-DEFAULT}}"
        )
    if is_secret(name):
        remember(value)
    return value


def _filters(chain: str) -> list[tuple[str, str]]:
    """The filters of a chain, each with its argument or ''."""
    parts = [part.strip().partition(":") for part in chain.split("|") if part.strip()]
    return [(name.strip(), argument) for name, _, argument in parts]


def _filtered(value: str | datetime, chain: str) -> str | datetime:
    for name, argument in _filters(chain):
        if name == "as_datetime":
            value = _time(value, argument)
        elif name == "strftime" and argument:
            value = _time(value).strftime(argument)
        elif name == "shift" and argument:
            value = _shifted(_time(value), argument)
        else:
            example = {"strftime": "strftime:%Y%m%d", "shift": "shift:-1d"}.get(name)
            hint = f"write {example}" if example else closest(name, _FILTERS)
            raise ConfigError(f"the filter '{name}' cannot be used: {hint}")
    return value


def _time(value: str | datetime, form: str = "") -> datetime:
    if isinstance(value, datetime):
        return value
    for each in [form] if form else _TIMES:
        try:
            return datetime.strptime(value, each)
        except ValueError:
            continue
    try:
        if not form:
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        pass
    raise ConfigError(
        f"'{value}' is not a time{f' of the form {form}' if form else ' such as 2023-01-31T06:00:00'}"
    )


def _shifted(time: datetime, text: str) -> datetime:
    found = _SHIFT.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"shift:{text} is not a shift of time: write such as shift:-1d, shift:+6h or shift:30m"
        )
    amount = int(f"{found['sign']}{found['number']}")
    try:
        return time + timedelta(**{_UNITS[found["unit"]]: amount})
    except OverflowError:
        raise ConfigError(f"shift:{text} leads out of the years 1 to 9999") from None
