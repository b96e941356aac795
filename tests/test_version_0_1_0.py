"""Run directories and sweeps that were written by version 0.1.0 are read, and can be resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rompy_hydra import RunRecord
from rompy_hydra.core.status import recorded_state
from rompy_hydra.workspace import Workspace

DATA = Path(__file__).parent / "data" / "version_0_1_0"
MODEL = ("model=template", "model.template=tpl", "model.commands=['sh model.sh']")
SWEEP = ("-m", *MODEL, "+model.parameters.depth=1,2,13", "processor=noop", "sweep.name=depths")


@pytest.fixture
def place(tmp_path):
    """A directory in which a user has worked with 0.1.0; its drivers are no longer running."""
    place = tmp_path / "waves"
    shutil.copytree(DATA, place)
    for claim in place.rglob("*.claim"):
        os.utime(claim, (0, 0))
    return place


def rompy_hydra(place, *arguments, code=0):
    command = [sys.executable, "-m", "rompy_hydra", *arguments]
    answer = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer.stdout


def test_a_completed_run_is_skipped(place):
    record = place / "runs" / "completed" / "run.json"
    before = record.read_bytes()
    out = rompy_hydra(place, *MODEL, "+model.parameters.depth=1", "run_id=completed", "processor=summary")
    assert "nothing to do: every stage is done and unchanged" in out
    assert record.read_bytes() == before


def test_a_failed_run_is_retried_as_a_new_attempt_and_its_logs_are_kept(place):
    directory = place / "runs" / "failed"
    command = (*MODEL, "+model.parameters.depth=13", "run_id=failed", "processor=noop")
    assert "Fatal: no water" in rompy_hydra(place, *command, code=1)
    record = RunRecord.load(Workspace(directory))
    assert (record.state, record.attempt, record.claim) == ("failed", 3, 3)
    assert [attempt["state"] for attempt in record.attempts] == ["failed", "failed"]
    assert (directory / "attempts" / "1" / "run.log").exists()
    assert (directory / "attempts" / "2" / "run.log").exists()


def test_a_run_whose_driver_died_is_lost(place):
    workspace = Workspace(place / "runs" / "lost")
    record = RunRecord.load(workspace)
    assert record.state == "running"
    assert recorded_state(workspace, record) == "lost"


def test_a_different_configuration_in_such_a_directory_is_rejected(place):
    command = [sys.executable, "-m", "rompy_hydra", *MODEL, "+model.parameters.depth=2", "run_id=completed"]
    answer = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "model.parameters.depth: 1 there, 2 here" in answer.stderr


def test_the_runs_of_a_sweep_are_found_under_their_long_names(place):
    sweep = place / "sweeps" / "depths"
    names = {path.name for path in sweep.iterdir() if path.is_dir()}
    out = rompy_hydra(place, *SWEEP, code=1)
    assert "3 points: 1 failed, 2 already done" in out
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == names
    points = json.loads((sweep / "sweep.json").read_text())["points"]
    assert set(points) == names


def test_an_additional_value_gets_a_name_of_the_same_form(place):
    longer = [word.replace("1,2,13", "1,2,3") for word in SWEEP]
    assert "3 points: 1 completed, 2 already done" in rompy_hydra(place, *longer)
    names = sorted(path.name for path in (place / "sweeps" / "depths").iterdir() if path.is_dir())
    assert len(names) == 4
    assert all(name.startswith("model=template,commands=") for name in names)


def test_a_run_with_plain_plugins_is_skipped(place):
    code = """
from rompy_hydra import ModelRun, TemplateModel
from old_plugins import PlainBackend, PlainProcessor
config = TemplateModel(template="tpl", parameters={"depth": 1}, commands=("sh model.sh",))
run = ModelRun(run_id="plain", output_dir="runs", config=config)
answer = run.pipeline(run_backend=PlainBackend, run_kwargs={"label": "y"},
                      processor=PlainProcessor, process_kwargs={"factor": 2})
print(answer["success"], answer["postprocess_results"]["message"])
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "True unchanged: skipped\n"


def test_a_run_whose_identity_held_a_period_that_its_model_does_not_use_is_found(place):
    assert "generate, run, postprocess" in rompy_hydra(place, "run_id=beach", "--dry-run")
    command = [sys.executable, "-m", "rompy_hydra", "run_id=beach", "model.friction=0.02", "--dry-run"]
    answer = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "model.friction: 0.01 there, 0.02 here" in answer.stderr
