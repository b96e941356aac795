"""Render the names and contents of template directories with Jinja2, in memory."""

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

# Directories that tools create anywhere and no model reads.
_IGNORED = {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache"}
_IGNORED |= {".pytest_cache", ".ipynb_checkpoints"}
_UNDEFINED = re.compile(r"'(?P<name>[^']+)' is undefined|has no attribute '(?P<attribute>[^']+)'")


def render_directory(directory: Path, context: Mapping[str, object]) -> Iterator[Input]:
    """Every file below `directory`, rendered with `context`; binary files are copied.

    A trailing `.j2` is removed from a name. Execute permission is preserved. GenerateError names the file
    and the line that cannot be rendered.
    """
    # Paths as strings, for speed: this runs twice for every point of a sweep.
    root = os.path.join(directory, "")
    for path in _walk(root):
        name = _render(path.removeprefix(root), path, context).removesuffix(".j2")
        text, executable = _read(path)
        content = None if text is None else _render(text, path, context).encode()
        source = Path(path) if text is None else None
        yield Input(name, content, source, executable=executable)


def _walk(directory: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        problem = f"cannot read the template directory {error.filename}: {error.strerror}"
        if os.path.isfile(directory.rstrip("/")):
            problem = (
                f"{directory.rstrip('/')} is a file, and model.template must be a directory. Move the file "
                "into a directory of its own"
            )
        elif isinstance(error, FileNotFoundError | NotADirectoryError):
            problem = f"the template directory {directory.rstrip('/')} does not exist (model.template)"
        raise GenerateError(problem) from error

    for folder, folders, names in os.walk(directory, onerror=fail, followlinks=True):
        yield from (os.path.join(folder, name) for name in sorted(names))
        folders[:] = sorted(set(folders) - _IGNORED)
        for path in (os.path.join(folder, name) for name in folders):
            if os.path.islink(path) and Path(folder).resolve().is_relative_to(os.path.realpath(path)):
                raise GenerateError(f"{path} is a link to a directory that contains it; remove the link")


def _read(path: str) -> tuple[str | None, bool]:
    """The text of a file, None if it is binary, and whether the file is executable."""
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise GenerateError(f"cannot read the template {path}: not a regular file")
        return _read_text(path, facts.st_mtime_ns, facts.st_size), bool(facts.st_mode & 0o100)
    except OSError as error:
        raise GenerateError(f"cannot read the template {path}: {error.strerror}") from error


@functools.lru_cache(maxsize=256)
def _read_text(path: str, mtime_ns: int, size: int) -> str | None:
    data = Path(path).read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _render(text: str, path: str, context: Mapping[str, object]) -> str:
    """Render a text or a file name; without Jinja syntax it stays unchanged, including line ends."""
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return text
    template = _compile(text, path)
    try:
        return template.render(context)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, jinja2.UndefinedError):
            reason = f"{error.message}. {_hint(str(error), context)}"
        raise GenerateError(f"{path}, line {_line(error, path)}: {reason}") from error


@functools.lru_cache(maxsize=512)
def _compile(text: str, filename: str) -> jinja2.Template:
    environment = _environment("\r\n" if "\r\n" in text else "\n")
    try:
        code = environment.compile(text, name=filename, filename=filename)
    except jinja2.TemplateSyntaxError as error:
        raise GenerateError(f"{filename}, line {error.lineno}: {error.message}") from error
    return jinja2.Template.from_code(environment, code, environment.globals)


@functools.cache
def _environment(newline: Literal["\n", "\r\n"]) -> jinja2.Environment:
    # Sandboxed, because templates may be untrusted: they format values, and cannot run Python code.
    return jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        newline_sequence=newline,
        autoescape=False,
    )


def _line(error: BaseException, path: str) -> int:
    """The line in the template: Jinja maps the frames of its compiled code back to the source."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] or 1 if lines else 1


def _hint(message: str, context: Mapping[str, object]) -> str:
    """The variable whose name is closest to an undefined one."""
    found = _UNDEFINED.search(message)
    if not found:
        return ""
    if found["name"]:
        return closest(found["name"], context)
    names = [*_dotted_names("model", context["model"]), "run.run_id", "run.period", "run.workspace"]
    names += [f"run.period.{name}" for name in ("start", "end", "duration", "interval", "times")]
    owner = "model" if "dict object" in message else "run"
    return closest(f"{owner}.{found['attribute']}", names)


def _dotted_names(prefix: str, value: object) -> Iterator[str]:
    for name, item in value.items() if isinstance(value, Mapping) else ():
        yield f"{prefix}.{name}"
        yield from _dotted_names(f"{prefix}.{name}", item)
