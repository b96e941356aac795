"""Checks of a composed configuration: every problem with its full path, value and closest valid name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import get_object
from pydantic import BaseModel, ValidationError

from rompy_hydra.errors import NO_VALUE, ConfigError, Problem, closest
from rompy_hydra.plugins import registered_targets
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.shapes import settings_model

_ALWAYS_ALLOWED = ("rompy_hydra.",)
_SPECIAL = {"_target_", "_convert_", "_recursive_", "_partial_", "_args_"}


def problems(config: Mapping[str, Any], allowed: Sequence[str]) -> list[Problem]:
    """Everything that is wrong with a resolved configuration; empty if it can be built."""
    found = list(_missing(config, ""))
    missing = {problem.path for problem in found}
    for path, node in _targets(config, ""):
        try:
            checked = model_of(node["_target_"], allowed, path)
        except ConfigError as error:
            found.append(Problem(f"{path}._target_", node["_target_"], str(error)))
            continue
        if checked is not None:
            found += [p for p in _invalid(checked, node, path) if p.path not in missing]
    return found


def _missing(node: object, path: str) -> Iterator[Problem]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _missing(value, f"{path}[{number}]")
    elif node == "???":
        yield Problem(path, NO_VALUE, f"is required: give it with {path}=VALUE")


def has_missing(node: object) -> bool:
    """Whether a value of a node is still `???`."""
    if isinstance(node, Mapping):
        return any(has_missing(value) for value in node.values())
    if isinstance(node, list):
        return any(has_missing(value) for value in node)
    return node == "???"


def _targets(node: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _targets(value, f"{path}[{number}]")


def check_allowed(target: object, allowed: Sequence[str]) -> str:
    """The target itself if a configuration may name it; ConfigError, before any import, if not."""
    if not isinstance(target, str) or not target:
        raise ConfigError("must be the dotted path of a class")
    if not _within(target, [*_ALWAYS_ALLOWED, *allowed]) and target not in registered_targets():
        package = target.split(".")[0]
        raise ConfigError(
            "is not allowed: a configuration could run any code. If you trust it, add "
            f"allowed_targets=[{package}.] to the command, or to your configuration"
        )
    return target


def _within(target: str, prefixes: Sequence[str]) -> bool:
    return any(target == p or target.startswith(p.rstrip(".") + ".") for p in prefixes)


def located(target: object, allowed: Sequence[str]) -> Any:
    """The class or function that a `_target_` names."""
    return _located(check_allowed(target, allowed), tuple(allowed))


@functools.cache
def _located(name: str, allowed: tuple[str, ...]) -> Any:
    try:
        found = get_object(name)
    except Exception as error:
        raise ConfigError(f"cannot be imported: {_root_cause(error)}. {_classes_near(name)}") from error
    # Where it is defined counts: a module's imports (`package.os.system`) are not the package's own.
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if _within(home, _ALWAYS_ALLOWED):
        if isinstance(found, type) and issubclass(found, BaseModel | BaseRunBackend):
            return found
        raise ConfigError("is no model, backend, postprocessor or pipeline of this package")
    if not _within(home, allowed) and not {name, home} & registered_targets():
        raise ConfigError(
            f"is really {home}, which is not allowed. If you trust it, add it to allowed_targets"
        )
    return found


def _classes_near(name: str) -> str:
    """The closest class of the module that a target names, as a hint."""
    module, _, last = name.rpartition(".")
    try:
        home = get_object(module)
    except Exception:  # noqa: BLE001 - only a hint: the import error itself is told
        return ""
    names = [n for n in dir(home) if not n.startswith("_") and inspect.isclass(getattr(home, n))]
    return closest(last, names)


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0]


def model_of(target: object, allowed: Sequence[str], path: str) -> type[BaseModel] | None:
    """The pydantic model that checks a target's fields; None if its signature takes anything."""
    return settings_model(located(target, allowed))


def _invalid(model: type[BaseModel], node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    fields = {key: value for key, value in node.items() if key not in _SPECIAL}
    if any(isinstance(value, Mapping) and "_target_" in value for value in fields.values()):
        # A nested target becomes an object first, which its own check looks after.
        fields = {k: v for k, v in fields.items() if not _has_target(v)}
    try:
        model.model_validate(fields)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield _problem(model, each, path, node)


def _has_target(value: object) -> bool:
    return any(True for _ in _targets(value, ""))


def _problem(model: type[BaseModel], error: Any, path: str, node: Mapping[str, Any]) -> Problem:
    location = [part for part in error["loc"] if isinstance(part, int) or _is_key(part, node)]
    where = path + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        names = _names_at(model, location[:-1])
        return Problem(where, error["input"], "no such key", closest(str(location[-1]), names))
    if error["type"] == "missing":
        return Problem(f"{path}.{error['loc'][-1]}", NO_VALUE, "is required")
    # A check of the whole that is about one field names it first.
    name, separator, rest = message.partition(": ")
    if separator and not location and name in node:
        return Problem(f"{where}.{name}", node[name], rest)
    return Problem(where, error["input"], message[0].lower() + message[1:])


def _is_key(part: object, node: Mapping[str, Any]) -> bool:
    """Whether a part of pydantic's location is a key, and not the name of a member of a union."""
    text = str(part)
    return not any(mark in text for mark in "[(") and text not in {"str", "list", "function-plain"}


def _names_at(model: type[BaseModel], location: list[Any]) -> list[str]:
    """The field names of the model that lies at `location`, as far as plain nesting goes."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return list(getattr(current, "model_fields", {}))
        current = fields[part].annotation
    if dataclasses.is_dataclass(current):
        return [field.name for field in dataclasses.fields(current)]
    return list(getattr(current, "model_fields", getattr(model, "model_fields", {})))
