"""Find the output files of a run, for the postprocessors that read them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from loguru import logger

from rompy_hydra.errors import PostprocessError
from rompy_hydra.workspace import EVERYTHING, Workspace
from rompy_hydra.workspace.record import RunRecord


def find_outputs(workspace: Workspace, globs: Sequence[str] = ()) -> list[str]:
    """All outputs, or those that match one of `globs`, as sorted paths relative to the run directory.

    All outputs are those that the model's configuration selects (`model.outputs`). `*.nc` matches in any
    directory, `out/*.nc` in that directory, `out/**/*.nc` anywhere below it. Files that the run record
    lists as inputs, or as present before the run, are not outputs. Raises PostprocessError if `globs` are
    given and none matches.
    """
    record = RunRecord.load(workspace)
    known = {fact.path for fact in record.inputs} | set(record.found) if record else set()
    names = []
    model = record.config.get("model") if record and not globs else None
    declared = model.get("outputs") if isinstance(model, dict) else None
    wanted = workspace.meant_by(
        [str(glob) for glob in declared] if isinstance(declared, list) else [EVERYTHING]
    )
    for name in workspace.names():
        if name in known or not wanted(name):
            continue
        if workspace.leads_outside(name):
            logger.warning("{} leads out of the run directory and is not read; copy what it links to", name)
        else:
            names.append(name)
    if not globs:
        return names
    if matches := [name for name in names if any(_matches(name, glob) for glob in globs)]:
        return matches
    raise PostprocessError(
        f"no output in {workspace.path} matches {', '.join(globs)}. Outputs: {shorten(names)}"
    )


@contextlib.contextmanager
def requirement(what: str) -> Iterator[None]:
    """Import optional libraries; PostprocessError says what to install if they are missing."""
    try:
        yield
    except ImportError as error:
        raise PostprocessError(f"{what} ({error}): pip install 'rompy-hydra[analysis]'") from error


def shorten(names: Iterable[str], limit: int = 12) -> str:
    """The names for a message, at most `limit` of them."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more or "none"


def metric_prefixes(files: Sequence[str]) -> dict[str, str]:
    """A unique name of each file: its stem, else its path without suffix, else its path."""
    stem = {file: PurePosixPath(file).stem for file in files}
    bare = {file: str(PurePosixPath(file).with_suffix("")) for file in files}
    stems, bares = Counter(stem.values()), Counter(bare.values())
    return {
        file: stem[file] if stems[stem[file]] == 1 else bare[file] if bares[bare[file]] == 1 else file
        for file in files
    }


def is_netcdf(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in {".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".sww"}


def is_table(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in {".csv", ".tsv"}


def _matches(name: str, glob: str) -> bool:
    if name == glob:
        return True  # even if the name contains a bracket or a question mark
    if "**/" in glob:
        return fnmatchcase(name, glob.replace("**/", "*"))
    return PurePosixPath(name).match(glob)
