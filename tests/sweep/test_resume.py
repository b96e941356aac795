"""Rerunning a command executes only the missing runs."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from rompy_hydra.workspace.atomic import partial_name
from tests.conftest import wait_until

X = "model.parameters.x"


def test_rerunning_a_completed_sweep_runs_nothing_and_touches_no_run(sweeps):
    first = sweeps.sweep(f"{X}=1,2,3")
    assert "3 points: 3 completed" in first
    before = {x: sweeps.snapshot(directory) for x, directory in sweeps.runs().items()}
    assert "3 points: 3 already done" in sweeps.sweep(f"{X}=1,2,3")
    assert {x: sweeps.snapshot(directory) for x, directory in sweeps.runs().items()} == before
    assert sweeps.started() == ["1", "2", "3"]


def test_cosmetic_changes_rerun_nothing(sweeps):
    sweeps.sweep(f"{X}=1,2")
    assert "2 already done" in sweeps.sweep(f"{X}=1,2", "log_level=DEBUG", "hydra.launcher.workers=1")


def test_a_failed_run_is_retried_as_a_new_attempt_and_its_old_log_is_kept(sweeps):
    sweeps.fail(2)
    out = sweeps.sweep(f"{X}=1,2,3", code=1)
    assert "2 completed, 1 failed" in out
    assert "Fatal: no water at 2" in out
    sweeps.fix(2)
    assert "1 completed, 2 already done" in sweeps.sweep(f"{X}=1,2,3")
    directory = sweeps.runs()["2"]
    assert "Fatal: no water at 2" in (directory / "attempts" / "1" / "run.log").read_text()
    assert sweeps.record(2)["attempt"] == 2
    assert [row["attempts"] for row in sweeps.table()] == ["1", "2", "1"]
    assert sweeps.started() == ["1", "2", "2", "3"]


def test_a_failing_run_can_be_retried_by_the_same_command(sweeps):
    sweeps.fail(1)
    out = sweeps.sweep(f"{X}=1,2", "sweep.attempts=3", code=1)
    assert "1 completed, 1 failed" in out
    assert sweeps.started() == ["1", "1", "1", "2"]
    assert sweeps.record(1)["attempt"] == 3


def test_a_sweep_stops_after_the_maximum_number_of_failures(sweeps):
    sweeps.fail(*range(1, 10))
    command = (f"{X}=range(1,10)", "sweep.max_failures=2", "hydra.launcher.workers=1")
    out = sweeps.sweep(*command, code=1)
    assert "9 points: 2 failed, 7 not started" in out
    assert "stopped    after 2 failures (sweep.max_failures)" in out
    sweeps.fix(*range(1, 10))
    assert "9 points: 9 completed" in sweeps.sweep(*command)


def leave_one_failed_and_one_lost(sweeps):
    """Of four points: 1 completed, 2 failed, 3 lost, 4 not started."""
    sweeps.fail(2)
    sweeps.sweep(f"{X}=1,2", code=1)
    sweeps.hold()
    driver = sweeps.start_sweep(f"{X}=3")
    sweeps.wait_for_models(3)
    driver.kill()
    sweeps.kill_models(3)
    sweeps.release()
    sweeps.fix(2)


@pytest.mark.parametrize(
    ("retry", "summary", "again"),
    [
        ("failed", "3 completed, 1 already done", ["2", "3", "4"]),
        ("lost", "2 completed, 1 already done, 1 failed earlier and not retried", ["3", "4"]),
        (
            "none",
            "1 completed, 1 already done, 1 failed earlier and not retried, 1 lost earlier and not retried",
            ["4"],
        ),
        ("all", "4 completed", ["1", "2", "3", "4"]),
    ],
)
def test_the_user_can_select_what_is_retried(sweeps, retry, summary, again):
    leave_one_failed_and_one_lost(sweeps)
    before = sweeps.started()
    forecast = sweeps.sweep(f"{X}=1,2,3,4", f"sweep.retry={retry}", "--dry-run")
    assert ("1 lost earlier and not retried" in forecast) == ("lost" in summary)
    out = sweeps.sweep(f"{X}=1,2,3,4", f"sweep.retry={retry}", code=1 if "not retried" in summary else 0)
    assert f"4 points: {summary} in" in out
    assert ("with sweep.retry=failed" in out) == ("not retried" in summary)
    assert sweeps.started() == sorted(before + again, key=int)
    states = {row["model.parameters.x"]: row["state"] for row in sweeps.table()}
    left = {"lost": {"2": "failed"}, "none": {"2": "failed", "3": "lost"}}.get(retry, {})
    assert states == {"1": "completed", "2": "completed", "3": "completed", "4": "completed"} | left


@pytest.fixture
def model_without_driver(sweeps):
    """A run whose model killed its driver before the start of the model was recorded."""
    template = sweeps.directory.parent / "template" / "probe.sh"
    pid = "grep -o '\"pid\":[0-9]*' run.json | head -1 | cut -d: -f2"
    template.write_text(f"{template.read_text()}kill -9 $({pid})\n")
    assert sweeps.start_sweep(f"{X}=1").wait() == -signal.SIGKILL
    wait_until(lambda: (sweeps.runs()["1"] / "exit_code").read_text() == "0\n")
    assert sweeps.states()["1"] in ("generating", "running")


@pytest.mark.usefixtures("model_without_driver")
def test_nothing_is_repeated_if_only_the_generate_stage_is_requested(sweeps):
    assert "1 already done" in sweeps.sweep(f"{X}=1", "pipeline.stages=[generate]")
    assert sweeps.started() == ["1"]


@pytest.mark.usefixtures("model_without_driver")
def test_a_model_whose_start_was_not_recorded_is_not_rerun(sweeps):
    assert "1 point: 1 completed" in sweeps.sweep(f"{X}=1")
    assert sweeps.started() == sweeps.finished() == ["1"]
    record = sweeps.record(1)
    assert record["attempt"] == 1
    assert record["backend_facts"]["adopted"]
    assert [fact["path"] for fact in record["inputs"]] == ["probe.sh"]
    assert record["stages"]["generate"]["state"] == "completed"
    assert "1 already done" in sweeps.sweep(f"{X}=1")


def test_the_table_has_the_total_run_time_of_a_model_that_outlived_its_driver(sweeps):
    sweeps.hold()
    driver = sweeps.start_sweep(f"{X}=1")
    sweeps.wait_for_models(1)
    begin = time.monotonic()
    driver.kill()
    second = sweeps.start_sweep(f"{X}=1")
    wait_until(lambda: len(list((sweeps.runs()["1"] / "claims").glob("*.json"))) == 2)
    seen = time.monotonic() - begin
    sweeps.release()
    assert second.wait() == 0, second.output
    (row,) = sweeps.table()
    assert (row["state"], row["attempts"]) == ("completed", "1")
    assert float(row["seconds"]) >= seen


@pytest.mark.parametrize("retry", ["failed", "lost", "all", "none"])
@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (False, "its model is still running and will be waited for"),
        (True, "its model has ended: its results are used"),
    ],
)
def test_a_dry_run_shows_the_planned_action_for_a_model_that_outlived_its_driver(
    sweeps, retry, ended, message
):
    sweeps.hold()
    driver = sweeps.start_sweep(f"{X}=1")
    sweeps.wait_for_models(1)
    driver.kill()
    if ended:
        sweeps.release()
        wait_until((sweeps.runs()["1"] / "exit_code").exists)
    out = sweeps.sweep(f"{X}=1", f"sweep.retry={retry}", "--dry-run")
    assert message in out
    line = next(line for line in out.splitlines() if message in line)
    assert line.split()[0] == ("leave" if retry == "none" else "run")
    sweeps.release()
    done = "1 lost earlier and not retried" if retry == "none" else "1 completed"
    assert done in sweeps.sweep(f"{X}=1", f"sweep.retry={retry}", code=1 if retry == "none" else 0)
    assert sweeps.started() == ["1"]
    assert sweeps.record(1)["attempt"] == 1


def test_a_dry_run_shows_that_a_lost_model_will_be_rerun(sweeps):
    leave_one_failed_and_one_lost(sweeps)
    assert sweeps.sweep(f"{X}=3", "--dry-run").split()[0] == "retry"


def test_a_failure_with_a_time_in_the_future_is_retried(sweeps):
    sweeps.fail(1)
    sweeps.sweep(f"{X}=1", code=1)
    path = sweeps.runs()["1"] / "run.json"
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps(record | {"updated": f"9{record['updated'][1:]}"}))
    sweeps.fix(1)
    assert "1 point: 1 completed" in sweeps.sweep(f"{X}=1")


def test_a_file_whose_name_is_not_valid_text_is_an_output_like_any_other(sweeps):
    template = sweeps.directory.parent / "template" / "probe.sh"
    template.write_text(template.read_text() + "touch \"$(printf 'r\\351sultat.txt')\"\n")
    assert "2 points: 2 completed" in sweeps.sweep(f"{X}=1,2")
    assert (sweeps.runs()["1"] / os.fsdecode(b"r\xe9sultat.txt")).exists()
    assert "2 points: 2 already done" in sweeps.sweep(f"{X}=1,2")


def test_a_sweep_runs_below_a_directory_whose_name_is_not_valid_text(sweeps):
    place = sweeps.directory / os.fsdecode(b"mod\xe8les")
    place.mkdir()
    sweeps.directory, sweeps.path = place, place / "sweeps" / "probe"
    sweeps.fail(2)
    out = sweeps.sweep(f"{X}=1,2", code=1)
    assert "2 points: 1 completed, 1 failed" in out
    sweeps.fix(2)
    assert "2 points: 1 completed, 1 already done" in sweeps.sweep(f"{X}=1,2")
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 2


def test_a_changed_template_reruns_all_points_and_sets_the_old_runs_aside(sweeps):
    sweeps.sweep(f"{X}=1,2")
    template = sweeps.directory.parent / "template" / "probe.sh"
    template.write_text(template.read_text() + "echo new\n")
    assert "a template or a staged file changed" in sweeps.sweep(f"{X}=1,2", "--dry-run")
    assert "2 points: 2 completed" in sweeps.sweep(f"{X}=1,2")
    assert sweeps.started() == ["1", "1", "2", "2"]
    assert len(list(sweeps.path.glob("*.old-1"))) == 2
    assert len(sweeps.table()) == 2


def test_a_deleted_output_is_restored_by_a_new_run(sweeps):
    sweeps.sweep(f"{X}=1,2")
    (sweeps.runs()["2"] / "result.txt").unlink()
    assert "result.txt is missing or was changed" in sweeps.sweep(f"{X}=1,2", "--dry-run")
    assert "1 completed, 1 already done" in sweeps.sweep(f"{X}=1,2")
    assert sweeps.started() == ["1", "2", "2"]


def test_a_damaged_record_is_reported_and_nothing_is_lost(sweeps):
    sweeps.sweep(f"{X}=1,2,3")
    directory = sweeps.runs()["2"]
    (directory / "run.json").write_text("{ not json")
    before = sweeps.snapshot()
    out = sweeps.sweep(f"{X}=1,2,3", code=2)
    assert f"{directory.name}/run.json is damaged" in out
    assert "overwrite=true" in out
    assert sweeps.snapshot() == before
    # The solution that the message suggests.
    assert "1 completed, 2 already done" in sweeps.sweep(f"{X}=1,2,3", "overwrite=true")
    (aside,) = sweeps.path.glob("*.old-1")
    assert (aside / "run.json").read_text() == "{ not json"
    assert (aside / "result.txt").exists()


def test_a_damaged_record_of_another_command_is_listed_in_the_table(sweeps):
    sweeps.sweep(f"{X}=1,2")
    (sweeps.runs()["2"] / "run.json").write_text("{ not json")
    sweeps.sweep(f"{X}=3")
    states = [row["state"] for row in sweeps.table()]
    assert sorted(states) == ["completed", "completed", "damaged"]


def test_a_directory_with_a_different_configuration_is_rejected(sweeps):
    sweeps.sweep(f"{X}=1,2")
    model = sweeps.configs / "model" / "probe.yaml"
    model.write_text(model.read_text().replace("text: hello", "text: hallo"))
    before = sweeps.snapshot()
    out = sweeps.sweep(f"{X}=1,2", code=2)
    assert "holds another configuration" in out
    assert sweeps.snapshot() == before


def test_an_unrelated_file_at_the_path_of_an_output_is_reported(sweeps):
    path = sweeps.path / "x=1" / "result.txt"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    before = sweeps.snapshot()
    assert "result.txt already exists" in sweeps.sweep(f"{X}=1,2", code=2)
    assert sweeps.snapshot() == before
    assert "2 points: 2 completed" in sweeps.sweep(f"{X}=1,2", "overwrite=true")
    assert (
        path.parent.with_name(f"{path.parent.name}.old-1").joinpath("result.txt").read_text() == "precious"
    )


def test_skipped_stages_are_executed_by_a_later_command(sweeps):
    out = sweeps.sweep(f"{X}=1,2", "pipeline.stages=[generate]")
    assert "2 points: 2 pending" in out
    assert sweeps.started() == []
    assert "2 points: 2 already done" in sweeps.sweep(f"{X}=1,2", "pipeline.stages=[generate]")
    assert "2 points: 2 completed" in sweeps.sweep(f"{X}=1,2")


def test_a_damaged_sweep_file_is_reported_and_left_unchanged(sweeps):
    sweeps.sweep(f"{X}=1,2")
    path = sweeps.path / "sweep.json"
    path.write_text("[]")
    before = sweeps.snapshot()
    assert "sweep.json is damaged" in sweeps.sweep(f"{X}=1,2", code=1)
    assert sweeps.snapshot() == before
    path.unlink()
    sweeps.sweep(f"{X}=1,2")
    assert len(json.loads(path.read_text())["points"]) == 2


def test_temporary_files_that_a_killed_driver_left_in_the_sweep_are_removed(sweeps):
    sweeps.sweep(f"{X}=0,1")
    pid = os.fork()
    if not pid:
        (sweeps.path / partial_name("results.csv")).touch()
        os._exit(0)
    os.waitpid(pid, 0)
    (left,) = sweeps.path.glob(".results.csv.*.part")
    sweeps.sweep(f"{X}=0,1")
    assert not left.exists()
