"""Anybody's objects as plain data: what a record keeps of them, and what a hash is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from rompy_hydra.provenance import Json

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def described(value: object) -> Json:
    """A value as plain data, the same in every process; what cannot be told is told by its type.

    >>> described({"when": __import__("datetime").timedelta(hours=1), "names": {"b", "a"}})
    {'when': 'PT1H', 'names': ['a', 'b']}
    """
    if isinstance(value, BaseModel):
        # Not by `getattr`, which warns of fields that are deprecated.
        return described({k: v for k, v in vars(value).items() if not k.startswith("_")})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return described({each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(_simple(key)): described(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((described(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return _simple(value)


def _simple(value: object) -> Json:
    number = getattr(value, "item", None)
    if callable(number) and getattr(value, "shape", None) == ():
        value = number()
    # A type of pydantic's own, a path, a time; text for the rest, without where it lies in memory.
    return cast("Json", to_jsonable_python(value, fallback=_told))


def _told(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    content = getattr(value, "tobytes", None)
    if callable(content):  # an array, whose text leaves out what is in its middle
        digest = hashlib.sha256(content()).hexdigest()
        return f"{kind} {getattr(value, 'shape', '')} {getattr(value, 'dtype', '')} {digest}"
    text = str(value)
    return kind if _ADDRESS.search(text) else text
