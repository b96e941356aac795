"""The short way from a resolved configuration to one with other values, and where it is exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig

from rompy_hydra.sweep.points import Assignment


def fast_path(plain: dict[str, Any], values: Sequence[Assignment]) -> dict[str, Any] | None:
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


def interpolations(config: DictConfig, without: set[str]) -> dict[str, list[str]]:
    """The interpolations in each top-level node that has some."""
    found = {str(key): list(_inside(config._get_node(key))) for key in config if key not in without}
    return {key: texts for key, texts in found.items() if texts}


def _inside(node: Any) -> Iterator[str]:
    if node is None:
        return
    if node._is_interpolation():
        yield str(node._value())
    elif isinstance(node, DictConfig | ListConfig) and not node._is_none() and not node._is_missing():
        keys: Iterable[Any] = node if isinstance(node, DictConfig) else range(len(node))
        for key in keys:
            yield from _inside(node._get_node(key))


def passes_interpolation(config: DictConfig, path: str) -> bool:
    """Whether a node on the way to a key is an interpolation, so that the key lies elsewhere."""
    node: Any = config
    for key in path.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return False
        node = node._get_node(key, validate_access=False)
        if node is not None and node._is_interpolation():
            return True
    return False
