"""Which files of a run are its outputs, for the postprocessors that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from rompy_hydra.errors import PostprocessError
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord

NETCDF = {".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".sww"}
TABLES = {".csv", ".tsv"}


def _relative(pattern: str) -> str:
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ValueError(f"'{pattern}' must be a path or glob inside the run directory")
    return pattern


# `*.nc` is any such file, `out/*.nc` those of one directory, `out/**/*.nc` those anywhere below it.
Glob = Annotated[str, AfterValidator(_relative)]


def output_names(workspace: Workspace, globs: Sequence[str] = ()) -> list[str]:
    """The outputs that match one of `globs`, or all, as sorted paths relative to the run directory.

    What a run record names as inputs, or as there before the run, is no output. PostprocessError
    if `globs` are given and none matches.
    """
    record = RunRecord.load(workspace)
    own = {fact.path for fact in record.inputs} | set(record.found) if record else set()
    names = [name for name in workspace.names() if name not in own]
    chosen = [name for name in names if not globs or any(_matches(name, glob) for glob in globs)]
    if globs and not chosen:
        raise PostprocessError(
            f"no output of {workspace.path} matches {', '.join(globs)}. Outputs: {some(names)}"
        )
    return chosen


def some(names: Iterable[str], most: int = 12) -> str:
    """The names for a message, cut where they are too many to read."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more or "none"


def suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _matches(name: str, glob: str) -> bool:
    if name == glob:
        return True  # also where the name itself has a bracket or a question mark
    if "**/" in glob:
        return fnmatchcase(name, glob.replace("**/", "*"))
    return PurePosixPath(name).match(glob)
