"""The expressions of `sweep.filter`: Python's arithmetic, comparisons and logic, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.jsonable import Json


def _of_numbers(function: Callable[..., float]) -> Callable[..., float]:
    """Refuse texts, which Python repeats and formats to any length."""

    def checked(*values: object) -> float:
        if not all(isinstance(value, int | float) for value in values):
            raise TypeError("only numbers can be multiplied, divided and rounded")
        return function(*values)

    return checked


# An integer with millions of digits would take too much time and memory: powers and rounding use floats.
_OPERATORS: dict[type[ast.AST], Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _of_numbers(operator.mod),
    ast.Pow: _of_numbers(math.pow),
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
    "round": _of_numbers(lambda number, digits=0: round(float(number), digits)),
}


def compile_filter(expression: str) -> Callable[[Mapping[str, Json]], bool]:
    """Compile an expression such as `friction * wave_height < 0.05` to a test of a point's values.

    A name is a swept key or its last part. ConfigError if the expression or an operation in it is
    invalid, if a name is not swept, or if several keys end with it.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"sweep.filter: '{expression}' is not a valid expression: {reason}") from error

    def test(values: Mapping[str, Json]) -> bool:
        try:
            return bool(_evaluate(tree, values))
        except ConfigError:
            raise
        except (TypeError, ArithmeticError, ValueError, RecursionError) as error:
            raise ConfigError(f"sweep.filter: '{expression}' with {dict(values)}: {error}") from error

    return test


def _evaluate(node: ast.AST, values: Mapping[str, Json]) -> object:
    def value(part: ast.AST) -> object:
        return _evaluate(part, values)

    match node:
        case ast.Constant(value=str() | int() | float() | None as constant):
            return constant
        case ast.Name() | ast.Attribute():
            return _swept(ast.unparse(node), values)
        case ast.BinOp():
            return _operator(node.op)(value(node.left), value(node.right))
        case ast.UnaryOp():
            return _operator(node.op)(value(node.operand))
        case ast.BoolOp():
            return (all if isinstance(node.op, ast.And) else any)(map(value, node.values))
        case ast.Compare():
            left = value(node.left)
            for operation, right_node in zip(node.ops, node.comparators, strict=True):
                right = value(right_node)
                if not _operator(operation)(left, right):
                    return False
                left = right
            return True
        case ast.List() | ast.Tuple():
            return [value(each) for each in node.elts]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(value, node.args))
    raise ConfigError(
        f"sweep.filter: '{ast.unparse(node)}' is not supported; use swept keys, numbers, "
        "+ - * / // % **, comparisons, and, or, not, in, abs, min, max, round"
    )


def _swept(name: str, values: Mapping[str, Json]) -> Json:
    keys = [name] if name in values else [key for key in values if key.rpartition(".")[2] == name]
    if not keys:
        choices = {*values, *(key.rpartition(".")[2] for key in values)}
        raise ConfigError(f"sweep.filter: '{name}' is not swept. {closest(name, choices)}")
    if len(keys) > 1:
        raise ConfigError(f"sweep.filter: '{name}' may be {' or '.join(keys)}: write the full key")
    return values[keys[0]]


def _operator(operation: ast.AST) -> Callable[..., object]:
    if type(operation) not in _OPERATORS:
        raise ConfigError(f"sweep.filter: {type(operation).__name__} is not supported")
    return _OPERATORS[type(operation)]
