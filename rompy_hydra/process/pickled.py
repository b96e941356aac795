"""Call a function of this package in a child process, with arguments of any class."""

from __future__ import annotations

import contextlib
import pickle
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import spawn
from pathlib import Path

from rompy_hydra.errors import RompyHydraError

# The child runs in a directory whose files may be anybody's: nothing is imported from there, even if an
# empty entry of PYTHONPATH names it. Not `-m`, which looks for modules in that directory first.
_CHILD = """import os, sys
sys.path[:] = [path for path in sys.path if path and os.path.abspath(path) != os.getcwd()] + [{root!r}]
from {module} import {function}
sys.exit({function}(sys.argv[1]))
"""
# The rest would import the user's main script, and so execute it, unless it has a guard.
_PREPARATION = {"sys_path", "sys_argv"}


@contextlib.contextmanager
def child_command(
    module: str, function: str, payload: object, what: str, error: type[RompyHydraError]
) -> Iterator[list[str]]:
    """The command of a child that calls `module.function(path)`; its last word is `path`.

    The child gets the payload with `received(path)`. `error` is raised if it cannot be pickled.
    """
    try:
        data = _pickled(payload)
    except Exception as cause:  # an object may raise anything when it is pickled
        raise error(
            f"{what} in a separate process: {cause}. Keep locks, connections and open files out of the "
            "configuration, and define its class at the top level of a module"
        ) from cause
    known = spawn.get_preparation_data("rompy_hydra")
    preparation = {name: value for name, value in known.items() if name in _PREPARATION}
    with tempfile.TemporaryDirectory(prefix="rompy_hydra-") as folder:
        path = Path(folder) / "call.pickle"
        path.write_bytes(pickle.dumps((preparation, data)))
        yield function_command(module, function, str(path))


def _pickled(payload: object) -> bytes:
    """The payload, with the classes that a child cannot import: those of scripts and functions."""
    with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
        data = pickle.dumps(payload)
        if b"__main__" not in data:
            return data
    import cloudpickle

    by_value: bytes = cloudpickle.dumps(payload)
    return by_value


def function_command(module: str, function: str, argument: str) -> list[str]:
    """The command of a child that calls `module.function(argument)`; the function returns the exit code."""
    root = str(Path(__file__).parents[2])
    code = _CHILD.format(root=root, module=module, function=function)
    return [sys.executable, "-P", "-c", code, argument]


def received(path: str) -> object:
    """In the child: what it was called with."""
    preparation, data = pickle.loads(Path(path).read_bytes())
    spawn.prepare(preparation)
    return pickle.loads(data)
