"""Validation of a composed configuration: every problem with its path, value and closest valid name."""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any

from omegaconf import ListConfig
from pydantic import BaseModel, ValidationError

from rompy_hydra.compose.allowed_targets import load_target
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.errors import NO_VALUE, ConfigError, InvalidValues, Problem, closest
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins.signatures import names_of, settings_model

# Keys that have a meaning for Hydra and are not settings of the class.
SPECIAL = {"_target_", "_convert_", "_recursive_", "_partial_", "_args_"}


def problems(config: Mapping[str, Any], allowed: Sequence[str]) -> list[Problem]:
    """All problems of a resolved configuration; empty if its objects can be built."""
    found = [
        Problem(path, NO_VALUE, f"is required: give it with {path}=VALUE")
        for path, value in walk(config)
        if value == "???"
    ]
    missing = {problem.path for problem in found}
    checks = config.get("success")
    if isinstance(checks, Mapping):
        found += _invalid(SuccessChecks, checks, "success")
    elif checks is not None:
        found.append(Problem("success", checks, "must be a mapping of success checks"))
    for path, node in walk(config):
        if not is_target(node):
            continue
        group = path.split(".")[0].split("[")[0]
        try:
            model = settings_model(load_target(node["_target_"], allowed), GROUPS.get(group))
        except ConfigError as error:
            found.append(Problem(f"{path}._target_", node["_target_"], str(error)))
            continue
        if model is not None:  # otherwise its signature accepts anything
            found += [p for p in _invalid(model, node, path) if p.path not in missing]
    return found


def option_as_text(key: str, node: object) -> Problem | None:
    """The mistake `model: beach` in a file, which does not select an option of a group, but replaces it."""
    if isinstance(node, str) and node != "???":
        hint = f"To select an option, write `override /{key}: {node}` under `defaults`"
        return Problem(key, node, f"is a text, and {key} has settings", hint)
    if isinstance(node, list) and node and all(isinstance(each, str) for each in node):
        options = [f"`/{key}/{each}@{key}.{each}`" for each in node]
        several = f"{', '.join(options)} and `override /{key}: none`"
        one = f"`override /{key}: {node[0]}`"
        hint = f"To select several, write {several} under `defaults`" if options[1:] else f"Write {one}"
        return Problem(key, node, "names are not settings", hint)
    return None


def is_target(node: object) -> bool:
    """Whether a node describes an object."""
    return isinstance(node, Mapping) and "_target_" in node


def walk(
    node: Any, path: str = "", item: Callable[[Any, Any], Any] = operator.getitem
) -> Iterator[tuple[str, Any]]:
    """A node and everything in it, with the path of each; `item` looks up a key or an index of a node."""
    yield path, node
    if isinstance(node, Mapping):
        for key in node:
            yield from walk(item(node, key), f"{path}.{key}" if path else str(key), item)
    elif isinstance(node, list | ListConfig):
        for number in range(len(node)):
            yield from walk(item(node, number), f"{path}[{number}]", item)


def _invalid(model: type[BaseModel], node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    fields = {key: value for key, value in node.items() if key not in SPECIAL}
    # A nested target becomes an object first, and is validated by itself.
    nested = {key for key, value in fields.items() if any(is_target(each) for _, each in walk(value))}
    try:
        model.model_validate({key: value for key, value in fields.items() if key not in nested})
    except ValidationError as error:
        incomplete = bool({"_args_", "_partial_"} & node.keys())
        for each in error.errors(include_url=False):
            later = each["type"] == "missing" and (incomplete or each["loc"][0] in nested)
            if not later:
                yield from _problems_of(model, each, path, node)
    except Exception as error:  # noqa: BLE001 - the validators of a plugin may raise anything
        yield Problem(path, NO_VALUE, f"cannot be checked: {type(error).__name__}: {error}")


def _problems_of(
    model: type[BaseModel], error: Any, path: str, node: Mapping[str, Any]
) -> Iterator[Problem]:
    """One of pydantic's errors about the node at a path, as a problem, or one for each wrong value."""
    cause = error.get("ctx", {}).get("error")
    if not isinstance(cause, InvalidValues):
        yield _problem_of(model, error, path, node)
        return
    where = ".".join([path, *map(str, error["loc"] or ["parameters"])])
    values = node.get(str((error["loc"] or ["parameters"])[0]), {})
    for key, reason in cause.reasons.items():
        value = values.get(key, NO_VALUE) if isinstance(values, Mapping) else NO_VALUE
        yield Problem(f"{where}.{key}", value, reason)


def _problem_of(model: type[BaseModel], error: Any, path: str, node: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors about the node at a path, as a problem."""
    keys = list(_keys(error["loc"], node))
    where = path + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _names_at(model, keys[:-1], node)
        return Problem(where, error["input"], "no such key", closest(str(keys[-1]), names))
    if error["type"] in ("missing", "missing_argument"):
        return Problem(where, NO_VALUE, "is required")
    if error["type"] in ("tuple_type", "list_type"):
        if error["input"] is None:
            return Problem(where, NO_VALUE, "must be a list, and has no value", "Write [], or leave it out")
        shown = "{...}" if isinstance(error["input"], Mapping) else error["input"]
        return Problem(where, error["input"], "must be a list", f"Write [{shown}]")
    # A validator of the whole model starts its message with the name of the field that it is about.
    name, separator, rest = message.partition(": ")
    if separator and not keys and name in node:
        return Problem(f"{where}.{name}", node[name], rest)
    if not message[1:2].isupper():  # YAML
        message = message[0].lower() + message[1:]
    return Problem(where, error["input"], message)


def _keys(location: Sequence[int | str], node: Any) -> Iterator[int | str]:
    """The keys in pydantic's location, which also contains the names of union members."""
    for number, part in enumerate(location, 1):
        in_list = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
            yield part
        elif isinstance(node, Mapping) and number == len(location) and str(part).isidentifier():
            yield part  # the missing key


def _names_at(model: type[BaseModel], keys: Sequence[int | str], node: Any) -> list[str]:
    members = [model]
    for key in keys:
        node = node[key]
        if isinstance(key, int):  # an item of a list, whose models are known already
            continue
        fields = [f for each in members for name, f in each.model_fields.items() if key in (name, f.alias)]
        members = [member for info in fields for member in _models(info.annotation)]
        members = [member for member in members if _fits(member, node)] or members
    return [name for member in members for name in names_of(member)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models of the pydantic models and dataclasses in an annotation, also in unions and lists."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    if is_model or dataclasses.is_dataclass(annotation):
        model = settings_model(annotation)
        if model is not None:
            yield model
    elif typing.get_origin(annotation) is not None or isinstance(annotation, UnionType):
        for part in typing.get_args(annotation):
            yield from _models(part)


def _fits(model: type[BaseModel], node: Any) -> bool:
    """Whether a node can be this member of a union, by its fields with fixed values (Literal)."""
    fixed = {
        name: typing.get_args(info.annotation)
        for name, info in model.model_fields.items()
        if typing.get_origin(info.annotation) is typing.Literal
    }
    return isinstance(node, Mapping) and all(node.get(n, v[0]) in v for n, v in fixed.items())
