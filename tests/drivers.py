"""Drivers for tests: Python programs in separate processes, started in milliseconds.

One process imports the package once and forks for each driver, so that tests can kill, interrupt and
combine dozens of drivers without waiting for Python to start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# Only detects hangs; no test depends on how fast anything is.
LIMIT = 60.0

PRELUDE = """
import sys
from pathlib import Path
from loguru import logger
from rompy_hydra import BaseConfig, LocalConfig, LocalPipelineBackend, ModelRun, SuccessChecks
from rompy_hydra import TemplateModel

def say(text):
    print(text, flush=True)
"""

_FORK_SERVER = """
import importlib, json, os, runpy, sys
from rompy_hydra import LocalPipelineBackend, ModelRun, NoopPostprocessor, SuccessChecks, TemplateModel
import rompy_hydra.run.local
for name in sys.argv[1:]:
    importlib.import_module(name)

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        _, status = os.waitpid(order["wait"], 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    pid = os.fork()
    if not pid:
        break
    print(pid, flush=True)
else:
    sys.exit()
output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
    os.dup2(descriptor, number)
os.chdir(order["cwd"])
os.environ.clear()
os.environ.update(order["env"])
sys.argv[:] = order["argv"]
sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
runpy.run_path(order["argv"][0], run_name="__main__")
"""


class ForkServer:
    """The process that imports the package and `modules` once, and forks the drivers."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORK_SERVER, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, **order: object) -> int:
        """Send an order, and return the answer: a process id or an exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(LIMIT)


class Child:
    """A child of the fork server, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, fork_server: ForkServer, pid: int) -> None:
        self._fork_server = fork_server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while the process is running."""
        if self.returncode is None and is_gone(self.pid):
            self.returncode = self._fork_server.ask(wait=self.pid)
        return self.returncode

    def wait(self, timeout: float = LIMIT) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, "the driver does not end"
            time.sleep(0.005)
        return code


class Driver:
    """A Python program in a separate process, with its output in a file."""

    def __init__(
        self,
        fork_server: ForkServer,
        script: Path,
        arguments: tuple[object, ...],
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> None:
        self._output = script.with_suffix(".out")
        self._output.touch()
        self.pid = fork_server.ask(
            argv=[str(script), *map(str, arguments)],
            output=str(self._output),
            cwd=str(cwd or script.parent),
            env=dict(env),
        )
        self.process = Child(fork_server, self.pid)

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL: the driver cannot clean up."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def wait(self) -> int:
        """Wait for the driver to finish, and return its exit code."""
        return self.process.wait()


def is_gone(pid: int) -> bool:
    """Whether a process is no longer running, even if its parent has not waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
