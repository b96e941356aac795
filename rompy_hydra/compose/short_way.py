"""The short way from a resolved configuration to one with other values, and where it is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig

from rompy_hydra.sweep.points import Assignment


def short_way(plain: dict[str, Any], values: Sequence[Assignment]) -> dict[str, Any] | None:
    """A copy of a resolved template with the values put in; None where only Hydra knows what that means."""
    found: dict[str, Any] | None = plain
    for each in values:
        sign, path = sign_and_path(each.key)
        if found is None or not _is_simple(each):
            return None
        found = _replaced(found, path.split("."), each.value, sign)
    return found


def _is_simple(assignment: Assignment) -> bool:
    """Whether a value is put into a plain configuration just as OmegaConf would put it."""
    value = assignment.value
    if assignment.key.startswith("~"):
        return False
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)


def sign_and_path(key: str) -> tuple[str, str]:
    """`+`, `++` or nothing, and the path: `++a.b` is `("++", "a.b")`."""
    path = key.lstrip("+")
    return key[: len(key) - len(path)], path


def _replaced(plain: dict[str, Any], keys: Sequence[str], value: Any, sign: str) -> dict[str, Any] | None:
    """A copy of `plain` with one value replaced, or added if `sign` says so; None if it is not that simple.

    Only the dictionaries on the way are copied, so points share all the rest.
    """
    there = keys[0] in plain
    old = plain.get(keys[0])
    if not there and not sign:
        return None
    if len(keys) == 1:
        if isinstance(old, dict | list) or (sign == "+" and old is not None):
            return None
        return {**plain, keys[0]: value}
    if there and not isinstance(old, dict):
        return None
    inner = _replaced(old or {}, keys[1:], value, sign)
    return None if inner is None else {**plain, keys[0]: inner}


def has_interpolations(config: DictConfig, given: set[str]) -> bool:
    """Whether a node outside of the `given` ones is an interpolation."""
    return any(_interpolates(config._get_node(key)) for key in config if key not in given)


def _interpolates(node: Any) -> bool:
    if node is None:
        return False
    if node._is_interpolation():
        return True
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        return any(_interpolates(node._get_node(key)) for key in node)
    if isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        return any(_interpolates(node._get_node(index)) for index in range(len(node)))
    return False
