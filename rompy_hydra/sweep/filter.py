"""Expressions that choose points: Python's arithmetic, comparisons and logic, and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.jsonable import Json


def _power(base: float, exponent: float) -> float:
    # A whole number of millions of digits would take all time and memory.
    if abs(exponent) > 1000:
        raise OverflowError("the exponent is too large")
    return float(base**exponent)


def _rounded(number: float, digits: int = 0) -> float:
    if abs(digits) > 1000:
        raise OverflowError("these are too many digits")
    return round(number, digits) if digits else round(number)


def _of_numbers(function: Callable[..., float]) -> Callable[..., float]:
    """Python multiplies and divides texts as well, up to any length."""

    def checked(*values: object) -> float:
        if not all(isinstance(value, int | float) for value in values):
            raise TypeError("only numbers can be multiplied, divided and rounded")
        return function(*values)

    return checked


_OPERATORS: dict[type[ast.AST], Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _of_numbers(operator.mod),
    ast.Pow: _of_numbers(_power),
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
_FUNCTIONS: dict[str, Callable[..., object]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": _of_numbers(_rounded),
}


def compiled(expression: str) -> Callable[[Mapping[str, Json]], bool]:
    """A test of a point's values from an expression such as `friction * wave_height < 0.05`.

    A name is a swept key, whole or its last part. ConfigError tells what cannot be understood, a
    name that no point has, and a last part that several keys have.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"sweep.filter: '{expression}' is no expression: {reason}") from error

    def test(values: Mapping[str, Json]) -> bool:
        try:
            return bool(_value(tree, _names(values)))
        except ConfigError:
            raise
        except (TypeError, ArithmeticError, ValueError, RecursionError) as error:
            raise ConfigError(f"sweep.filter: '{expression}' with {dict(values)}: {error}") from error

    return test


@dataclass(frozen=True)
class _Several:
    """What stands in place of a value for a name that several keys have."""

    keys: list[str]


def _names(values: Mapping[str, Json]) -> dict[str, Json | _Several]:
    last: dict[str, list[str]] = {}
    for key in values:
        last.setdefault(key.rsplit(".", 1)[-1], []).append(key)
    names: dict[str, Json | _Several] = {
        name: values[keys[0]] if len(keys) == 1 else _Several(keys) for name, keys in last.items()
    }
    return names | dict(values)


def _value(node: ast.AST, names: Mapping[str, Json | _Several]) -> object:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        name = _dotted(node)
        if name not in names:
            raise ConfigError(f"sweep.filter: '{name}' is not swept. {closest(name, names)}")
        value = names[name]
        if isinstance(value, _Several):
            raise ConfigError(f"sweep.filter: '{name}' may be {' or '.join(value.keys)}: write it whole")
        return value
    if isinstance(node, ast.BinOp):
        return _known(node.op)(_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.UnaryOp):
        return _known(node.op)(_value(node.operand, names))
    if isinstance(node, ast.BoolOp):
        results = (_value(each, names) for each in node.values)
        return all(results) if isinstance(node.op, ast.And) else any(results)
    if isinstance(node, ast.Compare):
        left = _value(node.left, names)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = _value(right_node, names)
            if not _known(op)(left, right):
                return False
            left = right
        return True
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each, names) for each in node.elts]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id)
        if function is not None:
            return function(*(_value(each, names) for each in node.args))
    raise ConfigError(
        f"sweep.filter: '{ast.unparse(node)}' is not understood; use swept keys, numbers, "
        "+ - * / // % **, comparisons, and, or, not, in, abs, min, max, round"
    )


def _known(op: ast.AST) -> Callable[..., object]:
    if type(op) not in _OPERATORS:
        raise ConfigError(f"sweep.filter: {type(op).__name__} is not understood")
    return _OPERATORS[type(op)]


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ConfigError(f"sweep.filter: '{ast.unparse(node)}' is no key")
