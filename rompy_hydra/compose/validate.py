"""Checks of a composed configuration: every problem with its full path, value and closest valid name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.compose.allowed_targets import located
from rompy_hydra.compose.entry_points import GROUPS
from rompy_hydra.compose.pydantic_errors import complaint
from rompy_hydra.errors import NO_VALUE, ConfigError, Problem
from rompy_hydra.plugins.signatures import settings_model

# What Hydra's own keys mean is no setting of the class.
SPECIAL = {"_target_", "_convert_", "_recursive_", "_partial_", "_args_"}


def problems(config: Mapping[str, Any], allowed: Sequence[str]) -> list[Problem]:
    """Everything that is wrong with a resolved configuration; empty if it can be built."""
    found = list(_missing(config, ""))
    missing = {problem.path for problem in found}
    for path, node in targets(config, ""):
        try:
            checked = model_of(node["_target_"], allowed, path)
        except ConfigError as error:
            found.append(Problem(f"{path}._target_", node["_target_"], str(error)))
            continue
        if checked is not None:
            found += [p for p in _invalid(checked, node, path) if p.path not in missing]
    return found


def _missing(node: object, path: str) -> Iterator[Problem]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _missing(value, f"{path}[{number}]")
    elif node == "???":
        yield Problem(path, NO_VALUE, f"is required: give it with {path}=VALUE")


def has_missing(node: object) -> bool:
    """Whether a value of a node is still `???`."""
    return next(_missing(node, ""), None) is not None


def targets(node: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a `_target_`, with its path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from targets(value, f"{path}[{number}]")


def model_of(target: object, allowed: Sequence[str], path: str) -> type[BaseModel] | None:
    """The pydantic model that checks a target's fields; None if its signature takes anything."""
    group = path.split(".")[0].split("[")[0]
    return settings_model(located(target, allowed), GROUPS.get(group))


def _invalid(model: type[BaseModel], node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    fields = {key: value for key, value in node.items() if key not in SPECIAL}
    # A nested target becomes an object first, which its own check looks after.
    nested = {key for key, value in fields.items() if any(targets(value, ""))}
    try:
        model.model_validate({key: value for key, value in fields.items() if key not in nested})
    except ValidationError as error:
        incomplete = bool({"_args_", "_partial_"} & node.keys())
        for each in error.errors(include_url=False):
            later = each["type"] == "missing" and (incomplete or each["loc"][0] in nested)
            if not later:
                yield complaint(model, each, path, node)
    except Exception as error:  # noqa: BLE001 - a plugin's own validators may raise anything
        yield Problem(path, NO_VALUE, f"cannot be checked: {type(error).__name__}: {error}")
