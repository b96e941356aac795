"""Success checks of a model: declared by its configuration, evaluated on its outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from rompy_hydra.jsonable import Json
from rompy_hydra.workspace import LOG, Glob, Workspace


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a valid regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_check_regex)]


@dataclass(frozen=True)
class Check:
    """One check and its outcome."""

    check: str
    target: str
    ok: bool
    message: str

    def facts(self) -> dict[str, Json]:
        """The check as it is stored in the run record."""
        return asdict(self)


class SuccessChecks(BaseModel):
    """What must hold after a successful run, in addition to exit code 0.

    Many models return 0 after a fatal error, so their configurations declare which files and log lines
    to expect. Paths are relative to the run directory. Globs are allowed; they never match the engine's
    own files. A directory is empty if it has no entries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    must_exist: tuple[Glob, ...] = ()
    must_not_exist: tuple[Glob, ...] = ()
    must_be_empty: tuple[Glob, ...] = ()
    log_must_contain: tuple[Regex, ...] = ()
    log_must_not_contain: tuple[Regex, ...] = ()
    log_file: Glob = LOG

    def judge(self, workspace: Workspace) -> list[Check]:
        """Evaluate every declared check, in the order of the fields."""
        return [*self._check_files(workspace), *self._check_log(workspace)]

    def _check_files(self, workspace: Workspace) -> Iterator[Check]:
        for glob in self.must_exist:
            found = _find(workspace, glob)
            empty = [name for name, size in found if size == 0]
            message = f"{empty[0]} is empty" if empty else "found" if found else f"{glob} was not written"
            yield Check("must_exist", glob, bool(found) and not empty, message)
        for glob in self.must_not_exist:
            found = _find(workspace, glob)
            message = f"the model left {found[0][0]}" if found else "absent"
            yield Check("must_not_exist", glob, not found, message)
        for glob in self.must_be_empty:
            filled = [(name, size) for name, size in _find(workspace, glob) if size]
            message = f"{filled[0][0]} has {filled[0][1]} bytes" if filled else "empty or absent"
            yield Check("must_be_empty", glob, not filled, message)

    def _check_log(self, workspace: Workspace) -> Iterator[Check]:
        patterns = {p: re.compile(p) for p in (*self.log_must_contain, *self.log_must_not_contain)}
        found: dict[str, str] = {}
        # Line by line: a log may be larger than the memory.
        for line in _log_lines(workspace, self.log_file) if patterns else ():
            for pattern, regex in patterns.items():
                if pattern not in found and regex.search(line):
                    found[pattern] = line.strip()[:500]
        for pattern in self.log_must_contain:
            message = "found" if pattern in found else f"{self.log_file} has no line with '{pattern}'"
            yield Check("log_must_contain", pattern, pattern in found, message)
        for pattern in self.log_must_not_contain:
            message = f"{self.log_file} contains: {found[pattern]}" if pattern in found else "absent"
            yield Check("log_must_not_contain", pattern, pattern not in found, message)


def _find(workspace: Workspace, glob: str) -> list[tuple[str, int]]:
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


def _log_lines(workspace: Workspace, glob: str) -> Iterator[str]:
    for name, _size in _find(workspace, glob):
        path = workspace.path / name
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as log:
                while line := log.readline(65536):  # the log may be a single endless line
                    yield line
