"""Success checks of a model: declared by its configuration, evaluated on its outputs."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rompy_hydra.jsonable import Json
from rompy_hydra.models.checks import EXTRA, Check, IsInput, Unreadable, never, results
from rompy_hydra.models.logs import check_log
from rompy_hydra.models.plausibility import (
    Count,
    Finite,
    LastTime,
    LogPatterns,
    LogValue,
    NotAllZero,
    NotConstant,
    OfFiles,
    Range,
    Regex,
    Values,
    wrong_values,
)
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import LOG, Glob, Workspace
from rompy_hydra.workspace.script import Command

# The checks of version 0.1.0, which are part of the identity of its runs even if they are empty.
_FIRST_CHECKS = frozenset({"must_exist", "must_not_exist", "must_be_empty"})
_FIRST_CHECKS |= {"log_must_contain", "log_must_not_contain", "log_file"}
# What is never right, and fails a run where no check is declared.
Never = Literal["error_files", "error_lines", "damaged", "all_missing", "no_output"]


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
        settings = ("log_file", "error_files", "allow", "warnings", "logs")
        if any(getattr(self, name) for name in type(self).model_fields if name not in settings):
            return True
        return any(log.must_contain or log.must_not_contain for log in self.logs)

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
        if file is None or can_read_netcdf():
            return ""
        return (
            f"model.success: reading {file} requires xarray and netCDF4, which are not installed: {EXTRA}"
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

    def judge(
        self, workspace: Workspace, period: TimeRange | None = None, is_input: IsInput = never
    ) -> list[Check]:
        """Evaluate every declared check, in the order of the fields.

        `period` is the simulated one, which `last_time` and times without a date need. Files for which
        `is_input` is true came with the template; they are no results.
        """
        return [
            *self._check_files(workspace, is_input),
            *self._check_logs(workspace, is_input),
            *self._check_values(workspace, is_input),
            *self._check_times(workspace, period, is_input),
        ]

    def evaluate(
        self,
        workspace: Workspace,
        period: TimeRange | None,
        outputs: Sequence[str] | None,
        commands: Sequence[Command],
        exit_code: int = 0,
        is_input: IsInput = never,
    ) -> list[Check]:
        """`judge`, and what is never right where no check is declared.

        `outputs` are the files that the model wrote; None if they are not in the run directory.
        """
        checks = self.judge(workspace, period, is_input)
        if self.declares_checks:
            return checks
        from rompy_hydra.models.safeguards import safeguard

        return [*checks, *safeguard(workspace, outputs, commands, self.allow, exit_code)]

    def _check_files(self, workspace: Workspace, is_input: IsInput) -> Iterator[Check]:
        for glob in self.must_exist:
            found, missing = results(workspace, glob, is_input)
            empty = [name for name, size in found if size == 0]
            message = f"{empty[0]} is empty" if empty else missing or "found"
            yield Check("must_exist", glob, bool(found) and not empty, message)
        for glob in self.must_not_exist:
            left = workspace.matching(glob)
            message = f"the model left {left[0][0]}" if left else "absent"
            yield Check("must_not_exist", glob, not left, message)
        for glob in self.must_be_empty:
            filled = [(name, size) for name, size in workspace.matching(glob) if size]
            message = f"{filled[0][0]} has {filled[0][1]} bytes" if filled else "empty or absent"
            yield Check("must_be_empty", glob, not filled, message)

    def _check_logs(self, workspace: Workspace, is_input: IsInput) -> Iterator[Check]:
        own = LogPatterns.model_construct(
            file=self.log_file,
            must_contain=self.log_must_contain,
            must_not_contain=self.log_must_not_contain,
            warnings=self.warnings,
        )
        logs = [own, *self.logs]
        known = {log.file for log in logs}
        others = dict.fromkeys(v.file for v in self.log_value if v.file and v.file not in known)
        logs += [LogPatterns.model_construct(file=file) for file in others]
        for number, log in enumerate(logs):
            first = all(log.file != before.file for before in logs[:number])
            values = [v for v in self.log_value if first and (v.file or self.log_file) == log.file]
            yield from check_log(workspace, log, values, is_input)

    def _check_values(self, workspace: Workspace, is_input: IsInput) -> Iterator[Check]:
        if not self._of_variables:
            return
        from rompy_hydra.models.contents import values_of

        read: dict[tuple[object, ...], Values | Unreadable] = {}
        for check in self._of_variables:
            if check.source not in read:
                try:
                    names = _written(workspace, check, is_input)
                    read[check.source] = values_of(workspace, names, check)
                except Unreadable as error:
                    read[check.source] = error
            found = read[check.source]
            wrong = str(found)
            if isinstance(found, Values):
                wrong = wrong_values(check, found)
                what = f"column {check.variable}" if isinstance(check.variable, int) else check.variable
                what = "a column" if what == "*" else what
                wrong = wrong and f"{what} in {check.file} {wrong}"
            target = f"{check.file}: {check.variable}"
            yield Check(check.check, target, not wrong, wrong or "plausible")

    def _check_times(
        self, workspace: Workspace, period: TimeRange | None, is_input: IsInput
    ) -> Iterator[Check]:
        if not self.last_time and not self.count:
            return
        from rompy_hydra.models.times import wrong_count, wrong_time

        checks: tuple[LastTime | Count, ...] = (*self.last_time, *self.count)
        for check in checks:
            target = check.file
            try:
                names = _written(workspace, check, is_input)
                if isinstance(check, Count):
                    wrong = wrong_count(workspace, names, check)
                else:
                    wrong = wrong_time(workspace, names, check, period)
                    target += f": {check.variable}" if check.variable is not None else ""
            except Unreadable as error:
                wrong = str(error)
            yield Check(check.check, target, not wrong, wrong or "plausible")


_NOTHING_SAID = SuccessChecks.model_construct()


@functools.cache
def can_read_netcdf() -> bool:
    """Whether the packages for netCDF are installed."""
    return all(importlib.util.find_spec(name) for name in ("xarray", "netCDF4"))


def _written(workspace: Workspace, check: OfFiles, is_input: IsInput) -> list[str]:
    if check.input:
        is_input = never
    names, missing = results(workspace, check.file, is_input)
    if not names:
        hint = (
            " (if the check is about it as an input: input: true)" if missing.endswith("write it") else ""
        )
        raise Unreadable(missing + hint)
    return [name for name, _ in names]
