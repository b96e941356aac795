"""Call a model configuration's own `run(model_run)` in a child process.

So its working directory, its environment, its output, its time limit and its crashes are its own.
Started as `python -m rompy_hydra.run.hook FILE`; answers 0 for True, 1 for anything else.
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

from rompy_hydra.errors import RunError


@contextlib.contextmanager
def pickled(model_run: object) -> Iterator[Path]:
    """A file that hands `model_run` to the child; RunError if its classes cannot be imported there."""
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
        yield path
    finally:
        path.unlink(missing_ok=True)


def main(path: str) -> int:
    preparation, data = pickle.loads(Path(path).read_bytes())
    preparation.pop("dir", None)  # the working directory is this run's
    spawn.prepare(preparation)
    model_run = pickle.loads(data)
    result = model_run.config.run(model_run)
    if isinstance(result, bool):
        return 0 if result else 1
    sys.stderr.write(
        f"config.run() of {type(model_run.config).__name__} returned {result!r}, and not True or "
        "False, so that its success cannot be told\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
