"""Parameters of a template with limits: a value with its type, range and units, declared together.

`wave_height: {value: 2.0, min: 0.05, max: 20, units: m}` is the value 2.0 with limits. The two are
separated at once: everything that reads or replaces the value sees a plain number, and the limits stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, FiniteFloat, JsonValue, model_validator

from rompy_hydra.errors import InvalidValues, closest

Kind: TypeAlias = Literal["number", "integer", "boolean", "text"]
_NOUNS: dict[Kind, str] = {
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "text": "a text",
}


class ParameterLimits(BaseModel):
    """What a parameter may be. A list, if `many` allows one, is checked element by element."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    # By default a number if there is a range, or if the declared value is one.
    type: Kind | None = None
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    units: str = ""
    # By default, where it is declared with a single value, it has none.
    many: bool = True

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max, {self.max:g}")
        if self.type in ("boolean", "text") and (self.min is not None or self.max is not None):
            raise ValueError(f"type: {self.type} has no range: leave out min and max")
        return self

    def wrong(self, value: JsonValue) -> str:
        """Why a value is not allowed; '' if it is."""
        if isinstance(value, list) and not self.many:
            return f"must be {self._described()}, not a list"
        if isinstance(value, list):
            return next((reason for each in value if (reason := self.wrong(each))), "")
        if isinstance(value, dict):
            return f"must be {self._described()}, not a mapping"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        has_range = self.min is not None or self.max is not None
        kind = self.type or ("number" if has_range else None)
        if kind == "boolean" and not isinstance(value, bool):
            return "must be true or false"
        if kind in ("number", "integer"):
            if not is_number or (kind == "integer" and not isinstance(value, int)):
                return f"must be {self._described()}"
            assert isinstance(value, int | float)
            low = -math.inf if self.min is None else self.min
            high = math.inf if self.max is None else self.max
            if not (math.isfinite(value) and low <= value <= high):
                return f"must be {self._described()}"
        return ""

    def _described(self) -> str:
        units = f" {self.units}" if self.units else ""
        noun = _NOUNS[self.type or "number"]
        if self.min is not None and self.max is not None:
            return f"{noun} from {self.min:g} to {self.max:g}{units}"
        if self.min is not None:
            return f"{noun} of at least {self.min:g}{units}"
        if self.max is not None:
            return f"{noun} of at most {self.max:g}{units}"
        return f"{noun}, in {self.units}" if self.units else noun


def separate(
    parameters: Mapping[str, JsonValue],
) -> tuple[dict[str, JsonValue], dict[str, dict[str, JsonValue]]]:
    """Plain values, and the limits of those that are declared with some; InvalidValues for a mistake.

    >>> separate({"h": {"value": 2.0, "min": 0}, "n": 3})
    ({'h': 2.0, 'n': 3}, {'h': {'min': 0, 'type': 'number', 'many': False}})
    """
    values: dict[str, JsonValue] = {}
    limits: dict[str, dict[str, JsonValue]] = {}
    wrong: dict[str, str] = {}
    for name, node in parameters.items():
        if not isinstance(node, dict) or "value" not in node:
            values[name] = node
            continue
        rest = {key: each for key, each in node.items() if key != "value"}
        unknown = [key for key in rest if key not in ParameterLimits.model_fields]
        if unknown:
            hint = closest(unknown[0], ["value", *ParameterLimits.model_fields])
            wrong[name] = f"has 'value' and the unknown key '{unknown[0]}'. {hint}"
        values[name] = node["value"]
        kind = _kind_of(node["value"])
        limits[name] = rest if kind is None or "type" in rest else {**rest, "type": kind}
        if not isinstance(node["value"], list | None):
            limits[name].setdefault("many", False)
    if wrong:
        raise InvalidValues(wrong)
    return values, limits


def _kind_of(value: JsonValue) -> Kind | None:
    if isinstance(value, list):
        kinds = {_kind_of(each) for each in value}
        return kinds.pop() if len(kinds) == 1 else None
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else None
