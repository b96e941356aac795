"""Two hosts share a run directory: each has its own processes and its own name, and sees only files.

Namespaces make the hosts. A lease is stale after `LIMIT_OF_LEASE` seconds here instead of five minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import LIMIT, wait_until

X = "model.parameters.x"
LIMIT_OF_LEASE = 3.0


class Host:
    """A host with one driver on it: the driver may end, and its models and its lease keeper stay."""

    def __init__(self, name, command, cwd, output):
        self._output = output
        self._code = output.with_suffix(".code")
        program = f'hostname {name}; "$@" & echo $! >"$0"; wait $!; echo $? >"$0"; sleep 1000'
        isolated = ["unshare", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
        env = os.environ | {"ROMPY_HYDRA_STALE_SECONDS": str(LIMIT_OF_LEASE)}
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [*isolated, "sh", "-c", program, str(self._code), *command],
                cwd=cwd,
                stdout=file,
                stderr=file,
                env=env,
            )

    @property
    def output(self):
        return self._output.read_text(errors="replace")

    def send(self, number):
        """Send a signal to the driver only, from outside of its namespace."""
        os.kill(self._driver(), number)

    def _driver(self):
        """The driver's process id as this process sees it: the only child of the host's first process."""
        init = _children(self.process.pid)[0]
        return next(pid for pid in _children(init) if b"rompy_hydra" in _command(pid))

    def models(self):
        """How many models run on this host; more for a moment while one starts a program."""
        init = psutil.Process(_children(self.process.pid)[0])
        return sum(b"\0probe.sh\0" in _command(child.pid) for child in init.children(recursive=True))

    def wait(self):
        """Wait for the driver to end; its exit code."""
        init = wait_until(lambda: _children(self.process.pid))[0]
        wait_until(lambda: any(b"sleep\x001000" in _command(pid) for pid in _children(init)))
        return int(self._code.read_text())

    def switch_off(self):
        self.process.kill()
        self.process.wait(LIMIT)


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.fixture
def start_host(sweeps):
    """Start a sweep on another host."""
    if os.getuid() != 0:
        pytest.skip("namespaces need root")
    program = [sys.executable, "-m", "rompy_hydra", f"--config-dir={sweeps.configs}"]
    hosts = []

    def start(*arguments):
        output = sweeps.outside / f"host{len(hosts)}"
        command = [*program, *sweeps.command(*arguments)]
        hosts.append(Host(output.name, command, sweeps.directory, output))
        return hosts[-1]

    yield start
    for host in hosts:
        host.switch_off()


def test_a_model_whose_driver_was_killed_right_after_its_start_is_not_started_on_another_host(
    sweeps, start_host
):
    sweeps.hold()
    first = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: len(sweeps.started()) == 2)
    first.send(signal.SIGKILL)
    assert first.wait() == 137
    died = time.monotonic()
    second = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: "2 points" in second.output)
    wait_until(lambda: time.monotonic() > died + 2.5 * LIMIT_OF_LEASE)
    assert sweeps.started() == ["0", "1"]
    sweeps.release()
    assert second.wait() == 0, second.output
    assert "2 points: 2 completed" in second.output
    assert sweeps.started() == sweeps.finished() == ["0", "1"]


def test_a_model_on_a_host_that_was_switched_off_runs_again_in_a_fresh_directory(sweeps, start_host):
    sweeps.hold()
    first = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: len(sweeps.started()) == 2)
    first.switch_off()
    second = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: len(sweeps.started()) == 4)
    sweeps.release()
    assert second.wait() == 0, second.output
    assert "2 points: 2 completed" in second.output
    assert "its model may still be running on host0" in second.output
    assert [path.name for path in sorted(sweeps.path.glob("*.old-*"))] == ["x=0.old-1", "x=1.old-1"]


def test_a_driver_that_was_stopped_and_taken_over_stops_its_model_and_writes_nothing_more(
    sweeps, start_host
):
    sweeps.hold()
    first = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: len(sweeps.started()) == 2)
    wait_until(lambda: set(sweeps.states().values()) == {"running"})
    first.send(signal.SIGSTOP)
    second = start_host(f"{X}=0,1", "hydra.launcher.workers=2")
    wait_until(lambda: len(sweeps.started()) == 4)
    wait_until(lambda: first.models() == 2)
    first.send(signal.SIGCONT)
    # All models are held, so none ends by itself; the first driver then waits for the second one.
    wait_until(lambda: first.models() == 0)
    wait_until(lambda: second.models() == 2)
    old = {path: sweeps.snapshot(path) for path in sweeps.path.glob("*.old-1")}
    assert len(old) == 2
    for path in old:
        assert json.loads((path / "run.json").read_bytes())["state"] == "running"
        assert not (path / "result.txt").exists()
    sweeps.release()
    assert second.wait() == first.wait() == 0, first.output + second.output
    assert sweeps.finished() == ["0", "1"]
    assert {path: sweeps.snapshot(path) for path in old} == old
    for x in (0, 1):
        record = json.loads((sweeps.path / f"x={x}" / "run.json").read_bytes())
        assert record["state"] == "completed"
        assert record["driver"]["host"].startswith("host1/")
