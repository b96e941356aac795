"""What pydantic finds wrong, in this package's words: full path, value, reason, closest name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any

from pydantic import BaseModel

from rompy_hydra.errors import NO_VALUE, Problem, closest
from rompy_hydra.plugins.signatures import names_of


def complaint(model: type[BaseModel], error: Any, path: str, node: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors about a node as a problem."""
    keys = list(_keys(error["loc"], node))
    where = path + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _names_at(model, keys[:-1], node)
        return Problem(where, error["input"], "no such key", closest(str(keys[-1]), names))
    if error["type"] in ("missing", "missing_argument"):
        return Problem(where, NO_VALUE, "is required")
    # A check of the whole that is about one field names it first.
    name, separator, rest = message.partition(": ")
    if separator and not keys and name in node:
        return Problem(f"{where}.{name}", node[name], rest)
    return Problem(where, error["input"], message[0].lower() + message[1:])


def _keys(location: Sequence[int | str], node: Any) -> Iterator[int | str]:
    """The keys of pydantic's location; it also names the members of unions, which are no keys."""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        in_list = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
            yield part
        elif isinstance(node, Mapping) and last and str(part).isidentifier():
            yield part  # what is missing


def _names_at(model: type[BaseModel], keys: Sequence[int | str], node: Any) -> list[str]:
    """The field names of the model that lies at a path."""
    members: list[Any] = [model]
    for key in keys:
        node = node[key]
        if isinstance(key, int):  # an item of a list, whose members are known already
            continue
        kinds = [_kind_of(member, key) for member in members]
        members = [member for kind in kinds for member in _models(kind)]
        members = [member for member in members if _fits(member, node)] or members
    return [name for member in members for name in _names(member)]


def _kind_of(model: Any, key: str) -> Any:
    if dataclasses.is_dataclass(model):
        return typing.get_type_hints(model).get(key)
    info = next((f for name, f in model.model_fields.items() if key in (name, f.alias)), None)
    return info.annotation if info else None


def _models(kind: Any) -> Iterator[Any]:
    """The pydantic models and dataclasses in an annotation: members of unions, items of lists."""
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
        yield kind
    elif typing.get_origin(kind) is not None or isinstance(kind, UnionType):
        for part in typing.get_args(kind):
            yield from _models(part)


def _fits(model: Any, node: Any) -> bool:
    """Whether a node says that it is this member of a union, by a field with a fixed value."""
    fields = getattr(model, "model_fields", {})
    fixed = {
        name: typing.get_args(info.annotation)
        for name, info in fields.items()
        if typing.get_origin(info.annotation) is typing.Literal
    }
    return isinstance(node, Mapping) and all(node.get(n, v[0]) in v for n, v in fixed.items())


def _names(model: Any) -> list[str]:
    if dataclasses.is_dataclass(model):
        return [field.name for field in dataclasses.fields(model)]
    return names_of(model)
