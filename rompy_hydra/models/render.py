"""Render the names and contents of template directories with Jinja2, in memory."""

from __future__ import annotations

import functools
import os
import re
import stat
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel

from rompy_hydra.errors import GenerateError, closest
from rompy_hydra.jsonable import to_plain
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.models.sandbox import charge, environment, start_rendering
from rompy_hydra.time_range import TimeRange

# Directories that tools create anywhere and no model reads.
_IGNORED = {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache"}
_IGNORED |= {".pytest_cache", ".ipynb_checkpoints"}
_UNDEFINED = re.compile(r"'(?P<name>[^']+)' is undefined|has no attribute '(?P<attribute>[^']+)'")
# How every Jinja expression, statement and comment starts.
_MARKS = ("{{", "{%", "{#")

# Values that templates get as they are.
_ATOMS = {str, int, float, bool, type(None), datetime, date, timedelta}


@dataclass(frozen=True, slots=True)
class TemplatePeriod:
    """`run.period` in a template: times in UTC as `datetime`, lengths as `timedelta`."""

    start: datetime
    end: datetime
    duration: timedelta
    interval: timedelta

    @property
    def times(self) -> tuple[datetime, ...]:
        """Output times from `start` in steps of `interval`, including `end` if it falls on a step."""
        steps = self.duration // self.interval
        charge(steps)
        return tuple(self.start + step * self.interval for step in range(steps + 1))


@dataclass(frozen=True, slots=True)
class TemplateRun:
    """`run` in a template."""

    run_id: str
    # None for a model that does not depend on it.
    period: TemplatePeriod | None
    workspace: str


_OF_PERIOD = (*(each.name for each in fields(TemplatePeriod)), "times")
# How Jinja names these objects, and their names in a template.
_OWN_OBJECT = re.compile(r"'rompy_hydra\.models\.render\.(\w+) object'")
_OWN_NAMES = {"TemplatePeriod": ".period", "TemplateRun": ""}


def template_context(context: Mapping[str, object]) -> dict[str, object]:
    """What templates see of a context: plain data, without the methods of the objects that hold it.

    The sandbox lets a template call any public method that it finds, and pydantic's can read files.
    """
    return {name: _plain(value) for name, value in context.items()}


def _plain(value: object) -> object:
    if type(value) in _ATOMS:
        return value
    if isinstance(value, Mapping):
        return {(key if type(key) in _ATOMS else str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, RunFacts):
        period = None if value.period is None else _period(value.period)
        return TemplateRun(value.run_id, period, value.workspace)
    if isinstance(value, TimeRange):
        return _period(value)
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in vars(value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return to_plain(value)


def _period(period: TimeRange) -> TemplatePeriod:
    return TemplatePeriod(period.start, period.end, period.duration, period.interval)


def render_directory(directory: Path, context: Mapping[str, object]) -> Iterator[Input]:
    """Every file below `directory`, rendered with `context`; binary files are copied.

    A trailing `.j2` is removed from a name. Execute permission is preserved. GenerateError names the file
    and the line that cannot be rendered.
    """
    context = template_context(context)
    # Paths as strings, for speed: this runs twice for every point of a sweep.
    root = os.path.join(directory, "")
    for path in _walk(root):
        name = _render(path.removeprefix(root), path, context).removesuffix(".j2")
        text, executable = _read(path)
        content = None if text is None else _encoded(_render(text, path, context), path)
        source = Path(path) if text is None else None
        yield Input(name, content, source, executable=executable)


def texts_of(directory: Path) -> Iterator[str]:
    """The relative path of every file below `directory`, and its text, before they are rendered.

    GenerateError if one cannot be read.
    """
    root = os.path.join(directory, "")
    for path in _walk(root):
        yield path.removeprefix(root)
        if (text := _read(path)[0]) is not None:
            yield text


def parse(text: str) -> jinja2.nodes.Template | None:
    """The syntax tree of a text; None without Jinja syntax. GenerateError if it is not valid."""
    if not any(mark in text for mark in _MARKS):
        return None
    try:
        tree: jinja2.nodes.Template = environment("\n", _writable).parse(text)
        return tree
    except jinja2.TemplateSyntaxError as error:
        raise GenerateError(f"line {error.lineno}: {error.message}") from error


def _encoded(text: str, path: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise GenerateError(f"{path}: a value in it is not valid Unicode: {error.reason}") from error


def _walk(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            kinds = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        problem = f"cannot read the template directory {error.filename}: {error.strerror}"
        if os.path.isfile(directory.rstrip("/")):
            problem = (
                f"{directory.rstrip('/')} is a file, and model.template must be a directory. Move the file "
                "into a directory of its own"
            )
        elif isinstance(error, FileNotFoundError | NotADirectoryError):
            problem = f"the template directory {directory.rstrip('/')} does not exist (model.template)"
        raise GenerateError(problem) from error
    yield from (directory + name for name, is_folder in kinds if not is_folder)
    for path in (directory + name for name, is_folder in kinds if is_folder and name not in _IGNORED):
        if os.path.islink(path) and Path(directory).resolve().is_relative_to(os.path.realpath(path)):
            raise GenerateError(f"{path} is a link to a directory that contains it; remove the link")
        yield from _walk(f"{path}/")


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
    if not any(mark in text for mark in _MARKS):
        return text
    template = _compile(text, path)
    start_rendering()
    try:
        return template.render(context)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, jinja2.UndefinedError):
            reason = _undefined(str(error.message), context)
        elif isinstance(error, _NotWritable):
            reason = _not_writable(error.value, context, text.splitlines()[_line(error, path) - 1])
        raise GenerateError(f"{path}, line {_line(error, path)}: {reason}") from error


@functools.lru_cache(maxsize=512)
def _compile(text: str, filename: str) -> jinja2.Template:
    sandbox = environment("\r\n" if "\r\n" in text else "\n", _writable)
    try:
        code = sandbox.compile(text, name=filename, filename=filename)
    except jinja2.TemplateSyntaxError as error:
        raise GenerateError(f"{filename}, line {error.lineno}: {error.message}") from error
    except (SyntaxError, RecursionError, ValueError, MemoryError) as error:  # of what it is compiled to
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise GenerateError(f"{filename}, line 1: the template cannot be compiled: {reason}") from error
    return jinja2.Template.from_code(sandbox, code, sandbox.globals)


class _NotWritable(Exception):
    """A template writes a value that is no text of an input file."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__()


def _writable(value: Any) -> Any:
    """The result of an expression, before it is written."""
    if value is None or isinstance(value, dict | TemplateRun | TemplatePeriod):
        raise _NotWritable(value)
    return value


def _line(error: BaseException, path: str) -> int:
    """The line in the template: Jinja maps the frames of its compiled code back to the source."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] or 1 if lines else 1


def _undefined(message: str, context: Mapping[str, object]) -> str:
    """What is undefined, with the name that is closest."""
    found = _UNDEFINED.search(message)
    if not found:
        return message
    if found["name"]:
        return f"{message}. {closest(found['name'], context)}"
    attribute, run = found["attribute"], context.get("run")
    if getattr(run, "period", ...) is None and attribute in _OF_PERIOD and "'None'" in message:
        return (
            f"run.period.{attribute} is not available, because the model has uses_period: false. If it "
            "depends on the period, set uses_period: true"
        )
    message = _OWN_OBJECT.sub(lambda match: "run" + _OWN_NAMES[match[1]], message)
    names = [*(name for name, _ in _dotted("model", context["model"])), "run.run_id", "run.period"]
    names += ["run.workspace", *(f"run.period.{name}" for name in _OF_PERIOD)]
    owner = "model" if "dict object" in message else "run"
    return f"{message}. {closest(f'{owner}.{attribute}', names)}"


def _not_writable(value: object, context: Mapping[str, object], line: str) -> str:
    """Why a value in a line cannot be written into a file, and what can be written instead."""
    run = context.get("run")
    named = {"run": run, "run.period": getattr(run, "period", ...), "model": context["model"]}
    named |= dict(_dotted("model", context["model"]))
    # Many values may be None.
    words = set(re.findall(r"\w+", line))
    names = [n for n, each in named.items() if each is value and n.rpartition(".")[2] in words]
    name = names[0] if len(names) == 1 else "an expression"
    if value is None and names == ["run.period"]:
        return "run.period has no value, because the model has uses_period: false"
    if value is None:
        shown = name if names else "VALUE"
        return (
            f"{name} has no value (null). Give it one, or write a default into the template: "
            f"{{{{ {shown} or 0 }}}}"
        )
    if isinstance(value, Mapping):
        example = f", such as {name}.{next(iter(value))}" if value and len(names) == 1 else ""
        return f"{name} is a mapping: write one of its values{example}, or all with the filter tojson"
    return (
        f"{name} is not a text: write {name}.{'start' if isinstance(value, TemplatePeriod) else 'run_id'}"
    )


def _dotted(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    """Everything below a mapping, by its dotted name."""
    for name, item in value.items() if isinstance(value, Mapping) else ():
        yield f"{prefix}.{name}", item
        yield from _dotted(f"{prefix}.{name}", item)
