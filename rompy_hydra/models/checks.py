"""One success check with its outcome, and which files a check is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rompy_hydra.jsonable import Json
from rompy_hydra.workspace import Workspace

# What installs the packages that read netCDF.
EXTRA = "pip install 'rompy-hydra[analysis]'"
# Whether a path is an input that the model has not written.
IsInput: TypeAlias = Callable[[str], bool]


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


class Unreadable(Exception):
    """A file or variable that a check needs cannot be read; the message says why."""


def never(_name: str) -> bool:
    """`IsInput` where nothing is known of the inputs."""
    return False


def results(
    workspace: Workspace, glob: str, is_input: IsInput = never
) -> tuple[list[tuple[str, int]], str]:
    """The files that a model wrote and that match, with their sizes; and why, if there is none.

    A file that came with the template and that the model did not write is no result.
    """
    found = workspace.matching(glob)
    written = [(name, size) for name, size in found if not is_input(name)]
    if written:
        return written, ""
    if found:
        return [], f"{found[0][0]} is an input, and the model did not write it"
    return [], f"{glob} was not written"
