"""Two drivers on one sweep share its points, and never run one twice."""

from __future__ import annotations

import signal

from tests.conftest import wait_until

X = "model.parameters.x"
WORKERS = "hydra.launcher.workers=2"


def complete(sweeps, count):
    assert sweeps.started() == sweeps.finished() == [str(x) for x in range(count)]
    assert [row["state"] for row in sweeps.table()] == ["completed"] * count


def test_two_drivers_share_a_sweep_and_both_know_the_whole_result(sweeps):
    drivers = [sweeps.start_sweep(f"{X}=range(0,40)", WORKERS) for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0
    complete(sweeps, 40)
    for driver in drivers:
        assert "40 points: " in driver.output.splitlines()[-3] + driver.output.splitlines()[-4]
        assert "not started" not in driver.output


def test_two_drivers_with_different_points_make_one_table(sweeps):
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


def test_a_driver_takes_over_when_the_other_one_dies(sweeps):
    sweeps.hold()
    first = sweeps.start_sweep(f"{X}=range(0,2)", WORKERS)
    sweeps.wait_for_models(2)
    second = sweeps.start_sweep(f"{X}=range(0,3)", WORKERS)
    sweeps.wait_for_models(3)
    first.kill()
    sweeps.end_models(0, 1)
    sweeps.release()
    assert second.wait() == 0
    assert sweeps.finished() == ["0", "1", "2"]
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 3


def test_a_run_that_failed_under_another_driver_is_not_tried_at_once_again(sweeps):
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
