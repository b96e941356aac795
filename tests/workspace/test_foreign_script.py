"""A `run.sh` that is not the engine's is kept, and a command that starts `run.sh` never starts itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.core.execute import preflight
from rompy_hydra.errors import ConfigError
from rompy_hydra.workspace.record import RunRecord
from tests.plans import plan_of

THEIRS = '#!/bin/bash\necho "$0 of the model"\necho data > out.nc\n'


class WritesItsScript:
    """In the shape of rompy's configurations."""

    def __init__(self, text=THEIRS):
        self.text = text

    def __call__(self, runtime):
        (Path(runtime.staging_dir) / "run.sh").write_text(self.text)
        return self


@pytest.fixture
def run(tmp_path):
    return ModelRun(run_id="ccam", output_dir=tmp_path, config=WritesItsScript())


def test_a_script_that_the_model_writes_is_kept_and_can_be_started(run):
    for attempt in (1, 2):
        assert run.run("local", command="sh run.sh") is True
        directory = run.workspace.path
        assert (directory / "run.sh").read_text() == THEIRS
        assert "sh run.sh" in (directory / "rompy_hydra.sh").read_text()
        assert run.workspace.log.read_text() == "run.sh of the model\n"
        record = RunRecord.load(run.workspace)
        assert [fact.path for fact in record.inputs] == ["run.sh"]
        assert [fact.path for fact in record.outputs] == ["out.nc"]
        assert record.attempt == attempt
    assert run.pipeline(run_kwargs={"command": "sh run.sh"})["success"]
    assert RunRecord.load(run.workspace).attempt == 2


def test_the_message_of_a_failure_names_the_script_of_the_engine(run):
    assert run.run("local", command="exit 3") is False
    message = RunRecord.load(run.workspace).error["message"]
    script = run.workspace.path / "rompy_hydra.sh"
    assert f"Rerun by hand: sh {script}" in message
    assert subprocess.run(["sh", script], cwd="/", timeout=60).returncode == 3


def test_the_name_goes_back_to_the_engine_if_the_script_of_the_model_is_gone(run):
    assert run.run("local", command="true") is True
    directory = run.workspace.path
    (directory / "run.sh").unlink()
    assert run.run("local", workspace_dir=directory / "." / "..", command="true") is True
    for name in ("run.sh", "rompy_hydra.sh"):
        (directory.parent / name).unlink(missing_ok=True)
    (directory.parent / "rompy_hydra.sh").write_text("")
    assert run.run("local", workspace_dir=directory.parent, command="true") is True
    assert "_rh_end" in (directory.parent / "run.sh").read_text()
    assert not (directory.parent / "rompy_hydra.sh").exists()


def test_a_script_in_a_workspace_that_somebody_else_made_is_kept(run, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "run.sh").write_text(THEIRS)
    assert run.run("local", workspace_dir=theirs, command="sh run.sh") is True
    assert (theirs / "run.sh").read_text() == THEIRS
    assert (theirs / "out.nc").exists()


def test_an_incomplete_script_of_a_killed_driver_is_replaced(tmp_path):
    run = ModelRun(run_id="x", output_dir=tmp_path, config=BaseConfig(commands=["true"]))
    run.generate()
    script = run.workspace.path / "run.sh"
    whole = script.read_text()
    for length in (0, 5, 60, len(whole) - 3):
        script.write_text(whole[:length])
        assert run.run() is True
        assert script.read_text() == whole
    assert not (run.workspace.path / "rompy_hydra.sh").exists()


@pytest.mark.parametrize(
    "command", ["sh run.sh", "./run.sh", "bash ./run.sh", "exec sh run.sh", ". ./run.sh"]
)
def test_a_command_that_is_the_engines_own_script_is_refused_before_anything_is_written(tmp_path, command):
    run = ModelRun(run_id="x", output_dir=tmp_path / "runs", config=BaseConfig())
    with pytest.raises(ConfigError, match=r"starts run\.sh, .* which would start itself"):
        preflight(plan_of(run, settings={"command": command}))
    with pytest.raises(ConfigError, match=r"Give the model's own program"):
        run.run("local", command=command)
    assert not (tmp_path / "runs").exists()
    model = BaseConfig(commands=[command])
    with pytest.raises(ConfigError, match="would start itself"):
        ModelRun(run_id="x", output_dir=tmp_path / "runs", config=model).run()


def test_a_program_that_the_model_will_write_may_be_the_command(run):
    preflight(plan_of(run, settings={"command": "./run.sh"}))
    preflight(plan_of(run, settings={"command": "bin/prepare"}))
    with pytest.raises(ConfigError, match="the program 'no_such_program' was not found"):
        preflight(plan_of(run, settings={"command": "no_such_program"}))


def test_a_run_sh_in_another_directory_may_be_started(tmp_path):
    (tmp_path / "run.sh").write_text("echo theirs\n")
    run = ModelRun(run_id="x", output_dir=tmp_path / "runs", config=BaseConfig())
    assert run.run("local", command=f"sh {tmp_path}/run.sh") is True
    assert run.run("local", command="sh run.sh", working_dir=str(tmp_path)) is True
    assert run.workspace.log.read_text() == "theirs\n"


def test_a_script_that_starts_itself_ends_with_a_message(tmp_path):
    run = ModelRun(run_id="x", output_dir=tmp_path, config=BaseConfig())
    assert run.run("local", command="cd . && sh run.sh", timeout=60) is False
    message = RunRecord.load(run.workspace).error["message"]
    assert "exited with 2" in message
    assert "run.sh starts itself: give the model's own program as the command" in message


def test_the_script_of_one_run_may_start_that_of_another(tmp_path):
    inner = ModelRun(run_id="inner", output_dir=tmp_path, config=BaseConfig(commands=["echo inner"]))
    inner.generate()
    outer = ModelRun(run_id="outer", output_dir=tmp_path, config=BaseConfig())
    assert outer.run("local", command=f"sh {inner.workspace.script}") is True
    assert outer.workspace.log.read_text() == "inner\n"
