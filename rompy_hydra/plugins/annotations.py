"""What the annotations of somebody else's function mean, also where they are only text."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

UNKNOWN = inspect.Parameter.empty


def parameters(function: object) -> list[inspect.Parameter]:
    """The parameters of a callable, with UNKNOWN for an annotation that cannot be understood.

    A callable that says nothing about itself may take anything.
    """
    if not callable(function):
        return []
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)]
    home = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    return [each.replace(annotation=_meaning(each.annotation, home)) for each in found]


def _meaning(annotation: Any, function: Any) -> Any:
    if annotation is UNKNOWN:
        return UNKNOWN
    function = inspect.unwrap(function)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    names = _Names(module, getattr(function, "__globals__", {}))
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, {}, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - an annotation may be anything at all
        return UNKNOWN


class _Names(dict[str, Any]):
    """The names of a module, with those that it imports for type checkers only."""

    def __init__(self, module: ModuleType | None, names: Mapping[str, Any]) -> None:
        super().__init__(names)
        self._module = module

    def __missing__(self, name: str) -> Any:
        home, original = _imports_for_checkers(self._module)[name]
        return getattr(importlib.import_module(home), original)


@functools.cache
def _imports_for_checkers(module: ModuleType | None) -> Mapping[str, tuple[str, str]]:
    """What a module imports below `if TYPE_CHECKING:`: name to (module, name there)."""
    try:
        tree = ast.parse(inspect.getsource(module)) if module else None
    except (OSError, TypeError, SyntaxError):
        tree = None
    found: dict[str, tuple[str, str]] = {}
    for block in ast.walk(tree) if tree else ():
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            found |= dict(_imported(block.body, getattr(module, "__package__", None) or ""))
    return found


def _imported(body: list[ast.stmt], package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            relative = "." * statement.level + (statement.module or "")
            home = importlib.util.resolve_name(relative, package)
            yield from ((each.asname or each.name, (home, each.name)) for each in statement.names)
