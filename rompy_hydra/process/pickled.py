"""Call a function of this package in a child process, with arguments of any importable class."""

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
_MAIN = {"init_main_from_name", "init_main_from_path"}


@contextlib.contextmanager
def child_command(
    module: str, function: str, payload: object, what: str, error: type[RompyHydraError]
) -> Iterator[list[str]]:
    """The command of a child that calls `module.function(path)`; its last word is `path`.

    The child gets the payload with `received(path)`. `error` is raised if it cannot be pickled.
    """
    try:
        data = pickle.dumps(payload)
    except (pickle.PicklingError, AttributeError, TypeError) as cause:
        raise error(
            f"{what} in a separate process: {cause}. Define the class of the configuration at the "
            "top level of a module"
        ) from cause
    # The user's main script is imported, under another name, only if its classes are needed.
    wanted = {"sys_path", "sys_argv"} | (_MAIN if b"__main__" in data else set())
    known = spawn.get_preparation_data("rompy_hydra")
    preparation = {name: value for name, value in known.items() if name in wanted}
    with tempfile.TemporaryDirectory(prefix="rompy_hydra-") as folder:
        path = Path(folder) / "call.pickle"
        path.write_bytes(pickle.dumps((preparation, data)))
        yield function_command(module, function, str(path))


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
