"""Any value as plain JSON data: what a record stores, and what hashes are computed from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# More nodes than any configuration or list of cases has that uses aliases.
MOST_NODES = 1_000_000
_ALIAS = re.compile(r"(?m)(?:^|[\s\[{,])\*[\w-]")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def json_text(value: object, indent: int | None = None, *, strict: bool = False) -> str:
    """A value as JSON, many times faster than the standard library.

    `strict` writes NaN and the infinities as strings, because they are not valid JSON.
    """
    try:
        return to_json(value, indent=indent, inf_nan_mode="strings" if strict else "constants").decode()
    except (PydanticSerializationError, UnicodeError):  # a file name that is not valid text
        return json.dumps(value, indent=indent)


def read_json(text: bytes | str) -> Any:
    """Parse what `json_text` wrote; ValueError for invalid JSON, or if it is nested without an end."""
    try:
        return from_json(text, cache_strings="keys")  # others would stay in memory
    except ValueError:
        # It rejects lone surrogates, which stand for file names that are not valid text. The standard
        # library takes them, but may end in RecursionError.
        data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        from_json(_SURROGATE.sub(rb"\\u0020", data))
        return json.loads(text)


def expands_too_much(text: str) -> bool:
    """Whether the aliases of a YAML text stand for more than `MOST_NODES` values."""
    return "&" in text and bool(_ALIAS.search(text)) and _expanded_size(text) > MOST_NODES


def canonical_json(value: Json) -> str:
    """A value as JSON in which the order of keys does not matter."""
    return _CANONICAL.encode(value)


def plain(mapping: Mapping[str, object], constant: Callable[[str], Json] = str) -> dict[str, Json]:
    """A mapping as JSON data: numpy numbers become numbers, anything else that JSON lacks its text.

    `constant` converts NaN and the infinities, which are not valid JSON.
    """
    text = json.dumps(dict(mapping), default=_number_or_text)
    return cast("dict[str, Json]", json.loads(text, parse_constant=constant))


def to_plain(value: object) -> Json:
    """A value as plain data, the same in every process; values with no such form become their type's name.

    >>> to_plain({"when": __import__("datetime").timedelta(hours=1), "names": {"b", "a"}})
    {'when': 'PT1H', 'names': ['a', 'b']}
    """
    if isinstance(value, BaseModel):
        # Not with `getattr`, which warns about deprecated fields.
        return to_plain({k: v for k, v in vars(value).items() if not k.startswith("_")})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain({each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(_simple(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((to_plain(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return _simple(value)


def path_text(value: object) -> object:
    """The text of a path object; anything else unchanged, also inside of lists and mappings.

    >>> path_text({"grid": __import__("pathlib").PurePosixPath("a", "b"), "n": 3})
    {'grid': 'a/b', 'n': 3}
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: path_text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [path_text(each) for each in value]
    return value


# A text that is, or may contain, a path, which may be given as a path object.
PathText = Annotated[str, BeforeValidator(path_text)]


def python_scalar(value: object) -> object:
    """A numpy scalar (or array without dimensions) as the Python number it holds; others unchanged."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def _number_or_text(value: object) -> object:
    number = python_scalar(value)
    return str(value) if number is value else number


def _simple(value: object) -> Json:
    return cast("Json", to_jsonable_python(python_scalar(value), fallback=_text_or_type))


def _text_or_type(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    content = getattr(value, "tobytes", None)
    if callable(content):  # an array: its text omits the middle
        digest = hashlib.sha256(content()).hexdigest()
        return f"{kind} {getattr(value, 'shape', '')} {getattr(value, 'dtype', '')} {digest}"
    text = str(value)
    return kind if _ADDRESS.search(text) else text


def _expanded_size(text: str) -> int:
    """The number of nodes of a YAML text after its aliases are replaced; 0 if it is not valid YAML."""
    import yaml

    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                total += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total))
                total += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor is not None:
                    sizes[anchor] = total - before
            elif isinstance(event, yaml.ScalarEvent):
                total += 1
            if total > MOST_NODES:
                return total
    except yaml.YAMLError:
        return 0  # reported by what loads it
    return total
