"""rompy's run backends, postprocessors and pipelines on this package's `ModelRun`."""

from __future__ import annotations

import json

import pytest
from rompy.backends import LocalConfig as RompyLocalConfig
from rompy.pipeline import LocalPipelineBackend as RompyPipeline
from rompy.postprocess import NoopPostprocessor as RompyNoop
from rompy.postprocess.config import NoopPostprocessorConfig
from rompy.run import LocalRunBackend as RompyLocal

from rompy_hydra import BaseConfig, LocalConfig, ModelRun, SuccessChecks, SummaryPostprocessor
from rompy_hydra.errors import ConfigError
from rompy_hydra.testing import PipelineContract, PostprocessorContract, RunBackendContract
from rompy_hydra.workspace.record import RunRecord


class TestRompyLocalBackendKeepsTheContract(RunBackendContract):
    plugin = RompyLocal
    settings = {"timeout": 60}


class TestRompyPostprocessorKeepsTheContract(PostprocessorContract):
    plugin = RompyNoop


class TestRompyPipelineKeepsTheContract(PipelineContract):
    plugin = RompyPipeline


@pytest.fixture
def run(tmp_path):
    config = BaseConfig(
        commands="echo x,y > out.csv; echo 1,2 >> out.csv", success=SuccessChecks(must_exist=("out.csv",))
    )
    return ModelRun(run_id="here", output_dir=tmp_path, config=config)


@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("rompy:local", {}),
        ("rompy:local", {"timeout": 60, "env_vars": {"A": "1"}}),
        (RompyLocal, {}),
        (RompyLocalConfig(), {}),
        (RompyLocalConfig(command="sh run.sh", timeout=60), {}),
    ],
)
def test_the_local_backend_of_rompy_runs_the_model(run, backend, settings):
    assert run.run(backend, **settings) is True
    record = RunRecord.load(run.workspace)
    assert record.run_backend["name"] == "rompy:local"
    assert record.stages["run"].state == "completed"


def test_the_command_of_the_backend_replaces_that_of_the_model(run):
    assert run.run(RompyLocalConfig(command="echo mine > out.csv")) is True
    assert (run.workspace.path / "out.csv").read_text() == "mine\n"


def test_settings_that_rompy_rejects_are_rejected(run):
    with pytest.raises(ConfigError, match="timeout: Input should be greater than or equal to 60"):
        run.run("rompy:local", timeout=1)
    with pytest.raises(ConfigError, match=r"comand: no such setting\. Did you mean 'command'"):
        run.run("rompy:local", comand="x")


def test_nothing_to_execute_fails_although_it_succeeds_in_rompy(tmp_path):
    run = ModelRun(run_id="nothing", output_dir=tmp_path, config=BaseConfig())
    with pytest.raises(ConfigError, match="nothing to execute"):
        run.run("rompy:local")


def test_a_failed_model_is_recorded_as_failed(run):
    assert run.run("rompy:local", command="exit 3") is False
    assert RunRecord.load(run.workspace).state == "failed"


@pytest.mark.parametrize(
    ("processor", "settings"),
    [
        ("rompy:noop", {"validate_outputs": True}),
        (RompyNoop, {}),
        (NoopPostprocessorConfig(validate_outputs=False), {}),
    ],
)
def test_the_postprocessor_of_rompy_can_be_given_by_name_class_or_configuration(run, processor, settings):
    assert run.run("local") is True
    results = run.postprocess(processor, **settings)
    assert results["success"] is True
    assert results["validated"] is (processor is not None and "False" not in repr(processor))


@pytest.mark.parametrize(
    "choices",
    [
        {"backend_config": RompyLocalConfig(), "processor": NoopPostprocessorConfig()},
        {"run_backend": "rompy:local", "processor": "rompy:noop"},
        {"run_backend": "local", "run_kwargs": {"timeout": 60}, "processor": "summary"},
        {"run_backend": LocalConfig(timeout=60), "processor": SummaryPostprocessor()},
    ],
)
def test_the_pipeline_of_rompy_runs_any_backend_and_postprocessor(run, choices):
    results = run.pipeline("rompy:local", **choices)
    assert results["success"] is True, results
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert RunRecord.load(run.workspace).state == "completed"


def test_a_failed_postprocessor_fails_the_pipeline_of_rompy(run):
    class Failing:
        def process(self, model_run):
            return {"success": False, "message": "no figure"}

    results = run.pipeline("rompy:local", run_backend="local", processor=Failing())
    assert (results["success"], results["stage"]) == (False, "postprocess")


def test_plugins_of_rompy_and_of_this_package_can_be_combined(program, tmp_path):
    mixes = {
        "all": ["run_backend=rompy:local", "processor=rompy:noop", "pipeline=rompy:local"],
        "own_backend": ["run_backend=local", "processor=[rompy:noop,summary]"],
        "own_processor": ["run_backend=rompy:local", "processor=summary", "pipeline=rompy:local"],
    }
    for name, mix in mixes.items():
        answer = program(*mix, f"run_id={name}")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        record = json.loads((tmp_path / "here" / "runs" / name / "run.json").read_text())
        assert record["state"] == "completed", name
    assert json.loads((tmp_path / "here/runs/own_processor/run.json").read_text())["metrics"]
