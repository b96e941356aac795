"""Model configurations of rompy's kind: called with a run, and rendered with the outcome."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import BaseModel

from rompy_hydra.errors import GenerateError, RompyHydraError
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.time_range import TimeRange

_CHILD = """import sys
sys.path.append({root!r})
from rompy_hydra.adapters.model import child
sys.exit(child(sys.argv[1]))
"""


@dataclass
class Runtime:
    """What such a configuration sees of its run: what rompy's `ModelRun` has."""

    run_id: str
    period: Any
    output_dir: Path
    config: Any
    staging_dir: Path
    model_type: str = "modelrun"
    delete_existing: bool = False
    run_id_subdir: bool = True
    _datefmt: str = "%Y%m%d.%H%M%S"

    def generate(self) -> str:
        """Nothing: it is being generated."""
        return str(self.staging_dir)

    def model_dump(self, **_how: object) -> dict[str, Any]:
        """The fields of rompy's `ModelRun` as a dict."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {name: _dumped(value) for name, value in fields.items()}


_FIELDS = ("model_type", "run_id", "period", "output_dir", "config", "delete_existing", "run_id_subdir")


def _dumped(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def is_foreign(config: object) -> bool:
    """Whether a configuration makes its inputs itself, as rompy's do."""
    return callable(config) or callable(getattr(config, "render", None))


def generate(config: object, run_id: str, period: TimeRange, directory: Path) -> None:
    """Let a configuration make its inputs in the run directory; GenerateError if it cannot.

    It gets a copy of itself, for rompy's change themselves on the way. Beside other threads it works
    in a process of its own: rendering with cookiecutter changes the working directory.
    """
    if threading.current_thread() is threading.main_thread():
        _generate(copy.deepcopy(config), run_id, period, directory)
    else:
        _in_a_child(config, run_id, period, directory)


def _generate(config: Any, run_id: str, period: TimeRange, directory: Path) -> None:
    kind = type(config).__name__
    runtime = Runtime(run_id, _period_for(config, period), directory.parent, config, directory)
    try:
        context = {"runtime": _context_of(runtime)}
        context["config"] = config(runtime) if callable(config) else config
        if callable(getattr(config, "render", None)):
            config.render(context, runtime.output_dir)
    except (RompyHydraError, OSError):
        raise
    except Exception as error:
        raise GenerateError(
            f"{kind} could not make its inputs: {type(error).__name__}: {error}. Look at the model's "
            "settings; --debug shows where it happened"
        ) from error


def _context_of(runtime: Runtime) -> dict[str, Any]:
    return {
        **runtime.model_dump(),
        "staging_dir": runtime.staging_dir,
        "_generated_at": str(datetime.now(UTC)),
        "_generated_by": os.environ.get("USER"),
        "_generated_on": platform.node(),
        "_datefmt": runtime._datefmt,
    }


def _period_for(config: object, period: TimeRange) -> Any:
    """The period as the configuration's own package knows it: rompy's classes take rompy's only."""
    if not any(base.__module__.split(".")[0] == "rompy" for base in type(config).__mro__):
        return period
    theirs = importlib.import_module("rompy.core.time").TimeRange
    return theirs(start=period.start, end=period.end, interval=period.interval)


def _in_a_child(config: object, run_id: str, period: TimeRange, directory: Path) -> None:
    with _pickled((config, run_id, period, directory)) as path:
        root = str(Path(__file__).parents[2])
        finished = subprocess.run(
            # Not `-m`: that looks for modules in the working directory first.
            [sys.executable, "-P", "-c", _CHILD.format(root=root), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, RUN_MARK: str(directory)},
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        error = path.with_suffix(".error")
        said = error.read_text() if error.exists() else ""
    logger.debug("{}", finished.stdout)
    if finished.returncode:
        kind = type(config).__name__
        last = "\n".join(finished.stdout.splitlines()[-15:])
        raise GenerateError(
            said or f"the process that makes the inputs of {kind} ended with {finished.returncode}:\n{last}"
        )


@contextlib.contextmanager
def _pickled(task: tuple[object, str, TimeRange, Path]) -> Iterator[Path]:
    try:
        data = pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise GenerateError(
            f"the inputs of {type(task[0]).__name__} cannot be made in a process of their own: {error}. "
            "Define the class of the configuration at the top level of a module"
        ) from error
    with tempfile.TemporaryDirectory(prefix="rompy_hydra-") as folder:
        path = Path(folder) / "task.pickle"
        path.write_bytes(pickle.dumps((_preparation(b"__main__" in data), data)))
        yield path


def _preparation(with_main: bool) -> dict[str, Any]:
    """What makes the child find the same modules, as multiprocessing does it.

    The user's main script is run again, under another name, only if its classes are needed.
    """
    known: Mapping[str, Any] = spawn.get_preparation_data("rompy_hydra generate")
    wanted = {"sys_path", "sys_argv"} | (
        {"init_main_from_name", "init_main_from_path"} if with_main else set()
    )
    return {name: value for name, value in known.items() if name in wanted}


def child(path: str) -> int:
    """The child's part: make the inputs that the file describes; what goes wrong is left beside it."""
    try:
        kept, data = pickle.loads(Path(path).read_bytes())
        spawn.prepare(kept)
        _generate(*pickle.loads(data))
    except (RompyHydraError, OSError) as error:
        Path(path).with_suffix(".error").write_text(str(error))
        return 1
    return 0
