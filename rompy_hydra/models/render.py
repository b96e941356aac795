"""Template directories: names and contents rendered with Jinja2, in memory."""

from __future__ import annotations

import functools
import os
import re
import stat
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import jinja2
import jinja2.sandbox

from rompy_hydra.errors import GenerateError, closest
from rompy_hydra.models.inputs import Input

_SUFFIX = ".j2"
# What tools leave in any directory, and no model reads.
_NEVER_INPUTS = {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache"}
_NEVER_INPUTS |= {".pytest_cache", ".ipynb_checkpoints"}
_UNDEFINED = re.compile(r"'(?P<name>[^']+)' is undefined|has no attribute '(?P<attribute>[^']+)'")


def render_directory(directory: Path, context: Mapping[str, object]) -> Iterator[Input]:
    """Every file below `directory`, rendered with `context`; binary files come as they are.

    A trailing `.j2` is dropped from a name. Permission to execute is kept. GenerateError names
    the file and the line of what cannot be rendered.
    """
    # Paths as texts: this is done for every point of a sweep, twice.
    root = os.path.join(directory, "")
    for path in _files(root):
        name = _rendered(path.removeprefix(root), path, context).removesuffix(_SUFFIX)
        text, executable = _read(path)
        if text is None:
            yield Input(name, source=Path(path), executable=executable)
        else:
            content = _rendered(text, path, context).encode()
            yield Input(name, content=content, executable=executable)


def _files(directory: str) -> Iterator[str]:
    folders: list[str] = []
    names: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                (folders if entry.is_dir() else names).append(entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        where = directory.rstrip("/")
        raise GenerateError(f"the template directory {where} does not exist (model.template)") from error
    except OSError as error:
        raise GenerateError(
            f"cannot read the template directory {error.filename}: {error.strerror}"
        ) from error
    yield from (directory + name for name in sorted(names))
    for folder in sorted(set(folders) - _NEVER_INPUTS):
        path = directory + folder
        if os.path.islink(path):
            above = Path(directory).resolve()
            if Path(path).resolve() in [above, *above.parents]:
                raise GenerateError(f"{path} is a link to a directory that it lies in; take it out")
        yield from _files(f"{path}/")


def _read(path: str) -> tuple[str | None, bool]:
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise GenerateError(f"cannot read the template {path}: it is no regular file")
        return _cached_text(path, facts.st_mtime_ns, facts.st_size), bool(facts.st_mode & 0o100)
    except OSError as error:
        raise GenerateError(f"cannot read the template {path}: {error.strerror}") from error


@functools.lru_cache(maxsize=256)
def _cached_text(path: str, mtime_ns: int, size: int) -> str | None:
    data = Path(path).read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _rendered(text: str, path: str, context: Mapping[str, object]) -> str:
    """A text or a name; as it is, to the last line end, where nothing in it is for Jinja."""
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return text
    return _render(_compiled(text, path), path, context)


@functools.lru_cache(maxsize=512)
def _compiled(text: str, filename: str) -> jinja2.Template:
    environment = _environment("\r\n" if "\r\n" in text else "\n")
    try:
        code = environment.compile(text, name=filename, filename=filename)
    except jinja2.TemplateSyntaxError as error:
        raise GenerateError(f"{filename}, line {error.lineno}: {error.message}") from error
    return jinja2.Template.from_code(environment, code, environment.globals)


@functools.cache
def _environment(newline: Literal["\n", "\r\n"]) -> jinja2.Environment:
    # Templates come from strangers, too: they format values, and call no Python of their choice.
    return jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        newline_sequence=newline,
        autoescape=False,
    )


def _render(template: jinja2.Template, path: str, context: Mapping[str, object]) -> str:
    try:
        return template.render(context)
    except jinja2.UndefinedError as error:
        hint = _hint(str(error), context)
        raise GenerateError(f"{path}, line {_line(error, path)}: {error.message}. {hint}") from error
    except Exception as error:
        raise GenerateError(
            f"{path}, line {_line(error, path)}: {type(error).__name__}: {error}"
        ) from error


def _line(error: BaseException, path: str) -> int:
    """The template's line: Jinja maps the frames of its compiled code back to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] or 1 if lines else 1


def _hint(message: str, context: Mapping[str, object]) -> str:
    found = _UNDEFINED.search(message)
    if not found:
        return ""
    if found["name"]:
        return closest(found["name"], context)
    names = [*_names("model", context["model"]), "run.run_id", "run.period", "run.workspace"]
    names += [f"run.period.{name}" for name in ("start", "end", "duration", "interval", "times")]
    owner = "model" if "dict object" in message else "run"
    return closest(f"{owner}.{found['attribute']}", names)


def _names(prefix: str, value: object) -> Iterator[str]:
    """The dotted names of all parameters."""
    for name, item in value.items() if isinstance(value, Mapping) else ():
        yield f"{prefix}.{name}"
        yield from _names(f"{prefix}.{name}", item)
