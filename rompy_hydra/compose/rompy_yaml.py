"""Read rompy's YAML files, with `!include`.

A file may come from a stranger: it includes only files below its own directory, or below those that the
user allows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import MOST_NODES, expands_too_much
from rompy_hydra.redaction import remember
from rompy_hydra.regular_files import NotRegular, read_regular
from rompy_hydra.secret_names import is_secret

# The text of a file, and a node of it with marks.
Section = tuple[str, yaml.Node]
ALLOW = "--rompy-include"
_DEEPEST = 10
# In the path of a file, as the shell writes them.
_VARIABLE = re.compile(r"\$\{?(\w+)")


def read_yaml(path: Path, allowed: Sequence[str | Path] = ()) -> Any:
    """The content of a file, its `!include`s replaced by what they name.

    `allowed` are directories, besides the file's own, whose files it may include. ConfigError says what
    is wrong with a file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    return parse_yaml(data, path, _roots(path, allowed), (Path(os.path.realpath(path)),))


def parse_yaml(data: bytes, path: Path, roots: Sequence[Path], chain: tuple[Path, ...]) -> Any:
    """The content of a text; `chain` are the files that include one another, the last one being this."""

    class Loader(yaml.SafeLoader):
        def include(self, node: yaml.Node) -> Any:
            where = f"{path}, line {node.start_mark.line + 1}"
            if not isinstance(node, yaml.ScalarNode):
                raise ConfigError(f"{where}: !include takes the path of one file")
            return _included(node.value, where, roots, chain)

    Loader.add_constructor("!include", Loader.include)
    text = text_of(data, path)
    try:
        loader = Loader(text)
        documents = []
        while loader.check_data():  # type: ignore[no-untyped-call]
            documents.append(loader.get_data())
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    except yaml.YAMLError as error:
        try:
            return json.loads(text)
        except ValueError:
            raise ConfigError(_reason(error, path)) from error
    except ValueError as error:  # such as a date with the month 13
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if len(documents) > 1:
        raise ConfigError(
            f"{path} has {len(documents)} documents, separated by '---'; write each into a file"
        )
    return documents[0] if documents else None


def text_of(data: bytes, path: Path) -> str:
    """The text of a file; ConfigError if it is not text, or if its aliases stand for too many values."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error
    if expands_too_much(text):
        raise ConfigError(f"{path}: its aliases stand for more than {MOST_NODES} values")
    return text


def compose_section(path: Path, allowed: Sequence[str | Path], keys: Sequence[str]) -> Section | None:
    """The text that has the value below some keys, and its node; None if there is no such value.

    What an `!include` on the way names is opened; those in the value stay nodes.
    """
    roots = _roots(path, allowed)
    text = text_of(path.read_bytes(), path)
    chain: tuple[Path, ...] = (Path(os.path.realpath(path)),)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in (*keys, None):
        while isinstance(node, yaml.ScalarNode) and node.tag == "!include":
            real = _resolve(node.value, str(path), roots, chain)
            text, chain = text_of(read_regular(real), real), (*chain, real)
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        if key is None:
            return None if node is None else (text, node)
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return None


def _roots(path: Path, allowed: Sequence[str | Path]) -> list[Path]:
    return [Path(os.path.realpath(each)) for each in (path.absolute().parent, *allowed)]


def _included(name: str, where: str, roots: Sequence[Path], chain: tuple[Path, ...]) -> Any:
    real = _resolve(name, where, roots, chain)
    try:
        data = read_regular(real)
    except NotRegular as error:
        raise ConfigError(f"{where}: !include {name} cannot be read: {str(error).split(',')[0]}") from error
    except OSError as error:
        raise ConfigError(f"{where}: !include {name} cannot be read: {error.strerror}: {real}") from error
    return parse_yaml(data, real, roots, (*chain, real))


def _resolve(name: str, where: str, roots: Sequence[Path], chain: tuple[Path, ...]) -> Path:
    """The file that an `!include` names; ConfigError if it must not be read."""
    for variable in _VARIABLE.findall(name):
        if is_secret(variable):
            remember(os.environ.get(variable, ""))
    given = os.path.expandvars(name)
    real = Path(os.path.realpath(chain[-1].parent / given))
    if not any(real.is_relative_to(root) for root in roots):
        raise ConfigError(
            f"{where}: !include {name} names a file outside of the directory of {chain[0].name}. If it may "
            f"read it, add {ALLOW} {real.parent}"
        )
    if real in chain:
        raise ConfigError(f"{where}: !include {name}: the file includes itself")
    if len(chain) > _DEEPEST:
        raise ConfigError(f"{where}: more than {_DEEPEST} files include one another")
    return real


def _reason(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}, line {mark.line + 1}" if mark else str(path)
    return f"{where}: is not valid YAML: {getattr(error, 'problem', None) or error}"
