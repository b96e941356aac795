"""Call a model configuration's own `run(model_run)` in a child process.

So its working directory, its environment, its output, its time limit and its crashes are its own.
The child answers 0 for True, 1 for anything else, and leaves that as `run.sh` does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import spawn
from pathlib import Path

import rompy_hydra
from rompy_hydra.errors import RunError
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.workspace import Workspace

# Not `-m`: that looks for modules in the run directory first, where a model's files may have any name.
_CHILD = """import sys
sys.path.append({root!r})
from rompy_hydra.run.config_hook import main
sys.exit(main(sys.argv[1]))
"""


@contextlib.contextmanager
def pickled(model_run: object) -> Iterator[list[str]]:
    """The command of a child that calls the hook; RunError if its classes cannot be imported there."""
    # As multiprocessing does it: classes of the user's main script are found again in the child.
    preparation = spawn.get_preparation_data("rompy_hydra config.run")
    preparation.pop("authkey", None)
    try:
        data = pickle.dumps((preparation, pickle.dumps(model_run)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RunError(
            f"config.run() cannot be called in a process of its own: {error}. Define the class of "
            "the configuration at the top level of a module"
        ) from error
    descriptor, name = tempfile.mkstemp(prefix="rompy_hydra-", suffix=".pickle")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        root = str(Path(rompy_hydra.__file__).parents[1])
        yield [sys.executable, "-P", "-c", _CHILD.format(root=root), name]
    finally:
        path.unlink(missing_ok=True)


def main(path: str) -> int:
    """Call the hook of the run that the file holds; the exit code."""
    code = 1
    try:
        code = 0 if _called(Path(path)) else 1
    finally:
        Workspace(os.environ[RUN_MARK]).leave_exit_code(code)
    return code


def _called(path: Path) -> bool:
    preparation, data = pickle.loads(path.read_bytes())
    path.unlink()
    preparation.pop("dir", None)  # the working directory is this run's
    spawn.prepare(preparation)
    model_run = pickle.loads(data)
    result = model_run.config.run(model_run)
    if isinstance(result, bool):
        return result
    sys.stderr.write(
        f"config.run() of {type(model_run.config).__name__} returned {result!r}, and not True or "
        "False, so that its success cannot be told\n"
    )
    return False
