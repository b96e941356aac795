"""A file of a run as its record knows it."""

from __future__ import annotations

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
        path = workspace.path / self.path
        try:
            stat = path.stat()
        except OSError:
            return False
        if stat.st_size != self.size:
            return False
        return stat.st_mtime_ns == self.mtime_ns or hash_file(path) == self.sha256


def file_fact(workspace: Workspace, relative: str) -> FileFact:
    path = workspace.path / relative
    stat = path.stat()
    return FileFact(relative, stat.st_size, hash_file(path), stat.st_mtime_ns)
