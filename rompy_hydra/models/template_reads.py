"""Which parameters the templates of a model may read, decided by their syntax without rendering them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from jinja2 import nodes

from rompy_hydra.errors import GenerateError
from rompy_hydra.models.render import parse, texts_of

# The names that lead to a value: ("grid", "dx") for `model.grid.dx`.
ParameterPath: TypeAlias = tuple[str, ...]

_MODEL = "model"
# Other templates see all variables.
_OTHERS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
# Attributes of a mapping that give its items, and not a parameter of that name.
_METHODS = frozenset(name for name in dir(dict) if not name.startswith("_"))


def parameters_read(directory: Path) -> frozenset[ParameterPath] | None:
    """The parameters that the names and contents of templates may read; None if it may be any.

    A value below a path may be read, too: `model.grid` reads all of a grid.
    """
    found: set[ParameterPath] = set()
    try:
        for text in texts_of(directory):
            found |= _reads(text)
    except (GenerateError, RecursionError):
        return None  # reported by what renders it
    return None if () in found else frozenset(found)


@functools.lru_cache(maxsize=512)
def _reads(text: str) -> frozenset[ParameterPath]:
    tree = parse(text)
    if tree is None:
        return frozenset()
    others = next(tree.find_all(_OTHERS), None) is not None
    return frozenset(_found(tree)) | ({()} if others else set())


def _found(node: nodes.Node) -> Iterator[ParameterPath]:
    path = _path(node)
    if path is not None:
        yield path
        return
    children = list(node.iter_child_nodes())
    # model.get('depth', 5)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr == "get":
        owner, first = _path(node.node.node), node.args[0] if node.args else None
        if owner is not None and isinstance(first, nodes.Const) and isinstance(first.value, str):
            yield (*owner, first.value)
            children.remove(node.node)
    for child in children:
        yield from _found(child)


def _path(node: nodes.Node) -> ParameterPath | None:
    """The parameter that an expression stands for; () for all of them, None if it is no parameter."""
    if isinstance(node, nodes.Name):
        return () if node.name == _MODEL else None
    if isinstance(node, nodes.Getattr):
        owner = _path(node.node)
        return owner if owner is None or node.attr in _METHODS else (*owner, node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        owner = _path(node.node)
        return (*owner, node.arg.value) if owner is not None and isinstance(node.arg.value, str) else owner
    return None
