"""Expressions that choose points: Python's arithmetic, comparisons and logic, and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.provenance import Json


def _power(base: float, exponent: float) -> float:
    # A whole number of millions of digits would take all time and memory.
    if abs(exponent) > 1000:
        raise OverflowError("the exponent is too large")
    return float(base**exponent)


def _product(left: float, right: float) -> float:
    if isinstance(left, str | list) or isinstance(right, str | list):
        raise TypeError("only numbers can be multiplied")
    return left * right


_OPERATORS: dict[type[ast.AST], Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
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
_FUNCTIONS: dict[str, Callable[..., object]] = {"abs": abs, "min": min, "max": max, "round": round}


def compiled(expression: str) -> Callable[[Mapping[str, Json]], bool]:
    """A test of a point's values from an expression such as `friction * wave_height < 0.05`.

    A name is a swept key, whole or its last part. ConfigError tells what cannot be understood, and
    a name that no point has.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"sweep.filter: '{expression}' is no expression: {reason}") from error

    def test(values: Mapping[str, Json]) -> bool:
        names = {key.rsplit(".", 1)[-1]: value for key, value in values.items()} | dict(values)
        try:
            return bool(_value(tree, names))
        except ConfigError:
            raise
        except (TypeError, ZeroDivisionError, ValueError, OverflowError) as error:
            raise ConfigError(f"sweep.filter: '{expression}' with {dict(values)}: {error}") from error

    return test


def _value(node: ast.AST, names: Mapping[str, Json]) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        name = _dotted(node)
        if name not in names:
            raise ConfigError(f"sweep.filter: '{name}' is not swept. {closest(name, names)}")
        return names[name]
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
