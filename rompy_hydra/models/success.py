"""Success checks of a model: declared by its configuration, evaluated on its outputs."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from rompy_hydra.jsonable import Json
from rompy_hydra.models.patterns import LimitedPattern, TooSlow
from rompy_hydra.models.plausibility import (
    Count,
    Finite,
    LastTime,
    LogPatterns,
    LogValue,
    NotAllZero,
    NotConstant,
    Range,
    Regex,
    wrong_time,
    wrong_values,
)
from rompy_hydra.reading.tables import number_of
from rompy_hydra.regular_files import open_inside
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import LOG, Glob, Workspace
from rompy_hydra.workspace.script import Command

# The checks of version 0.1.0, which are part of the identity of its runs even if they are empty.
_FIRST_CHECKS = frozenset({"must_exist", "must_not_exist", "must_be_empty"})
_FIRST_CHECKS |= {"log_must_contain", "log_must_not_contain", "log_file"}
# What is never right, and fails a run where no check is declared.
Never = Literal["error_files", "error_lines", "all_missing", "no_output"]


@dataclass(frozen=True)
class Check:
    """One check and its outcome. A warning is a check that the run passes, but not silently."""

    check: str
    target: str
    ok: bool
    message: str
    warning: bool = False

    def facts(self) -> dict[str, Json]:
        """The check as it is stored in the run record."""
        facts: dict[str, Json] = dict(vars(self))
        if not self.warning:
            del facts["warning"]
        return facts


class SuccessChecks(BaseModel):
    """What must hold after a successful run, in addition to exit code 0.

    Many models return 0 after a fatal error, so their configurations declare which files and log lines
    to expect, and what the outputs contain. Paths are relative to the run directory. Globs are allowed;
    they never match the engine's own files. A directory is empty if it has no entries.
    """

    # The validator is built on first use: few commands need it.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    must_exist: tuple[Glob, ...] = ()
    must_not_exist: tuple[Glob, ...] = ()
    must_be_empty: tuple[Glob, ...] = ()
    log_must_contain: tuple[Regex, ...] = ()
    log_must_not_contain: tuple[Regex, ...] = ()
    log_file: Glob = LOG
    # Regular expressions: a line of the log that matches makes the run completed with warnings.
    warnings: tuple[Regex, ...] = ()
    # Further logs, each with patterns of its own.
    logs: tuple[LogPatterns, ...] = ()
    log_value: tuple[LogValue, ...] = ()
    range: tuple[Range, ...] = ()
    finite: tuple[Finite, ...] = ()
    not_constant: tuple[NotConstant, ...] = ()
    not_all_zero: tuple[NotAllZero, ...] = ()
    last_time: tuple[LastTime, ...] = ()
    count: tuple[Count, ...] = ()
    # Files in which the model explains an error: quoted when it fails.
    error_files: tuple[Glob, ...] = ()
    # What is not a failure, although no check is declared.
    allow: tuple[Never, ...] = ()

    @functools.cached_property
    def plain_data(self) -> dict[str, Json]:
        """The checks as plain data, as they distinguish a run; a run of an earlier version is the same."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if name in _FIRST_CHECKS or value}

    @property
    def declares_checks(self) -> bool:
        """Whether there is any check, so that success does not rest on the exit code alone."""
        settings = ("log_file", "error_files", "allow", "warnings")
        return any(getattr(self, name) for name in type(self).model_fields if name not in settings)

    @property
    def is_default(self) -> bool:
        """Whether nothing is said about success, not even what is allowed."""
        return self == _NOTHING_SAID

    def plus(self, more: SuccessChecks) -> SuccessChecks:
        """The checks of both; those of `more` keep their own log file."""
        fields = {
            name: tuple(dict.fromkeys((*getattr(self, name), *getattr(more, name))))
            for name in type(self).model_fields
            if name != "log_file"
        }
        if more.log_file != self.log_file:
            patterns = LogPatterns(
                file=more.log_file,
                must_contain=more.log_must_contain,
                must_not_contain=more.log_must_not_contain,
                warnings=more.warnings,
            )
            values = (v.model_copy(update={"file": v.file or more.log_file}) for v in more.log_value)
            fields |= {
                "log_must_contain": self.log_must_contain,
                "log_must_not_contain": self.log_must_not_contain,
                "warnings": self.warnings,
                "logs": (*self.logs, patterns, *more.logs),
                "log_value": (*self.log_value, *values),
            }
        return self.model_copy(update=fields)

    @property
    def missing_package(self) -> str:
        """What must be installed to evaluate the checks, as a message; '' if nothing is missing."""
        file = self.needs_netcdf
        if file is None or _can_read_netcdf():
            return ""
        return (
            f"model.success: reading {file} requires xarray and netCDF4, which are not installed: "
            "pip install 'rompy-hydra[analysis]'"
        )

    @property
    def needs_netcdf(self) -> str | None:
        """The first netCDF file that a check reads; None if none does."""
        from rompy_hydra.models.contents import is_netcdf

        checks = (*self._of_variables, *self.last_time, *self.count)
        return next((check.file for check in checks if is_netcdf(check.file)), None)

    @property
    def _of_variables(self) -> tuple[Range | Finite | NotConstant | NotAllZero, ...]:
        return (*self.range, *self.finite, *self.not_constant, *self.not_all_zero)

    def judge(self, workspace: Workspace, period: TimeRange | None = None) -> list[Check]:
        """Evaluate every declared check, in the order of the fields.

        `period` is the simulated one, which `last_time` and times without a date need.
        """
        return [
            *self._check_files(workspace),
            *self._check_log(workspace),
            *self._check_values(workspace),
            *self._check_times(workspace, period),
            *self._check_counts(workspace),
        ]

    def evaluate(
        self,
        workspace: Workspace,
        period: TimeRange | None,
        outputs: Sequence[str] | None,
        commands: Sequence[Command],
        exit_code: int = 0,
    ) -> list[Check]:
        """`judge`, and what is never right where no check is declared.

        `outputs` are the files that the model wrote; None if they are not in the run directory.
        """
        checks = self.judge(workspace, period)
        if self.declares_checks:
            return checks
        from rompy_hydra.models.safeguards import safeguard

        return [*checks, *safeguard(workspace, outputs, commands, self.allow, exit_code)]

    def _check_files(self, workspace: Workspace) -> Iterator[Check]:
        for glob in self.must_exist:
            found = find(workspace, glob)
            empty = [name for name, size in found if size == 0]
            message = f"{empty[0]} is empty" if empty else "found" if found else f"{glob} was not written"
            yield Check("must_exist", glob, bool(found) and not empty, message)
        for glob in self.must_not_exist:
            found = find(workspace, glob)
            message = f"the model left {found[0][0]}" if found else "absent"
            yield Check("must_not_exist", glob, not found, message)
        for glob in self.must_be_empty:
            filled = [(name, size) for name, size in find(workspace, glob) if size]
            message = f"{filled[0][0]} has {filled[0][1]} bytes" if filled else "empty or absent"
            yield Check("must_be_empty", glob, not filled, message)

    def _check_log(self, workspace: Workspace) -> Iterator[Check]:
        if not (self.log_must_contain or self.log_must_not_contain or self.warnings or self.log_value):
            for log in self.logs:
                yield from _check_one_log(workspace, log, ())
            return
        own = LogPatterns(
            file=self.log_file,
            must_contain=self.log_must_contain,
            must_not_contain=self.log_must_not_contain,
            warnings=self.warnings,
        )
        for log in (own, *self.logs):
            values = [v for v in self.log_value if (v.file or self.log_file) == log.file]
            yield from _check_one_log(workspace, log, values)
        known = {self.log_file, *(log.file for log in self.logs)}
        for file in dict.fromkeys(v.file for v in self.log_value if v.file and v.file not in known):
            values = [v for v in self.log_value if v.file == file]
            yield from _check_one_log(workspace, LogPatterns(file=file), values)

    def _check_values(self, workspace: Workspace) -> Iterator[Check]:
        if not self._of_variables:
            return
        from rompy_hydra.models.contents import Unreadable, Values, values_of

        read: dict[tuple[object, ...], Values | Unreadable] = {}
        for check in self._of_variables:
            if check.source not in read:
                try:
                    read[check.source] = values_of(workspace, _written(workspace, check.file), check)
                except Unreadable as error:
                    read[check.source] = error
            found = read[check.source]
            wrong = str(found)
            if isinstance(found, Values):
                wrong = wrong_values(check, found.cells, found.valid, found.low, found.high)
                what = f"column {check.variable}" if isinstance(check.variable, int) else check.variable
                what = "a column" if what == "*" else what
                wrong = wrong and f"{what} in {check.file} {wrong}"
            yield _of_output(check.check, check, wrong)

    def _check_times(self, workspace: Workspace, period: TimeRange | None) -> Iterator[Check]:
        if not self.last_time:
            return
        from rompy_hydra.models.contents import Unreadable, last_time

        for check in self.last_time:
            try:
                names = _written(workspace, check.file)
                last = last_time(workspace, names, check, period.start if period else None)
                wrong = wrong_time(check, last, period.end if period else None)
                wrong = wrong and f"{check.file} {wrong}"
            except Unreadable as error:
                wrong = str(error)
            yield _of_output("last_time", check, wrong)

    def _check_counts(self, workspace: Workspace) -> Iterator[Check]:
        if not self.count:
            return
        from rompy_hydra.models.contents import Unreadable, count_of

        for check in self.count:
            try:
                count = count_of(workspace, _written(workspace, check.file), check)
                wrong = ""
                if count < check.min:
                    wrong = f"{check.file} has {count}, fewer than the {check.min} expected"
                elif check.max is not None and count > check.max:
                    wrong = f"{check.file} has {count}, more than the {check.max} expected"
            except Unreadable as error:
                wrong = str(error)
            yield _of_output("count", check, wrong)


_NOTHING_SAID = SuccessChecks.model_construct()


@functools.cache
def _can_read_netcdf() -> bool:
    return all(importlib.util.find_spec(name) for name in ("xarray", "netCDF4"))


class _HasFile(Protocol):
    @property
    def file(self) -> str: ...


def _of_output(kind: str, check: _HasFile, wrong: str) -> Check:
    variable = getattr(check, "variable", None)
    target = check.file if variable is None else f"{check.file}: {variable}"
    return Check(kind, target, not wrong, wrong or "plausible")


def _written(workspace: Workspace, glob: str) -> list[str]:
    from rompy_hydra.models.contents import Unreadable

    names = [name for name, _ in find(workspace, glob)]
    if not names:
        raise Unreadable(f"{glob} was not written")
    return names


def _check_one_log(workspace: Workspace, log: LogPatterns, values: Sequence[LogValue]) -> Iterator[Check]:
    """The checks of one log, which is read once, line by line: it may be larger than the memory."""
    expressions = (*log.must_contain, *log.must_not_contain, *log.warnings)
    patterns = {each: LimitedPattern(each) for each in expressions}
    numbers = [(value, LimitedPattern(value.pattern), _Numbers(value)) for value in values]
    found: dict[str, str] = {}
    try:
        for line in log_lines(workspace, log.file) if patterns or numbers else ():
            for pattern, limited in patterns.items():
                if pattern not in found and limited.search(line):
                    found[pattern] = line.strip()[:500]
            for _, limited, seen in numbers:
                if match := limited.search(line):
                    seen.add(match[1] or "")
    except OSError as error:
        yield Check("log_file", log.file, False, f"{error.filename or log.file} {error.strerror}")
    except TooSlow as error:
        yield Check("log_file", log.file, False, f"{log.file} could not be checked: {error}")
        return
    for pattern in log.must_contain:
        message = "found" if pattern in found else f"{log.file} has no line with '{pattern}'"
        yield Check("log_must_contain", pattern, pattern in found, message)
    for pattern in log.must_not_contain:
        message = f"{log.file} contains: {found[pattern]}" if pattern in found else "absent"
        yield Check("log_must_not_contain", pattern, pattern not in found, message)
    for pattern in log.warnings:
        message = f"{log.file}: {found[pattern]}" if pattern in found else "absent"
        yield Check("warnings", pattern, True, message, warning=pattern in found)
    for value, _, seen in numbers:
        wrong = seen.wrong(log.file)
        yield Check("log_value", value.pattern, not wrong, wrong or "plausible")


class _Numbers:
    """The numbers of a `log_value` check, as far as its outcome depends on them."""

    def __init__(self, value: LogValue) -> None:
        self._value = value
        self._text: str | None = None
        self._excess = ""

    def add(self, text: str) -> None:
        """Take the number in a line that matches."""
        is_settled = {"first": self._text is not None, "every": bool(self._excess), "last": False}
        if is_settled[self._value.which]:
            return
        self._text, number = text, number_of(text)
        wrong = f"is '{text}', which is not a number" if math.isnan(number) else ""
        self._excess = wrong or self._value.excess(number, number)

    def wrong(self, file: str) -> str:
        """What is wrong with the numbers of a log; '' if the check passes."""
        if self._text is None:
            return f"{file} has no line with '{self._value.pattern}'"
        return self._excess and f"the value of '{self._value.pattern}' in {file} {self._excess}"


def find(workspace: Workspace, glob: str) -> list[tuple[str, int]]:
    """The matches of a path or glob, each with its size in bytes, or entries for a directory."""
    names = [glob]
    if any(char in glob for char in "*?["):
        found = (str(path.relative_to(workspace.path)) for path in sorted(workspace.path.glob(glob)))
        names = [name for name in found if not workspace.is_own(name)]
    sizes = ((name, _size(workspace.path / name)) for name in names)
    return [(name, size) for name, size in sizes if size is not None]


def _size(path: Path) -> int | None:
    try:
        return len(os.listdir(path)) if path.is_dir() else path.stat().st_size
    except OSError:
        return None


def log_lines(workspace: Workspace, glob: str) -> Iterator[str]:
    """The lines of the files that match, in pieces if a line is very long.

    OSError if one is not a regular file of the run directory; directories are skipped.
    """
    for name, _size in find(workspace, glob):
        if os.path.isdir(workspace.at(name)):
            continue
        with io.TextIOWrapper(open_inside(workspace.root, name), encoding="utf-8", errors="replace") as log:
            while line := log.readline(65536):  # the log may be a single endless line
                yield line
