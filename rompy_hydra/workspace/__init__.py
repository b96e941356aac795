"""The run directory: its files, the run record, and the lease of the driver that works on it."""

from rompy_hydra.workspace.script import EXIT_CODE, SCRIPT
from rompy_hydra.workspace.workspace import (
    ATTEMPTS,
    BUILD_LOG,
    CLAIMS,
    COMPOSED,
    EVERYTHING,
    LOG,
    METRICS,
    RECORD,
    Workspace,
)

__all__ = [
    "ATTEMPTS",
    "BUILD_LOG",
    "CLAIMS",
    "COMPOSED",
    "EVERYTHING",
    "EXIT_CODE",
    "LOG",
    "METRICS",
    "RECORD",
    "SCRIPT",
    "Workspace",
]
