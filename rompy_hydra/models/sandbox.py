"""The Jinja2 environment of templates, which may be a stranger's: they format values, and come to an end.

Jinja's sandbox keeps templates from running Python code and from changing what others see. The limits here
keep them from taking all memory and time. What creates values (operators, filters, methods, literals) is
checked for its size, before if it can be large at once, and all that a text creates is added up.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, Literal

import jinja2
import jinja2.nodes
import jinja2.runtime
import jinja2.sandbox
from jinja2.exceptions import SecurityError
from jinja2.visitor import NodeTransformer

# A template that does more than this has no end, or none that anybody waits for.
_MOST_ITERATIONS = 10_000_000
_CALL = 20  # what a call counts as: macros and recursive loops may call themselves
_MOST_SECONDS = 60.0  # of processor time
_MOST_CHARACTERS = 256_000_000  # of the output
_MOST_CREATED = 500_000_000  # characters of all values; one in a list counts as 8
_MOST_BITS = 100_000
_LONGEST = 10_000_000  # characters of a value
_MOST_NODES = 1_000_000  # values in a value
_WIDEST = 10_000  # a width, a number of columns or digits

# They create HTML, or text to fill a page.
_NO_FILTERS = ("urlize", "xmlattr", "striptags")
_NO_GLOBALS = ("lipsum",)
_NUMBER = re.compile(r"\d+")
_PERCENT_WIDTH = re.compile(r"%[^a-zA-Z%]*\*")
_NESTED_FIELD = re.compile(r"\{[^{}]*\{")


class _Spent(threading.local):
    """What the template that this thread renders has used up."""

    iterations = 0
    created = 0
    deadline = 0.0


_spent = _Spent()


def start_rendering() -> None:
    """Begin to count what a text uses up."""
    _spent.iterations = _spent.created = 0
    _spent.deadline = time.thread_time() + _MOST_SECONDS


def charge(iterations: int) -> None:
    """Count iterations; SecurityError above the limit."""
    _spent.iterations += iterations
    if _spent.iterations > _MOST_ITERATIONS:
        raise SecurityError(
            f"the template does more than {_MOST_ITERATIONS} iterations; prepare large data in a file"
        )
    if time.thread_time() > _spent.deadline > 0:
        raise SecurityError(
            f"the template takes more than {_MOST_SECONDS:.0f} s; prepare large data in a file"
        )


def _created(value: Any) -> Any:
    """A value that was created, after its size is counted."""
    kind = type(value)
    if kind is str:
        size = len(value)
        if size < 64:
            return value
        _check_length(size)
    elif kind in (list, tuple, dict):
        size = 8 * _measure(value, _MOST_NODES)[0]
    elif kind is int:
        if value.bit_length() > _MOST_BITS:
            raise SecurityError("the result is too large a number")
        return value
    elif isinstance(value, str | bytes):
        size = len(value)
        _check_length(size)
    else:
        return value
    _spent.created += size
    if _spent.created > _MOST_CREATED:
        raise SecurityError(f"the template creates values of more than {_MOST_CREATED} characters")
    return value


def _check_length(size: float) -> None:
    if size > _LONGEST:
        raise SecurityError(f"a value is too long: more than {_LONGEST} characters")


def _measure(value: Any, most: int = _MOST_NODES, indent: int = 0) -> tuple[int, int]:
    """The number of values in a value, each as often as it appears, and the characters of its text."""
    nodes = characters = 0
    rest = [(value, 0)]
    while rest:
        item, depth = rest.pop()
        nodes += 1
        characters += 4 + depth * indent
        if isinstance(item, str | bytes):
            characters += len(item)
        elif isinstance(item, list | tuple):
            rest.extend((each, depth + 1) for each in item)
        elif isinstance(item, Mapping):
            rest.extend((each, depth + 1) for each in item)
            rest.extend((each, depth + 1) for each in item.values())
        else:
            characters += 30
        if nodes + len(rest) > most:
            raise SecurityError(f"a value is too long: it contains more than {most} values")
    return nodes, characters


def _check_text(value: Any, indent: int = 0) -> int:
    """The length of the text of a value, at most; SecurityError if it is too long."""
    size = len(value) if isinstance(value, str) else _measure(value, indent=indent)[1]
    _check_length(size)
    return size


def _check_widths(arguments: Iterable[Any]) -> None:
    for width in arguments:
        if isinstance(width, int | float) and abs(width) > _WIDEST:
            raise SecurityError(f"a value is too long: the width or number {width} is above {_WIDEST}")


def _check_format(text: Any, values: Any, field: str) -> None:
    widths = sum(int(each[:20]) for each in _NUMBER.findall(text))
    if (_PERCENT_WIDTH if field == "%" else _NESTED_FIELD).search(text):
        found = values.values() if isinstance(values, Mapping) else values
        numbers = found if isinstance(found, Iterable) else (found,)
        widths += sum(abs(each) for each in numbers if isinstance(each, int))
    _check_length(len(text) + widths + text.count(field) * _check_text(values))


def _check_replace(text: Any, old: Any, new: Any, *_: Any) -> None:
    if isinstance(old, Sized) and isinstance(new, Sized):
        _check_length(len(text) + text.count(old) * len(new))


def _check_indent(text: Any, width: Any = 4, *_: Any) -> None:
    _check_widths([width])
    _check_length((str(text).count("\n") + 1) * (len(width) if isinstance(width, str) else abs(width)))


def _check_wrap(text: Any, width: Any = 79, _long: Any = True, end: Any = "", *_: Any) -> None:
    size = len(text)
    # The textwrap module copies the rest of a long word for each line.
    _check_length(size / 1000 * size / max(abs(width), 1))
    _check_length(size * (len(end) if isinstance(end, str) else 1))


def _check_join(items: Any, separator: Any = "", *_: Any) -> None:
    _check_length(_check_text(items) + len(items) * _check_text(separator))


def _check_json(value: Any, indent: Any = 0) -> None:
    _check_widths([indent])
    _check_text(value, indent or 0)


# What is checked before filters and methods are applied, by their arguments; the first is the value itself.
_CHECKS: dict[str, Callable[[Sequence[Any]], object]] = {
    **dict.fromkeys(
        ("batch", "center", "round", "slice", "truncate"), lambda given: _check_widths(given[1:])
    ),
    **dict.fromkeys(("ljust", "rjust", "zfill", "to_bytes"), lambda given: _check_widths(given[1:])),
    **dict.fromkeys(("string", "urlencode", "pprint"), lambda given: _check_text(given[0])),
    "expandtabs": lambda given: _check_replace(given[0], "\t", range(*given[1:] or [8])),
    "format": lambda given: _check_format(given[0], given[1:], "%"),
    "indent": lambda given: _check_indent(*given),
    "join": lambda given: _check_join(*given),
    "replace": lambda given: _check_replace(*given),
    "strftime": lambda given: _check_format(given[1], (), "%"),
    "sum": lambda given: _measure(given[0]),
    "tojson": lambda given: _check_json(*given),
    "translate": lambda given: _check_length(len(given[0]) * _check_text(given[1])),
    "wordwrap": lambda given: _check_wrap(*given),
}
_OF_ITEMS = ("join", "sum")


def _limited(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter with checks of its arguments and of its result."""
    check = _CHECKS.get(name)
    # Jinja passes itself to some of them.
    first = 1 if hasattr(filter_, "jinja_pass_arg") else 0

    @functools.wraps(filter_)
    def apply(*args: Any, **kwargs: Any) -> Any:
        if check is not None:
            if name in _OF_ITEMS:
                args = (*args[:first], _counted(args[first]), *args[first + 1 :])
            check([*args[first:], *kwargs.values()] if name != "format" else [args[0], *args[1:], kwargs])
        return _created(filter_(*args, **kwargs))

    return apply


def _counted(items: Any) -> Any:
    """What a loop goes over, after its length is charged; a generator as a list."""
    if not hasattr(items, "__len__"):
        items = list(items)
    charge(len(items))
    return items


def _concatenated(parts: Sequence[Any]) -> str:
    """What `a ~ b` is."""
    _check_length(sum(map(_check_text, parts)))
    return str(_created("".join(map(str, parts))))


def _checked(value: Any) -> Any:
    """A value that is written to the output, after its size is checked."""
    if isinstance(value, list | tuple | dict):
        _check_text(value)
    return value


def _joined(parts: Iterable[str]) -> str:
    """The output of a template."""
    rest, blocks, size = iter(parts), [], 0
    while found := list(islice(rest, 4096)):
        blocks.append("".join(found))
        size += len(blocks[-1])
        if size > _MOST_CHARACTERS:
            raise SecurityError(f"the output exceeds {_MOST_CHARACTERS} characters")
    _spent.created += size  # of a macro
    return "".join(blocks)


class _Limits(NodeTransformer):
    """Counts loops, and the values that a template creates without a call."""

    def _wrapped(self, node: Any, name: str) -> jinja2.nodes.Filter:
        return jinja2.nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = self._wrapped(node.iter, "_counted")
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._wrapped(jinja2.nodes.Tuple(node.nodes, "load", lineno=node.lineno), "_concatenated")

    def visit_List(self, node: Any) -> Any:  # noqa: N802
        self.generic_visit(node)
        items = node.items if getattr(node, "ctx", "load") == "load" else ()
        plain = all(isinstance(item, jinja2.nodes.Const) for item in items)
        return node if plain else self._wrapped(node, "_created")

    visit_Tuple = visit_Dict = visit_List  # noqa: N815

    def visit_Getitem(self, node: jinja2.nodes.Getitem) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._wrapped(node, "_created") if isinstance(node.arg, jinja2.nodes.Slice) else node


class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with limits on time and memory."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])
    concat = staticmethod(_joined)

    def __init__(self, newline: Literal["\n", "\r\n"], writable: Callable[[Any], Any]) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            newline_sequence=newline,
            autoescape=False,
            finalize=lambda value: _checked(writable(value)),
        )
        for name in _NO_FILTERS:
            del self.filters[name]
        for name in _NO_GLOBALS:
            del self.globals[name]
        self.filters = {name: _limited(name, each) for name, each in self.filters.items()}
        for own in (_counted, _concatenated, _created):
            self.filters[own.__name__] = own

    def _generate(
        self,
        source: jinja2.nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        limited = _Limits().visit(source)
        return super()._generate(limited.set_environment(self), name, filename, defer_init)

    def call(
        __self,  # noqa: N805 - as Jinja names them, because a macro may have an argument `self`
        __context: jinja2.runtime.Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        loops = isinstance(__obj, jinja2.runtime.LoopContext) and args and isinstance(args[0], Sized)
        charge(_CALL + (len(args[0]) if loops else 0))
        # Of a method; that of a text which formats values is hidden by the sandbox.
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if owner is None:
            _created((args, kwargs))
        elif (method := getattr(__obj, "__name__", "")) in ("format", "format_map"):
            _check_format(owner, args[0] if method == "format_map" else (*args, *kwargs.values()), "{")
        elif (check := _CHECKS.get(method)) is not None:
            if method in _OF_ITEMS:
                items = _counted(args[0])
                _check_join(items, owner)
                args = (items, *args[1:])
            else:
                check([owner, *args, *kwargs.values()])
        return _created(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for items, times in ((left, right), (right, left)):
                if isinstance(items, str | bytes | list | tuple) and isinstance(times, int):
                    _check_length(len(items) * times)
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right, "%")
        if isinstance(left, int) and isinstance(right, int) and operator in ("*", "**"):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MOST_BITS:
                raise SecurityError(f"the result of {operator} is too large")
        return _created(super().call_binop(context, operator, left, right))


@functools.cache
def environment(newline: Literal["\n", "\r\n"], writable: Callable[[Any], Any]) -> Environment:
    """The environment of texts with these line ends; `writable` gets each value that one writes."""
    return Environment(newline, writable)
