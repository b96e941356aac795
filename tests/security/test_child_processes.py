"""Processes that this package starts import nothing from the directory in which they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import wait_until


@pytest.fixture
def trap(tmp_path):
    """A directory with modules of names that a child imports; each leaves a file when it is imported."""
    caught = tmp_path / "caught"
    directory = tmp_path / "project"
    for name in ("rompy_hydra", "pydantic", "psutil", "loguru", "multiprocessing", "contextlib"):
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text(f"open({str(caught)!r}, 'a').write({name!r})\n")
    return directory, caught


def keepers(mark: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if (
                    name.isdigit()
                    and b"lease_keeper" in file.read()
                    and mark in os.readlink(f"/proc/{name}/cwd")
                ):
                    found.append(int(name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("path", [None, "", "/nowhere:"], ids=["no path", "empty path", "empty entry"])
def test_the_lease_keeper_imports_nothing_from_the_current_directory(trap, path):
    directory, caught = trap
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = path
    code = (
        "import sys, time\n"
        "sys.path[:] = [p for p in sys.path if p not in ('', sys.argv[1])]\n"
        "from rompy_hydra.workspace import lease\n"
        "lease._start_keeper()\n"
        "time.sleep(60)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(directory)],
        cwd=directory,
        env=environment,
        start_new_session=True,
    )
    try:
        wait_until(lambda: keepers(str(directory)))
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    # It has imported everything, found no claims, and ended.
    wait_until(lambda: not keepers(str(directory)))
    assert not caught.exists(), caught.read_text()


def test_a_models_own_run_method_is_called_without_imports_from_the_run_directory(trap, tmp_path):
    directory, caught = trap
    (tmp_path / "mine.py").write_text(
        "from rompy_hydra.models.base import BaseConfig\n"
        "class Mine(BaseConfig):\n"
        "    def run(self, model_run):\n"
        "        open('out', 'w').write('ran')\n"
        "        return True\n"
    )
    (tmp_path / "go.py").write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from mine import Mine\n"
        "from rompy_hydra import ModelRun, TimeRange\n"
        "period = TimeRange(start='2024-01-01', duration='1h')\n"
        "run = ModelRun(run_id='project', output_dir=sys.argv[1], period=period, config=Mine())\n"
        "raise SystemExit(not run.run(backend='local'))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-P", tmp_path / "go.py", tmp_path], cwd=directory, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (directory / "out").read_text() == "ran"
    assert not caught.exists(), caught.read_text()
