"""Opening the files that a model left: regular files inside the run directory, and nothing else.

A model in a container can leave pipes, devices and links to files of the host. Opening a pipe blocks, and a
link out of the run directory leads to a file that the model itself could not read.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO

from rompy_hydra.workspace.workspace import Workspace


def regular_path(workspace: Workspace, name: str) -> str:
    """The real path of a regular file in the run directory; OSError if it is anything else."""
    path, root = os.path.realpath(workspace.at(name)), os.path.realpath(workspace.root)
    if not path.startswith(f"{root}/"):
        raise OSError(errno.ELOOP, "is a link out of the run directory, which is not followed", name)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", name)
    return path


def open_regular(workspace: Workspace, name: str) -> IO[bytes]:
    """Open a regular file in the run directory for reading; OSError if it is anything else."""
    # Without blocking: it may be a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # Nothing leads out of the directory on the way to an entry of it, which saves resolving its path.
        descriptor = os.open(regular_path(workspace, name) if "/" in name else workspace.at(name), flags)
    except OSError as error:
        if error.errno != errno.ELOOP or "/" in name:
            raise
        descriptor = os.open(regular_path(workspace, name), flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", name)
    return os.fdopen(descriptor, "rb")
