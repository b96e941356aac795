"""Call a model configuration's own `run(model_run)` in a child process.

That gives it a working directory, an environment, an output, a time limit and crashes of its own.
The child exits with 0 for True and 1 for anything else, and leaves that code as `run.sh` does.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import Any, cast

from rompy_hydra.errors import RunError
from rompy_hydra.plugins.log import print_messages
from rompy_hydra.process.pickled import child_command, received
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.run.job import RunLike
from rompy_hydra.workspace import Workspace


def hook_command(model_run: RunLike) -> AbstractContextManager[list[str]]:
    """The command of a child that calls the hook; RunError if its classes cannot be imported there."""
    return child_command(__name__, "main", model_run, "config.run() cannot be called", RunError)


def main(path: str) -> int:
    """Call the hook of the run in the file; the exit code."""
    code = 1
    print_messages()
    try:
        code = 0 if _call(cast(Any, received(path))) else 1
    finally:
        Workspace(os.environ[RUN_MARK]).leave_exit_code(code)
    return code


def _call(model_run: Any) -> bool:
    result = model_run.config.run(model_run)
    if isinstance(result, bool):
        return result
    sys.stderr.write(
        f"config.run() of {type(model_run.config).__name__} returned {result!r} instead of True or "
        "False, so whether it succeeded cannot be determined\n"
    )
    return False
