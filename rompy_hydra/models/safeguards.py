"""What is never right after a run, checked where a model declares no success checks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from rompy_hydra.models.contents import has_number, is_netcdf, is_table
from rompy_hydra.models.success import Check, Never, log_lines
from rompy_hydra.workspace import LOG, Workspace
from rompy_hydra.workspace.script import Command

ERROR_FILES = "Errfile*"
# In capitals, as programs in Fortran write it: `abort = false` is a setting.
_ERROR_LINE = re.compile(
    r"\b(?:MPI_)?ABORT\b(?!\s*[=_])|(?i:(?<!\bno )(?<!\b0 )severe error(?!s?\s*[:=]\s*0\b))"
)
# Logs besides the run's own, by the names that models give them.
_LOGS = ("PRINT", "PRINT-*", "*.log", "fatal.error", "mirror.out")
# Commands that write nothing, whatever they are for.
_SILENT = {"true", ":", "sleep", "test", "["}


def safeguard(
    workspace: Workspace,
    outputs: Sequence[str] | None,
    commands: Sequence[Command],
    allow: Collection[Never] = (),
    exit_code: int = 0,
) -> Iterator[Check]:
    """What is never right and found nevertheless, as failed checks; each with how to allow it.

    `outputs` are the files that the model wrote; None if they are elsewhere. After a failure, only
    the files are searched that explain it.
    """
    files = outputs or ()
    searches: dict[Never, Callable[[], str]] = {
        "error_files": lambda: _error_file(files),
        "error_lines": lambda: _error_line(workspace, files),
        "all_missing": lambda: _only_missing(workspace, files),
        "no_output": lambda: _no_output(workspace, outputs, commands),
    }
    for kind, search in searches.items():
        searched = kind not in allow and (exit_code == 0 or kind == "error_files")
        # Only what is wrong: a record without declared checks stays short.
        if searched and (wrong := search()):
            hint = f" (if that is right: model.success.allow=[{kind}])"
            target = ERROR_FILES if kind == "error_files" else ""
            yield Check(kind, target, False, wrong + hint)


def _error_file(outputs: Sequence[str]) -> str:
    found = (name for name in outputs if fnmatchcase(name.rpartition("/")[2], ERROR_FILES))
    return next((f"the model left {name}" for name in found), "")


def _error_line(workspace: Workspace, outputs: Sequence[str]) -> str:
    logs = [n for n in outputs if any(fnmatchcase(n.rpartition("/")[2], pattern) for pattern in _LOGS)]
    for name in (LOG, *logs):
        try:
            if not os.lstat(workspace.at(name)).st_size:
                continue  # as of most models that are run by the thousand
            for line in log_lines(workspace, name):
                if _ERROR_LINE.search(line):
                    return f"{name} contains: {line.strip()[:500]}"
        except OSError:
            continue  # a link or a pipe, which says nothing
    return ""


def _only_missing(workspace: Workspace, outputs: Sequence[str]) -> str:
    seen: list[str] = []
    for name in outputs:
        if is_netcdf(name) or is_table(name):
            number = has_number(workspace, name)
            if number:
                return ""
            seen += [] if number is None else [name]
    return f"every value in {', '.join(seen[:3])} is missing" if seen else ""


def _no_output(workspace: Workspace, outputs: Sequence[str] | None, commands: Sequence[Command]) -> str:
    # Without an exit code of `run.sh`, a plugin ran the model, and said that it succeeded.
    if outputs is None or outputs or all(map(_is_silent, commands)) or workspace.exit_code() is None:
        return ""
    try:
        is_quiet = os.stat(workspace.at(LOG)).st_size == 0
    except FileNotFoundError:
        is_quiet = True
    return "the model wrote no file, and nothing to run.log" if is_quiet else ""


def _is_silent(command: Command) -> bool:
    words = command.split() if isinstance(command, str) else command
    operators = set("<>|&;$`(") if isinstance(command, str) else set()
    return bool(words) and words[0] in _SILENT and not operators & set("".join(words))
