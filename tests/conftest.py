"""Fixtures for all tests: waiting for conditions, drivers in separate processes, small file systems."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import pytest

import rompy_hydra
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.redaction import forget_secrets
from tests.drivers import LIMIT, PRELUDE, Driver, ForkServer, is_gone

T = TypeVar("T")

__all__ = ["LIMIT", "Driver", "is_gone", "living", "wait_until"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the long campaigns as well")


def pytest_configure() -> None:
    # A shell ignores SIGINT for background jobs; the processes started by the tests must receive it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The longest tests first, so that all workers finish at about the same time.
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("rompy", "docker")])
    if config.getoption("--run-slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="a long campaign: make chaos, or --run-slow"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Assign the tests of a file, and all tests of the engine, to one worker, to share costly fixtures."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/rompy/"):
                return nodeid
            return "docker" if nodeid.startswith("tests/run/") else nodeid.partition("::")[0]

    return Scheduling(config, log)


def wait_until(condition: Callable[[], T], timeout: float = LIMIT) -> T:
    """Return the first true value of a condition; the test fails if there is none within the timeout."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def living(text: str) -> list[int]:
    """Processes with `text` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text.encode() in (entry / "cmdline").read_bytes().replace(b"\0", b" "):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """What one test calls a secret may be an ordinary text in another."""
    yield
    forget_secrets()


@pytest.fixture(scope="session")
def _fork_server() -> Iterator[ForkServer]:
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture
def start_driver(_fork_server: ForkServer, tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start Python code in which the public names are defined; `arguments` are its `sys.argv[1:]`."""
    drivers: list[Driver] = []

    def start(code: str, *arguments: object, **environment: str) -> Driver:
        script = tmp_path / f"driver{len(drivers)}.py"
        script.write_text(PRELUDE + code)
        drivers.append(Driver(_fork_server, script, arguments, os.environ | environment))
        return drivers[-1]

    start.drivers = drivers
    yield start
    for driver in drivers:
        if driver.process.poll() is None:
            driver.kill()
    _kill_processes_below(tmp_path)


def _kill_processes_below(directory: Path) -> None:
    """Kill the models of killed drivers, so that a failed test leaves no processes behind."""
    needle = f"{RUN_MARK}={directory}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of one megabyte."""
    yield from _mounted(tmp_path / "small disk", "size=1m")


@pytest.fixture
def read_only_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory in which not even root can write."""
    yield from _mounted(tmp_path / "read only", "ro,size=1m")


def _mounted(target: Path, options: str) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("mounting a file system needs root")
    target.mkdir()
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)], capture_output=True, text=True
    )
    if answer.returncode:
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()}")
    try:
        yield target
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


EXTRAS = ("numpy", "xarray", "netCDF4", "cftime", "pandas", "matplotlib", "mpl_toolkits", "scipy")


@pytest.fixture
def minimal_python(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs Python code with this package, but without its optional dependencies."""
    packages = tmp_path / "minimal packages"
    packages.mkdir()
    for entry in Path(pydantic.__file__).parents[1].iterdir():
        if not entry.name.startswith((*EXTRAS, "__editable__", "_rompy", "rompy")):
            (packages / entry.name).symlink_to(entry)
    home = Path(rompy_hydra.__file__).parents[1]

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-W", "error", "-c", code],
            env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{home}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run
