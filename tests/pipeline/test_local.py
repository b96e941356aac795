from __future__ import annotations

import pytest

from rompy_hydra import (
    BaseConfig,
    DockerConfig,
    LocalConfig,
    LocalPipelineBackend,
    ModelRun,
    NoopPostprocessor,
    SuccessChecks,
)
from rompy_hydra.errors import ConfigError
from rompy_hydra.workspace.record import RunRecord


@pytest.fixture
def model(tmp_path):
    def model(*commands, run_id="shoal", **fields):
        commands = commands or ("echo data > out.nc",)
        config = BaseConfig(commands=commands, **fields)
        return ModelRun(run_id=run_id, output_dir=tmp_path / "runs", config=config)

    return model


class Raises:
    def process(self, model_run, **settings):
        raise RuntimeError("no such variable")


class Fails:
    def process(self, model_run, **settings):
        return {"success": False, "message": "empty"}


def test_a_completed_pipeline_returns_all_keys_of_the_reference(model):
    run = model()
    results = run.pipeline(pipeline_backend="local", run_backend="local", processor="noop")
    post = results.pop("postprocess_results")
    assert results == {
        "success": True,
        "run_id": "shoal",
        "stages_completed": ["generate", "run", "postprocess"],
        "run_backend": "local",
        "processor": "noop",
        "staging_dir": str(run.workspace.path),
        "run_success": True,
        "message": "Pipeline completed successfully",
    }
    assert post["success"] is True
    assert post["message"] == "No postprocessing requested - validation only"


def test_a_failure_to_generate_inputs_is_reported_with_the_stage(model):
    results = model(files=["/nowhere/grid.nc"]).pipeline()
    assert results["success"] is False
    assert results["stage"] == "generate"
    assert results["stages_completed"] == []
    assert results["message"].startswith("Input file generation failed: ")
    assert "the input file /nowhere/grid.nc does not exist (model.files)" in results["error"]
    assert results["run_backend"] == "local"
    assert "run_success" not in results


@pytest.mark.parametrize(
    ("commands", "checks", "error"),
    [
        ("exit 3", {}, "base exited with 3"),
        ("kill -9 $$", {}, "base exited with 137 (SIGKILL)"),
        (
            "true",
            {"must_exist": ["out.nc"]},
            "base exited with 0 but check must_exist: out.nc was not written",
        ),
        ("no-such-program", {}, "the command `no-such-program` exited with 127"),
    ],
)
def test_a_failed_model_is_reported_with_the_stage_and_the_reason(model, commands, checks, error):
    results = model(commands, success=SuccessChecks(**checks)).pipeline()
    assert results["success"] is False
    assert results["stage"] == "run"
    assert results["stages_completed"] == ["generate"]
    assert results["run_success"] is False
    assert results["message"] == "Model run failed"
    assert error in results["error"]
    assert "postprocess_results" not in results


def test_a_timeout_is_a_result_and_not_an_exception(model):
    run = model("while :; do sleep 0.01; done")
    results = run.pipeline(run_kwargs={"timeout": 0.3})
    assert (results["success"], results["stage"], results["run_success"]) == (False, "run", False)
    assert "exceeded its time limit of 0.3 s" in results["error"]
    assert RunRecord.load(run.workspace).state == "timed_out"


@pytest.mark.parametrize(("processor", "error"), [(Raises, "no such variable"), (Fails, "empty")])
def test_a_failed_postprocessor_fails_the_pipeline(model, processor, error):
    run = model()
    results = run.pipeline(processor=processor)
    assert results["success"] is False
    assert results["stage"] == "postprocess"
    assert results["stages_completed"] == ["generate", "run"]
    assert results["run_success"] is True
    assert error in results["error"]
    assert results["message"].startswith("Postprocessing error: ")
    assert RunRecord.load(run.workspace).state == "failed"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"run_backend": "dokcer"}, "there is no run backend 'dokcer'"),
        ({"run_kwargs": {"timout": 5}}, "timout"),
        ({"run_kwargs": {"timeout": -5}}, "timeout"),
        ({"processor": "nop"}, "Did you mean 'noop'"),
    ],
)
def test_an_invalid_selection_raises_value_error_before_the_run_starts(model, settings, error):
    run = model()
    with pytest.raises(ValueError, match=error):
        run.pipeline(**settings)
    assert not run.workspace.path.exists()


@pytest.mark.parametrize("argument", ["run_backend", "processor"])
@pytest.mark.parametrize("value", ["", "  ", None])
def test_an_empty_name_raises_value_error(model, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be a non-empty string"):
        model().pipeline(**{argument: value})


def test_an_invalid_model_run_raises_value_error():
    with pytest.raises(ValueError, match="model_run cannot be None"):
        LocalPipelineBackend().execute(None)
    with pytest.raises(ValueError, match="model_run must have a run_id attribute"):
        LocalPipelineBackend().execute(object())


def test_an_unknown_argument_is_refused_with_the_closest_name_before_anything_is_written(model):
    run = model()
    with pytest.raises(ConfigError, match=r"does not take 'backend_cfg'\. Did you mean 'backend_config'"):
        run.pipeline(backend_cfg=LocalConfig())
    assert not run.workspace.path.exists()


def test_the_backend_config_of_a_pipeline_is_used(model):
    run = model()
    results = run.pipeline("local", backend_config=LocalConfig(command="echo mine > out.nc"))
    assert results["success"] is True
    assert (run.workspace.path / "out.nc").read_text() == "mine\n"
    assert (results["run_backend"], results["backend"]) == ("local", "local")


def test_a_pipeline_with_the_configuration_of_a_container_never_runs_on_this_machine(model, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "bogus")  # no engine, whatever this machine has
    run = model()
    results = run.pipeline("local", backend_config=DockerConfig(image="model:1.0"))
    assert (results["success"], results["stage"], results["backend"]) == (False, "run", "docker")
    assert "DOCKER_HOST=bogus" in results["error"]
    assert not (run.workspace.path / "out.nc").exists()


def test_two_run_backends_for_one_pipeline_are_refused(model):
    run = model()
    with pytest.raises(ConfigError, match="either run_backend or backend_config, not both"):
        run.pipeline(run_backend="docker", backend_config=LocalConfig())
    with pytest.raises(
        ConfigError, match=r"run_kwargs \(timeout\) go with .* put them into backend_config"
    ):
        run.pipeline(backend_config=LocalConfig(), run_kwargs={"timeout": 5})
    assert not run.workspace.path.exists()


def test_settings_are_passed_to_the_backend_and_the_postprocessor(model, tmp_path):
    seen = {}

    class Captures:
        def process(self, model_run, **settings):
            seen.update(settings)
            return {"success": True, "message": ""}

    run = model()
    results = run.pipeline(
        run_kwargs={"command": "echo $A > out.nc", "env_vars": {"A": "1"}},
        processor=Captures,
        process_kwargs={"create_plots": True},
    )
    assert results["success"]
    assert (run.workspace.path / "out.nc").read_text() == "1\n"
    assert seen == {"create_plots": True}


def test_objects_can_be_passed_instead_of_names(model):
    results = model().pipeline(
        LocalPipelineBackend(),
        run_backend=LocalConfig(command="echo object > out.nc"),
        processor=[NoopPostprocessor(), "noop"],
    )
    assert results["success"] is True


@pytest.mark.parametrize(
    ("stages", "done"), [(["generate"], ["generate"]), (["generate", "run"], ["generate", "run"])]
)
def test_a_pipeline_can_stop_after_a_stage_and_resume_there(model, stages, done):
    run = model("echo ran >> out.nc")
    results = run.pipeline(LocalPipelineBackend(stages=stages))
    assert results["success"] is True
    assert results["stages_completed"] == done
    inputs = RunRecord.load(run.workspace).stages["generate"].finished
    results = run.pipeline()
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert RunRecord.load(run.workspace).stages["generate"].finished == inputs
    assert (run.workspace.path / "out.nc").read_text() == "ran\n"


@pytest.mark.parametrize(
    "stages", [[], ["run"], ["generate", "postprocess"], ["run", "generate"], ["compile"]]
)
def test_stages_that_do_not_start_with_generate_in_order_are_rejected(stages):
    with pytest.raises(ValueError, match=r"(?i)stage|generate"):
        LocalPipelineBackend(stages=stages)


def test_cleaning_up_after_a_failure_keeps_the_log_the_record_and_existing_files(model):
    run = model("echo the reason; mkdir deep; echo data > deep/out.nc; exit 3", directories=["restart"])
    run.workspace.create()
    (run.workspace.path / "notes.txt").write_text("mine")
    results = run.pipeline(cleanup_on_failure=True)
    assert results["success"] is False
    left = sorted(str(path.relative_to(run.workspace.path)) for path in run.workspace.path.rglob("*"))
    kept = {
        "notes.txt",
        "run.log",
        "run.json",
        "run.sh",
        "exit_code",
        "claims",
        "claims/1.json",
        "restart",
    }
    assert set(left) == kept
    assert run.workspace.log.read_text() == "the reason\n"
    record = RunRecord.load(run.workspace)
    assert record.state == "failed"
    assert [fact.path for fact in record.outputs] == ["deep/out.nc"]


def test_nothing_is_cleaned_up_by_default(model):
    run = model("echo data > out.nc; exit 3")
    run.pipeline()
    assert (run.workspace.path / "out.nc").exists()


def test_outputs_are_kept_if_only_postprocessing_failed(model):
    run = model()
    results = run.pipeline(processor=Raises, cleanup_on_failure=True)
    assert results["stage"] == "postprocess"
    assert (run.workspace.path / "out.nc").read_text() == "data\n"


def test_cleaning_up_does_not_touch_other_runs(model):
    mine = model("echo mine > out.nc")
    assert mine.pipeline()["success"]
    other = model("echo other > out.nc; exit 3")
    results = other.pipeline(cleanup_on_failure=True)
    assert "holds another configuration" in results["error"]
    assert (mine.workspace.path / "out.nc").read_text() == "mine\n"


def test_a_run_that_was_cleaned_up_can_be_repeated(model, tmp_path):
    run = model(f"[ -e '{tmp_path}/fixed' ] || exit 3; echo data > out.nc")
    assert not run.pipeline(cleanup_on_failure=True)["success"]
    (tmp_path / "fixed").touch()
    assert run.pipeline(cleanup_on_failure=True)["success"]
    assert (run.workspace.path / "out.nc").exists()


def test_a_stage_of_an_earlier_attempt_is_not_reported_as_completed_in_this_one(model, tmp_path):
    run = model(f"[ ! -e '{tmp_path}/broken' ] || exit 3; echo data > out.nc")
    assert run.pipeline()["success"]
    (tmp_path / "broken").touch()
    (run.workspace.path / "out.nc").unlink()
    results = run.pipeline()
    assert (results["stage"], results["stages_completed"]) == ("run", ["generate"])
    assert RunRecord.load(run.workspace).stages["postprocess"].state == "pending"
