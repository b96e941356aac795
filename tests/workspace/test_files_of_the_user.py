"""Files that a user puts into a run directory by hand are never moved or counted as outputs."""

from __future__ import annotations

import subprocess

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.workspace.record import RunRecord
from tests.conftest import wait_until


@pytest.fixture
def run(tmp_path):
    """A run whose inputs were generated, and to which the user has added a program."""
    config = BaseConfig(commands=["echo from the model > model.txt"], outputs=["*.nc", "*.txt"])
    run = ModelRun(run_id="by hand", output_dir=tmp_path, config=config)
    run.generate()
    add(run, "prog", "#!/bin/sh\necho data > out.nc\necho more > restart\n", 0o755)
    return run


def add(run, name, text, mode=0o644):
    """Write a file, later than the record by the clock of the file system."""
    path = run.workspace.path / name

    def write():
        path.write_text(text)
        path.chmod(mode)
        return path.stat().st_ctime > run.workspace.record.stat().st_mtime

    wait_until(write)


def names(run):
    return sorted(run.workspace.names())


def test_a_program_that_was_added_after_generating_can_be_run_twice(run):
    for attempt in (1, 2, 3):
        assert run.run(command="./prog") is True
        record = RunRecord.load(run.workspace)
        assert [fact.path for fact in record.outputs] == ["out.nc"]
        assert record.found == ["prog"]
        assert names(run) == ["out.nc", "prog", "restart"]
        assert record.attempt == attempt
    assert (run.workspace.path / "attempts" / "2" / "out.nc").exists()


def test_a_program_that_was_added_is_kept_by_generating_again_and_by_a_failure(run):
    run.generate()
    assert run.run(command="./prog; exit 3") is False
    assert run.run(command="./prog") is True
    assert names(run) == ["out.nc", "prog", "restart"]


@pytest.mark.parametrize("code", [0, 3])
def test_a_file_that_was_added_after_an_attempt_is_kept_by_the_next(run, code):
    assert run.run(command=f"./prog; exit {code}") is (code == 0)
    add(run, "notes.md", "bathymetry is wrong")
    add(run, "plan b", "#!/bin/sh\ncp notes.md second.nc\n", 0o755)
    assert run.run(command="'./plan b'") is True
    assert names(run) == ["notes.md", "plan b", "prog", "second.nc"]
    record = RunRecord.load(run.workspace)
    assert [fact.path for fact in record.outputs] == ["second.nc"]
    earlier = run.workspace.path / "attempts" / "1"
    assert {"out.nc", "restart"} <= {path.name for path in earlier.iterdir()}


@pytest.mark.parametrize("how", ["chmod", "copy"])
def test_what_the_model_left_is_not_taken_for_the_users_after_the_whole_directory_was_touched(run, how):
    """As after `chmod -R`, or a copy: then the times do not say what came later."""
    assert run.run(command="./prog") is True
    record = run.workspace.record
    wait_until(lambda: touch_all(run, how) > record.stat().st_mtime)
    if how == "chmod":
        add(run, "notes.md", "mine")
    assert run.run(command="true") is True
    assert names(run) == (["notes.md", "prog"] if how == "chmod" else ["prog"])
    assert (run.workspace.path / "attempts" / "1" / "restart").exists()


def touch_all(run, how):
    """Change the status of all files, as `chmod` does, or their times as well; the earliest change."""
    for path in run.workspace.path.iterdir():
        if path.is_file() and path != run.workspace.record:
            path.chmod(path.stat().st_mode)
            if how == "copy":
                path.touch()
    return (run.workspace.path / "run.log").stat().st_ctime


def test_what_a_start_by_hand_left_is_an_output_if_the_model_writes_it_again(run):
    script = run.workspace.script
    subprocess.run(["sh", script], check=True, timeout=60)
    assert run.run() is True
    record = RunRecord.load(run.workspace)
    assert [fact.path for fact in record.outputs] == ["model.txt"]
    assert record.found == ["prog"]


def test_an_output_that_the_user_changed_is_moved_with_its_attempt(run):
    assert run.run(command="./prog") is True
    add(run, "out.nc", "edited by hand")
    assert run.run(command="true") is True
    assert names(run) == ["prog"]
    assert (run.workspace.path / "attempts" / "1" / "out.nc").read_text() == "edited by hand"


def test_a_file_added_before_the_pipeline_goes_on_survives_its_cleaning_up(run):
    results = run.pipeline(run_kwargs={"command": "./prog; exit 1"}, cleanup_on_failure=True)
    assert results["success"] is False
    assert names(run) == ["prog"]
