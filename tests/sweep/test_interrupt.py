"""Ctrl-C, SIGTERM and SIGKILL: models are stopped, or re-attached by the next driver; nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import is_gone, wait_until

X = "model.parameters.x"
WORKERS = "hydra.launcher.workers=2"


def below(sweeps):
    """The processes of the runs of a sweep."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/environ", "rb") as environ:
                if str(sweeps.path).encode() in environ.read():
                    found.append(int(entry))
        except (OSError, ValueError):
            continue
    return found


def has_unnamed_file(pid):
    """Whether a process has a deleted file open, like the one that stores the points of a sweep."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if int(name) > 2 and "(deleted)" in os.readlink(f"/proc/{pid}/fd/{name}"):
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_running_models_and_starts_no_others(sweeps, number):
    sweeps.hold()
    driver = sweeps.start_sweep(f"{X}=range(1,6)", WORKERS)
    sweeps.wait_for_models(2)
    driver.send(number)
    assert driver.wait() == 130
    assert "5 points: 2 interrupted, 3 not started" in driver.output
    assert "stopped    by an interrupt" in driver.output
    assert "failed  " not in driver.output
    assert "rerun the command: it does only what is missing" in driver.output
    assert below(sweeps) == []
    assert sweeps.states() == {"1": "interrupted", "2": "interrupted"}
    assert [row["state"] for row in sweeps.table()] == ["interrupted", "interrupted"]

    sweeps.release()
    assert "5 points: 5 completed" in sweeps.sweep(f"{X}=range(1,6)")
    assert [sweeps.record(x)["attempt"] for x in (1, 2, 3)] == [2, 2, 1]
    assert sweeps.finished() == ["1", "2", "3", "4", "5"]


def start_models_that_ignore_sigterm(sweeps):
    """Start a driver with two running models that ignore SIGTERM."""
    trap = "trap '' TERM; touch ready; while :; do sleep 0.05; done"
    driver = sweeps.start_sweep(
        f"{X}=1,2,3", WORKERS, f'model.commands=[[sh,-c,"{trap}"]]', "run_backend.kill_grace=600"
    )
    wait_until(lambda: len(list(sweeps.path.glob("*/ready"))) == 2)
    return driver


def test_a_second_interrupt_kills_models_that_do_not_stop(sweeps):
    driver = start_models_that_ignore_sigterm(sweeps)
    driver.send(signal.SIGINT)
    wait_until(lambda: "press Ctrl-C again" in driver.output)
    driver.send(signal.SIGINT)
    assert driver.wait() == 130
    assert below(sweeps) == []
    assert set(sweeps.states().values()) == {"interrupted"}


def test_an_interrupt_while_the_points_are_inspected_changes_nothing(sweeps):
    before = sweeps.snapshot()
    driver = sweeps.start_sweep(f"{X}=range(0,9000)")
    wait_until(lambda: has_unnamed_file(driver.pid))
    driver.send(signal.SIGINT)
    assert driver.wait() == 130
    assert "Traceback" not in driver.output
    assert sweeps.snapshot() == before


def test_two_simultaneous_interrupts_kill_the_models_and_are_recorded(sweeps):
    driver = start_models_that_ignore_sigterm(sweeps)
    driver.send(signal.SIGINT)
    driver.send(signal.SIGTERM)
    assert driver.wait() == 130
    assert below(sweeps) == []
    assert set(sweeps.states().values()) == {"interrupted"}


def test_repeated_interrupts_kill_the_models_and_are_recorded(sweeps):
    driver = start_models_that_ignore_sigterm(sweeps)
    wait_until(lambda: driver.send(signal.SIGINT) or is_gone(driver.pid))
    assert driver.wait() == 130
    assert below(sweeps) == []
    assert set(sweeps.states().values()) == {"interrupted"}
    assert len(sweeps.table()) == 2
    assert "2 interrupted" in driver.output


def test_the_runs_of_a_killed_driver_are_reattached_and_not_started_twice(sweeps):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=1,2,3", WORKERS)
    sweeps.wait_for_models(2)
    first.kill()
    second = sweeps.start_sweep(f"{X}=1,2,3", WORKERS)
    wait_until(lambda: "3 points" in second.output)
    sweeps.release()
    assert second.wait() == 0
    assert sweeps.started() == sweeps.finished() == ["1", "2", "3"]
    assert set(sweeps.states().values()) == {"completed"}


def test_a_closed_output_pipe_does_not_stop_any_run(sweeps):
    sweeps.hold()
    driver = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rompy_hydra",
            f"--config-dir={sweeps.configs}",
            *sweeps.command(f"{X}=range(1,6)"),
        ],
        cwd=sweeps.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with driver:
        assert b"5 points" in driver.stdout.readline()
        driver.stdout.close()
        sweeps.release()
        assert b"Traceback" not in driver.stderr.read()
    assert sweeps.finished() == ["1", "2", "3", "4", "5"]
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 5
