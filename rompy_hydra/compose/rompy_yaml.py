"""Read rompy's YAML files, with `!include`.

A file may come from a stranger: it includes only files below its own directory, or below those that the
user allows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rompy_hydra.compose.config_files import MOST_NODES, expanded_size
from rompy_hydra.errors import ConfigError
from rompy_hydra.regular_files import NotRegular, read_regular

ALLOW = "--rompy-include"
_DEEPEST = 10


def read_yaml(path: Path, allowed: Sequence[str | Path] = ()) -> Any:
    """The content of a file, its `!include`s replaced by what they name.

    `allowed` are directories, besides the file's own, whose files it may include. ConfigError says what
    is wrong with a file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    roots = [Path(os.path.realpath(each)) for each in (path.absolute().parent, *allowed)]
    return parse_yaml(data, path, roots, (Path(os.path.realpath(path)),))


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
    """The text of a file; ConfigError if it is none, or if its aliases stand for too many values."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error
    if "&" in text and expanded_size(text) > MOST_NODES:
        raise ConfigError(f"{path}: its aliases stand for more than {MOST_NODES} values")
    return text


def _included(name: str, where: str, roots: Sequence[Path], chain: tuple[Path, ...]) -> Any:
    given = os.path.expandvars(name)
    path = chain[-1].parent / given
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root) for root in roots):
        raise ConfigError(
            f"{where}: !include {name} names a file outside of the directory of {chain[0].name}. If it may "
            f"read it, add {ALLOW} {real.parent}"
        )
    if real in chain:
        raise ConfigError(f"{where}: !include {name}: the file includes itself")
    if len(chain) > _DEEPEST:
        raise ConfigError(f"{where}: more than {_DEEPEST} files include one another")
    try:
        data = read_regular(real)
    except NotRegular as error:
        raise ConfigError(f"{where}: !include {name} cannot be read: {str(error).split(',')[0]}") from error
    except OSError as error:
        raise ConfigError(f"{where}: !include {name} cannot be read: {error.strerror}: {path}") from error
    return parse_yaml(data, path, roots, (*chain, real))


def _reason(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}, line {mark.line + 1}" if mark else str(path)
    return f"{where}: is not valid YAML: {getattr(error, 'problem', None) or error}"
