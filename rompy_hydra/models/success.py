"""What success of a model looks like: declared by its configuration, checked on its outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from rompy_hydra.jsonable import Json
from rompy_hydra.workspace import LOG, Workspace

# Read at once of a log that may be one endless line.
_LINE_CHARACTERS = 65536


def _relative(pattern: str) -> str:
    inside = pattern and not pattern.startswith("/") and ".." not in pattern.split("/")
    if not inside or os.path.normpath(pattern) == ".":
        raise ValueError(f"'{pattern}' must be a path or glob inside the run directory")
    return pattern


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
    return pattern


Glob = Annotated[str, AfterValidator(_relative)]
Regex = Annotated[str, AfterValidator(_regex)]


@dataclass(frozen=True)
class Check:
    """One check and its outcome."""

    check: str
    target: str
    ok: bool
    message: str

    def facts(self) -> dict[str, Json]:
        return asdict(self)


class SuccessChecks(BaseModel):
    """The signs that a run worked, besides exit code 0.

    Many models return 0 after a fatal error, so a model's configuration names what must be there.
    Paths are relative to the run directory. Globs are allowed; they never mean the engine's own
    files. A directory counts as empty if nothing is in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    must_exist: tuple[Glob, ...] = ()
    must_not_exist: tuple[Glob, ...] = ()
    must_be_empty: tuple[Glob, ...] = ()
    log_must_contain: tuple[Regex, ...] = ()
    log_must_not_contain: tuple[Regex, ...] = ()
    log_file: Glob = LOG

    def judge(self, workspace: Workspace) -> list[Check]:
        """Every declared check with its outcome, in the order of the fields."""
        checks = [self._exists(workspace, glob) for glob in self.must_exist]
        checks += [self._absent(workspace, glob) for glob in self.must_not_exist]
        checks += [self._empty(workspace, glob) for glob in self.must_be_empty]
        if self.log_must_contain or self.log_must_not_contain:
            checks += self._log(workspace)
        return checks

    def _exists(self, workspace: Workspace, glob: str) -> Check:
        found = _find(workspace, glob)
        empty = [name for name, size in found if size == 0]
        message = "found"
        if not found:
            message = f"{glob} was not written"
        elif empty:
            message = f"{empty[0]} is empty"
        return Check("must_exist", glob, bool(found) and not empty, message)

    def _absent(self, workspace: Workspace, glob: str) -> Check:
        found = _find(workspace, glob)
        message = f"the model left {found[0][0]}" if found else "absent"
        return Check("must_not_exist", glob, not found, message)

    def _empty(self, workspace: Workspace, glob: str) -> Check:
        filled = [(name, size) for name, size in _find(workspace, glob) if size]
        message = f"{filled[0][0]} has {filled[0][1]} bytes" if filled else "empty or absent"
        return Check("must_be_empty", glob, not filled, message)

    def _log(self, workspace: Workspace) -> Iterator[Check]:
        wanted = {pattern: re.compile(pattern) for pattern in self.log_must_contain}
        unwanted = {pattern: re.compile(pattern) for pattern in self.log_must_not_contain}
        seen: dict[str, str] = {}
        # Line by line: a model's log may be larger than the memory.
        for line in _log_lines(workspace, self.log_file):
            for pattern, regex in (wanted | unwanted).items():
                if pattern not in seen and regex.search(line):
                    seen[pattern] = line.strip()[:500]
        for pattern in wanted:
            message = "found" if pattern in seen else f"{self.log_file} has no line with '{pattern}'"
            yield Check("log_must_contain", pattern, pattern in seen, message)
        for pattern in unwanted:
            message = f"{self.log_file} says: {seen[pattern]}" if pattern in seen else "absent"
            yield Check("log_must_not_contain", pattern, pattern not in seen, message)


def _find(workspace: Workspace, glob: str) -> list[tuple[str, int]]:
    """What a path or glob means, with its size in bytes, or the number of entries of a directory."""
    if not any(char in glob for char in "*?["):
        names = [glob]
    else:
        found = sorted(workspace.path.glob(glob))
        names = [str(path.relative_to(workspace.path)) for path in found]
        names = [name for name in names if not workspace.is_own(name)]
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
                yield from iter(lambda log=log: log.readline(_LINE_CHARACTERS), "")  # type: ignore[misc]
