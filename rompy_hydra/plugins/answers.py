"""What a plugin returned, as this package understands it: only True is a success."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping

from pydantic import BaseModel

from rompy_hydra.errors import shortened
from rompy_hydra.jsonable import python_scalar
from rompy_hydra.redaction import redacted


def as_bool(value: object) -> bool | None:
    """True or False, also from numpy; None for any other value."""
    value = python_scalar(value)
    return value if isinstance(value, bool) else None


def describe(value: object) -> str:
    """A value that somebody gave or returned, for a message without secrets."""
    if inspect.iscoroutine(value):
        value.close()  # nothing will ever await it
        return "a coroutine (its method is async, but nothing awaits it)"
    return "nothing (None)" if value is None else shortened(redacted(value))


def as_results(returned: object) -> dict[str, object]:
    """What a plugin returned as a dict, from a mapping, an object with attributes, or True or False.

    Its `success` is True or False, and is missing if it cannot be determined.
    """
    if as_bool(returned) is not None:
        found: dict[str, object] = {"success": returned}
    elif isinstance(returned, Mapping):
        found = {str(key): value for key, value in returned.items()}
    elif isinstance(returned, BaseModel):
        found = returned.model_dump()
    elif dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        found = {each.name: getattr(returned, each.name) for each in dataclasses.fields(returned)}
    elif hasattr(returned, "_asdict"):
        found = dict(returned._asdict())
    else:
        found = dict(getattr(returned, "__dict__", {}))
    for key in ("success", "message"):  # they may be properties
        if key not in found and not isinstance(returned, Mapping) and hasattr(returned, key):
            found[key] = getattr(returned, key)
    success = as_bool(found.pop("success", None))
    return found if success is None else {**found, "success": success}
