"""A file of a run as its record knows it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rompy_hydra.provenance import hash_file
from rompy_hydra.workspace import Workspace


@dataclass(frozen=True)
class FileFact:
    """A file of a run: path relative to the run directory, bytes, SHA-256, modification time (ns)."""

    path: str
    size: int
    sha256: str
    mtime_ns: int

    def is_intact(self, workspace: Workspace) -> bool:
        """Whether the file is there as it was; its content is read only if its time changed."""
        path = workspace.at(self.path)
        try:
            facts = os.stat(path)
        except OSError:
            return False
        if facts.st_size != self.size:
            return False
        return facts.st_mtime_ns == self.mtime_ns or hash_file(path, facts) == self.sha256


def file_fact(workspace: Workspace, relative: str, sha256: str | None = None) -> FileFact:
    """The facts of a file that is there; its content is read if its hash is not known."""
    path = workspace.at(relative)
    facts = os.stat(path)
    return FileFact(relative, facts.st_size, sha256 or hash_file(path, facts), facts.st_mtime_ns)
