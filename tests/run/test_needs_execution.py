"""Models that need no execution: a command that is given all the same is run."""

from __future__ import annotations

import pytest

from rompy_hydra import BaseConfig, DockerConfig, LocalConfig, LocalRunBackend, ModelRun
from rompy_hydra.core.execute import preflight
from rompy_hydra.errors import ConfigError
from rompy_hydra.workspace.record import RunRecord
from tests.plans import plan_of


@pytest.fixture
def run(tmp_path):
    return ModelRun(run_id="inputs", output_dir=tmp_path, config=BaseConfig(needs_execution=False))


def test_a_command_that_is_given_is_run(run):
    assert run.run(command="exit 1") is False
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("failed", 1)
    assert "base exited with 1" in record.error["message"]
    assert run.run(command="echo data > out.nc") is True
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("completed", 0)
    assert [fact.path for fact in record.outputs] == ["out.nc"]


def test_without_a_command_nothing_is_run(run):
    assert run.run(LocalConfig(env_vars={"A": "1"})) is True
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("completed", None)


def test_the_backend_called_directly_runs_its_command(run):
    workspace = run.generate()
    assert LocalRunBackend().run(run, LocalConfig(command="exit 1"), workspace) is False
    assert LocalRunBackend().run(run, LocalConfig(), workspace) is True


def test_the_program_of_the_command_is_checked_before_the_run(run):
    with pytest.raises(ConfigError, match="the program 'no_such_program' was not found"):
        preflight(plan_of(run, settings={"command": "no_such_program"}))


def test_the_executable_of_a_container_is_a_command():
    backend = DockerConfig(image="swan", executable="swan.exe").get_backend_class()
    assert backend(DockerConfig(image="swan", executable="swan.exe")).has_command
    assert not backend(DockerConfig(image="swan")).has_command


def test_the_command_of_a_plain_backend_is_run(run):
    class Plain:
        def run(self, model_run, command=None):
            return command != "exit 1"

    assert run.run(Plain, command="exit 1") is False
    assert run.run(Plain, command="true") is True
