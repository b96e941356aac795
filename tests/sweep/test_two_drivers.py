"""Two drivers on one sweep share its points, and never run one twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.conftest import LIMIT, wait_until

X = "model.parameters.x"
WORKERS = "hydra.launcher.workers=2"


def complete(sweeps, count):
    assert sweeps.started() == sweeps.finished() == [str(x) for x in range(count)]
    assert [row["state"] for row in sweeps.table()] == ["completed"] * count


def test_two_drivers_share_a_sweep_and_both_report_the_complete_result(sweeps):
    drivers = [sweeps.start_sweep(f"{X}=range(0,40)", WORKERS) for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0
    complete(sweeps, 40)
    for driver in drivers:
        # A driver that starts after the other one has finished reports no slowest runs.
        assert [line for line in driver.output.splitlines()[-4:] if "40 points: " in line]
        assert "not started" not in driver.output


def test_two_drivers_with_different_points_write_one_table(sweeps):
    sweeps.hold()
    drivers = [sweeps.start_sweep(f"{X}=range({first},{first + 3})", WORKERS) for first in (0, 3)]
    sweeps.wait_for_models(4)
    sweeps.release()
    for driver in drivers:
        assert driver.wait() == 0
    complete(sweeps, 6)


def test_a_driver_waits_for_the_runs_of_another_one(sweeps):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=range(0,2)", WORKERS)
    sweeps.wait_for_models(2)
    assert "2 run by another driver" in sweeps.sweep(f"{X}=range(0,2)", "--dry-run")
    second = sweeps.start_sweep(f"{X}=range(0,3)", WORKERS)
    sweeps.wait_for_models(3)
    sweeps.release()
    assert first.wait() == second.wait() == 0
    assert "3 points: 3 completed" in second.output
    complete(sweeps, 3)


def test_a_driver_takes_over_when_the_other_one_is_killed(sweeps):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=range(0,2)", WORKERS)
    sweeps.wait_for_models(2)
    second = sweeps.start_sweep(f"{X}=range(0,3)", WORKERS)
    sweeps.wait_for_models(3)
    first.kill()
    sweeps.kill_models(0, 1)
    sweeps.release()
    assert second.wait() == 0
    assert sweeps.finished() == ["0", "1", "2"]
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 3


def test_a_run_that_failed_under_another_driver_is_not_retried_immediately(sweeps):
    sweeps.fail(*range(20))
    drivers = [sweeps.start_sweep(f"{X}=range(0,20)", WORKERS) for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 1
    assert sweeps.started() == [str(x) for x in range(20)]
    assert [row["state"] for row in sweeps.table()] == ["failed"] * 20


def test_a_driver_that_waits_for_another_one_can_be_interrupted(sweeps):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=0,1", WORKERS)
    sweeps.wait_for_models(2)
    second = sweeps.start_sweep(f"{X}=0,1", WORKERS)
    wait_until(lambda: "2 points" in second.output)
    second.send(signal.SIGINT)
    assert second.wait() == 130
    assert "2 points: 2 not started" in second.output
    sweeps.release()
    assert first.wait() == 0
    complete(sweeps, 2)


def test_two_drivers_that_rerun_all_points_with_new_inputs_execute_each_point_once(sweeps):
    sweeps.sweep(f"{X}=range(0,12)")
    template = sweeps.directory.parent / "template" / "probe.sh"
    template.write_text(template.read_text() + "echo more > more.txt\n")
    command = (f"{X}=range(0,12)", "sweep.retry=all", "hydra.launcher.workers=1")
    sweeps.hold()
    drivers = [sweeps.start_sweep(*command) for _ in range(2)]
    sweeps.wait_for_models(12 + 2)  # both have validated all points by then
    sweeps.release()
    for driver in drivers:
        assert driver.wait() == 0, driver.output
    assert sweeps.started() == sorted([str(x) for x in range(12)] * 2, key=int)
    assert len(list(sweeps.path.glob("*.old-*"))) == 12


@pytest.fixture
def elsewhere(sweeps):
    """Start a sweep that cannot see other processes, as on another machine or in a container."""
    if os.getuid() != 0:
        pytest.skip("a process namespace needs root")
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    program = [sys.executable, "-m", "rompy_hydra", f"--config-dir={sweeps.configs}"]
    begun = []

    def start(*arguments):
        output = sweeps.outside / f"elsewhere-{len(begun)}"
        with output.open("w") as file:
            command = [*alone, *program, *sweeps.command(*arguments)]
            begun.append(subprocess.Popen(command, cwd=sweeps.directory, stdout=file, stderr=file))
        return begun[-1], output

    yield start
    for process in begun:
        process.kill()
        process.wait(LIMIT)


def test_a_driver_in_a_container_on_the_same_machine_does_not_touch_running_runs(sweeps, elsewhere):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=0,1", WORKERS)
    sweeps.wait_for_models(2)
    second, output = elsewhere(f"{X}=0,1", WORKERS)
    wait_until(lambda: "2 points" in output.read_text())
    sweeps.release()
    assert first.wait() == 0
    assert second.wait(LIMIT) == 0
    assert "2 points: 2 completed" in output.read_text()
    complete(sweeps, 2)


def test_models_that_outlive_their_driver_are_not_restarted_elsewhere(sweeps, elsewhere):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=0,1", WORKERS)
    sweeps.wait_for_models(2)
    wait_until(lambda: lease_keepers(first.pid))
    first.kill()
    claims = [directory / "claims" / "1.json" for directory in sweeps.runs().values()]
    for claim in claims:
        os.utime(claim, (1, 1))
    wait_until(lambda: all(claim.stat().st_mtime > 1 for claim in claims))

    dry, output = elsewhere(f"{X}=0,1", "--dry-run")
    assert dry.wait(LIMIT) == 0
    assert "2 run by another driver" in output.read_text()

    second, output = elsewhere(f"{X}=0,1", WORKERS)
    sweeps.release()
    assert second.wait(LIMIT) == 0
    assert "2 points: 2 completed" in output.read_text()
    complete(sweeps, 2)
    wait_until(lambda: not lease_keepers(first.pid))


def lease_keepers(pid):
    """The processes that keep the claims of a driver."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("workspace.lease_keeper" in word for word in words) and f'"pid": {pid},' in words[-1]:
            found.append(process)
    return found
