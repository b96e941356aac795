"""Drivers are killed at random times, on full disks and in pairs: no result is lost, no run repeated."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.conftest import wait_until
from tests.drivers import is_gone

X = "model.parameters.x"
WORKERS = "hydra.launcher.workers=3"
LONG = pytest.mark.slow


def completed(sweeps):
    """Snapshots of the directories of completed runs."""
    runs = sweeps.runs()
    done = [x for x, state in sweeps.states().items() if state == "completed"]
    return {x: sweeps.snapshot(runs[x]) for x in done}


def check_kept(sweeps, earlier):
    """Check that all earlier results still exist, byte for byte."""
    runs = sweeps.runs()
    for x, before in earlier.items():
        assert sweeps.snapshot(runs[x]) == before, f"the completed run {x} was touched"


def kill_until_complete(sweeps, points, kills, dice, drivers=1, extra=()):
    """Repeatedly start drivers and kill them at random times, then let the last drivers finish."""
    command = (f"{X}=range(0,{points})", WORKERS, "model.parameters.seconds=0.05", *extra)
    earlier = {}
    for kill in range(kills):
        team = [sweeps.start_sweep(*command) for _ in range(drivers)]
        target = len(sweeps.started()) + dice.choice([0, 0, 1, 2, 3])
        for driver in team:
            # Some at a random time during startup, some at a random time during the runs.
            moment = dice.uniform(0, 1.5)
            wait_until(
                lambda moment=moment, driver=driver, target=target: _due(sweeps, driver, moment, target)
            )
            if not is_gone(driver.pid):
                driver.send(signal.SIGKILL)
        for driver in team:
            driver.wait()
        check_kept(sweeps, earlier)
        earlier |= completed(sweeps)
        assert kill < kills
    for driver in [sweeps.start_sweep(*command) for _ in range(drivers)]:
        assert driver.wait() == 0, driver.output
    check_kept(sweeps, earlier)
    return earlier


def _due(sweeps, driver, moment, target):
    if is_gone(driver.pid):
        return True
    with open(f"/proc/{driver.pid}/stat") as stat:
        ticks = sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    spent = ticks / os.sysconf("SC_CLK_TCK")
    return len(sweeps.started()) >= target and spent >= moment


def check_complete(sweeps, points):
    expected = [str(x) for x in range(points)]
    assert sweeps.finished() == expected
    assert sweeps.started() == expected
    assert sweeps.states() == dict.fromkeys(expected, "completed")
    assert [row["state"] for row in sweeps.table()] == ["completed"] * points
    leftovers = [str(path) for path in sweeps.path.rglob("*.part")]
    assert len(leftovers) < points


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=LONG)])
def test_a_sweep_whose_driver_is_killed_repeatedly_executes_each_point_once(sweeps, kills):
    dice = random.Random(kills)
    kill_until_complete(sweeps, points=2 * kills, kills=kills, dice=dice)
    check_complete(sweeps, 2 * kills)


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=LONG)])
def test_two_drivers_that_are_killed_repeatedly_execute_each_point_once(sweeps, kills):
    dice = random.Random(kills)
    kill_until_complete(sweeps, points=4 * kills, kills=kills, dice=dice, drivers=2)
    check_complete(sweeps, 4 * kills)


def fill(directory):
    """Fill a small file system, and return the file that fills it."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
    return ballast


@pytest.mark.parametrize("drivers", [1, 2])
def test_a_sweep_on_a_full_disk_can_be_resumed_when_there_is_space_again(sweeps, small_disk, drivers):
    command = (f"{X}=range(0,12)", WORKERS, f"sweep.directory='{small_disk}/sweeps'")
    sweeps.path = small_disk / "sweeps" / "probe"
    sweeps.sweep(f"{X}=range(0,4)", *command[1:])
    earlier = completed(sweeps)
    assert len(earlier) == 4

    ballast = fill(small_disk)
    team = [sweeps.start_sweep(*command) for _ in range(drivers)]
    for driver in team:
        assert driver.wait() == 1
        assert "No space left on device" in driver.output
        assert "Traceback" not in driver.output
    check_kept(sweeps, earlier)

    ballast.unlink()
    for driver in [sweeps.start_sweep(*command) for _ in range(drivers)]:
        assert driver.wait() == 0, driver.output
    check_kept(sweeps, earlier)
    assert sweeps.finished() == [str(x) for x in range(12)]
    assert sweeps.states() == {str(x): "completed" for x in range(12)}


@pytest.mark.parametrize("drivers", [1, 2])
def test_no_results_are_lost_if_the_disk_becomes_full_during_the_sweep(sweeps, small_disk, drivers):
    command = (f"{X}=range(0,30)", WORKERS, f"sweep.directory='{small_disk}/sweeps'")
    sweeps.path = small_disk / "sweeps" / "probe"
    team = [sweeps.start_sweep(*command) for _ in range(drivers)]
    sweeps.wait_for_models(3)
    ballast = fill(small_disk)
    for driver in team:
        driver.wait()
        assert "Traceback" not in driver.output
    earlier = completed(sweeps)

    ballast.unlink()
    for driver in [sweeps.start_sweep(*command) for _ in range(drivers)]:
        assert driver.wait() == 0, driver.output
    check_kept(sweeps, earlier)
    assert sweeps.states() == {str(x): "completed" for x in range(30)}
    rows = sweeps.table()
    assert [row["state"] for row in rows] == ["completed"] * 30
