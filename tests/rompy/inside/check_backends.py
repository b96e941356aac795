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


class TestRompysLocalBackendKeepsTheContract(RunBackendContract):
    plugin = RompyLocal
    settings = {"timeout": 60}


class TestRompysPostprocessorKeepsTheContract(PostprocessorContract):
    plugin = RompyNoop


class TestRompysPipelineKeepsTheContract(PipelineContract):
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
def test_rompys_local_backend_runs_the_model(run, backend, settings):
    assert run.run(backend, **settings) is True
    record = RunRecord.load(run.workspace)
    assert record.run_backend["name"] == "rompy:local"
    assert record.stages["run"].state == "completed"


def test_its_own_command_replaces_the_models(run):
    assert run.run(RompyLocalConfig(command="echo mine > out.csv")) is True
    assert (run.workspace.path / "out.csv").read_text() == "mine\n"


def test_what_it_refuses_is_refused_here(run):
    with pytest.raises(ConfigError, match="timeout: Input should be greater than or equal to 60"):
        run.run("rompy:local", timeout=1)
    with pytest.raises(ConfigError, match=r"comand: no such setting\. Did you mean 'command'"):
        run.run("rompy:local", comand="x")


def test_nothing_to_execute_is_no_success_though_rompy_calls_it_one(tmp_path):
    run = ModelRun(run_id="nothing", output_dir=tmp_path, config=BaseConfig())
    with pytest.raises(ConfigError, match="nothing to execute"):
        run.run("rompy:local")


def test_a_failing_model_fails(run):
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
def test_rompys_postprocessor_works_by_name_by_class_and_by_configuration(run, processor, settings):
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
def test_rompys_pipeline_runs_whatever_was_chosen(run, choices):
    results = run.pipeline("rompy:local", **choices)
    assert results["success"] is True, results
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert RunRecord.load(run.workspace).state == "completed"


def test_a_failed_postprocessor_fails_rompys_pipeline_too(run):
    class Failing:
        def process(self, model_run):
            return {"success": False, "message": "no figure"}

    results = run.pipeline("rompy:local", run_backend="local", processor=Failing())
    assert (results["success"], results["stage"]) == (False, "postprocess")


def test_the_program_runs_rompys_parts_and_its_own_mixed(program, tmp_path):
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
