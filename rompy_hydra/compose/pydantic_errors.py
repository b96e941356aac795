"""Pydantic's errors as problems of a configuration: full path, value, reason, closest valid name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any

from pydantic import BaseModel

from rompy_hydra.errors import NO_VALUE, Problem, closest
from rompy_hydra.plugins.signatures import names_of


def problem_of(model: type[BaseModel], error: Any, path: str, node: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors about the node at a path, as a problem."""
    keys = list(_keys(error["loc"], node))
    where = path + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _names_at(model, keys[:-1], node)
        return Problem(where, error["input"], "no such key", closest(str(keys[-1]), names))
    if error["type"] in ("missing", "missing_argument"):
        return Problem(where, NO_VALUE, "is required")
    # A validator of the whole model starts its message with the name of the field that it is about.
    name, separator, rest = message.partition(": ")
    if separator and not keys and name in node:
        return Problem(f"{where}.{name}", node[name], rest)
    return Problem(where, error["input"], message[0].lower() + message[1:])


def _keys(location: Sequence[int | str], node: Any) -> Iterator[int | str]:
    """The keys in pydantic's location, which also contains the names of union members."""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        in_list = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
            yield part
        elif isinstance(node, Mapping) and last and str(part).isidentifier():
            yield part  # the missing key


def _names_at(model: type[BaseModel], keys: Sequence[int | str], node: Any) -> list[str]:
    """The field names of the model at a path."""
    members: list[Any] = [model]
    for key in keys:
        node = node[key]
        if isinstance(key, int):  # an item of a list, whose models are known already
            continue
        annotations = [_annotation_of(member, key) for member in members]
        members = [member for annotation in annotations for member in _models(annotation)]
        members = [member for member in members if _fits(member, node)] or members
    return [name for member in members for name in _names(member)]


def _annotation_of(model: Any, key: str) -> Any:
    if dataclasses.is_dataclass(model):
        return typing.get_type_hints(model).get(key)
    info = next((f for name, f in model.model_fields.items() if key in (name, f.alias)), None)
    return info.annotation if info else None


def _models(annotation: Any) -> Iterator[Any]:
    """The pydantic models and dataclasses in an annotation, also in unions and lists."""
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        yield annotation
    elif typing.get_origin(annotation) is not None or isinstance(annotation, UnionType):
        for part in typing.get_args(annotation):
            yield from _models(part)


def _fits(model: Any, node: Any) -> bool:
    """Whether a node can be this member of a union, by its fields with fixed values (Literal)."""
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
