"""Validation of a composed configuration: every problem with its path, value and closest valid name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.compose.allowed_targets import load_target
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.compose.pydantic_errors import problem_of
from rompy_hydra.errors import NO_VALUE, ConfigError, Problem
from rompy_hydra.plugins.signatures import settings_model

# Keys that have a meaning for Hydra and are not settings of the class.
SPECIAL = {"_target_", "_convert_", "_recursive_", "_partial_", "_args_"}


def problems(config: Mapping[str, Any], allowed: Sequence[str]) -> list[Problem]:
    """All problems of a resolved configuration; empty if its objects can be built."""
    found = list(_missing(config))
    missing = {problem.path for problem in found}
    for path, node in _walk(config):
        if not _is_target(node):
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


def has_missing(node: object) -> bool:
    """Whether a value in a node is still `???`."""
    return next(_missing(node), None) is not None


def _missing(config: object) -> Iterator[Problem]:
    for path, value in _walk(config):
        if value == "???":
            yield Problem(path, NO_VALUE, f"is required: give it with {path}=VALUE")


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A node and everything in it, with the path of each."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _walk(value, f"{path}[{number}]")


def _is_target(node: object) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def _invalid(model: type[BaseModel], node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    fields = {key: value for key, value in node.items() if key not in SPECIAL}
    # A nested target becomes an object first, and is validated by itself.
    nested = {key for key, value in fields.items() if any(_is_target(each) for _, each in _walk(value))}
    try:
        model.model_validate({key: value for key, value in fields.items() if key not in nested})
    except ValidationError as error:
        incomplete = bool({"_args_", "_partial_"} & node.keys())
        for each in error.errors(include_url=False):
            later = each["type"] == "missing" and (incomplete or each["loc"][0] in nested)
            if not later:
                yield problem_of(model, each, path, node)
    except Exception as error:  # noqa: BLE001 - the validators of a plugin may raise anything
        yield Problem(path, NO_VALUE, f"cannot be checked: {type(error).__name__}: {error}")
