"""The examples of the plugin reference, as users would write them, with real entry points.

The Docker examples are only constructed here; tests/run/test_docker.py executes them.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from rompy_hydra import (
    BaseConfig,
    DockerConfig,
    LocalConfig,
    LocalPipelineBackend,
    LocalRunBackend,
    ModelRun,
    NoopPostprocessor,
    TimeRange,
)
from rompy_hydra.adapters.resolve import resolve_backend


@pytest.fixture
def model(tmp_path):
    """A model run as in the reference, with a model that can run on this machine."""
    return ModelRun(
        run_id="my_run",
        period=TimeRange(start="2020-02-21T04:00", end="2020-02-24T04:00", interval="15M"),
        output_dir=str(tmp_path / "output"),
        config=BaseConfig(commands=["echo data > out.nc"]),
    )


@pytest.fixture
def my_model_executable(tmp_path):
    path = tmp_path / "my_model_executable"
    path.write_text("#!/bin/sh\necho $OMP_NUM_THREADS > threads.txt\n")
    path.chmod(0o755)
    return path


# --- built-in run backends ----------------------------------------------------------------------


def test_basic_local_execution(model):
    success = model.run(backend="local")
    assert success is True


def test_local_execution_with_a_custom_command(model, my_model_executable):
    model.generate()
    (model.staging_dir / "my_model_executable").symlink_to(my_model_executable)
    success = model.run(
        backend="local",
        command="./my_model_executable",
        env_vars={"OMP_NUM_THREADS": "4"},
        timeout=3600,
    )
    assert success is True
    assert (model.staging_dir / "threads.txt").read_text() == "4\n"


def test_docker_settings_with_an_image_are_accepted(model):
    chosen = resolve_backend(
        "docker",
        {
            "image": "rompy/schism:latest",
            "executable": "/usr/local/bin/schism",
            "cpu": 4,
            "volumes": ["./data:/data:ro"],
            "env_vars": {"MODEL_CONFIG": "production"},
        },
    )
    assert chosen.plugin_name == "docker"
    assert chosen.config == DockerConfig(
        image="rompy/schism:latest",
        executable="/usr/local/bin/schism",
        cpu=4,
        volumes=["./data:/data:ro"],
        env_vars={"MODEL_CONFIG": "production"},
    )
    assert not model.staging_dir.exists()


def test_docker_settings_with_a_dockerfile_are_accepted():
    settings = {
        "dockerfile": "./docker/Dockerfile",
        "build_args": {"MODEL_VERSION": "1.0.0"},
        "executable": "/usr/local/bin/model",
        "mpiexec": "mpiexec",
        "cpu": 8,
    }
    chosen = resolve_backend("docker", settings)
    assert chosen.commands(BaseConfig()) == ("mpiexec -n 8 /usr/local/bin/model",)


# --- the API reference of the local parts --------------------------------------------------------


def test_the_local_run_backend_is_called_with_its_configuration(model):
    backend = LocalRunBackend()
    workspace = model.generate()
    assert (
        backend.run(model, config=LocalConfig(command="echo one > one.txt"), workspace_dir=workspace)
        is True
    )
    assert backend.run(model, LocalConfig(command="exit 1"), workspace_dir=workspace) is False
    assert (Path(workspace) / "one.txt").exists()


def test_the_local_run_backend_generates_inputs_if_no_workspace_is_given(model):
    assert LocalRunBackend().run(model, LocalConfig()) is True
    assert (model.staging_dir / "out.nc").exists()


def test_the_local_run_backend_rejects_an_invalid_model_run():
    with pytest.raises(ValueError, match="model_run cannot be None"):
        LocalRunBackend().run(None, LocalConfig())
    with pytest.raises(ValueError, match="model_run must have a run_id attribute"):
        LocalRunBackend().run(object(), LocalConfig())


def test_the_local_run_backend_raises_a_timeout_error(model):
    config = LocalConfig(command="while :; do sleep 0.01; done", timeout=0.3)
    with pytest.raises(TimeoutError):
        LocalRunBackend().run(model, config)
    with pytest.raises(TimeoutError):
        model.run(backend="local", command="while :; do sleep 0.01; done", timeout=0.3)


def test_a_working_directory_that_does_not_exist_is_a_failure(model, tmp_path):
    assert LocalRunBackend().run(model, LocalConfig(working_dir=str(tmp_path / "missing"))) is False


def test_basic_validation_with_noop(model):
    model.run(backend="local")
    results = model.postprocess(processor="noop")
    assert results == {
        "success": True,
        "message": "No postprocessing requested - validation only",
        "run_id": "my_run",
        "output_dir": str(model.staging_dir),
        "validated": True,
    }


def test_noop_with_a_custom_validation(model, tmp_path):
    (tmp_path / "custom_output").mkdir()
    results = model.postprocess(
        processor="noop", validate_outputs=True, output_dir=str(tmp_path / "custom_output")
    )
    assert results["success"] is True
    assert results["output_dir"] == str(tmp_path / "custom_output")
    missing = str(tmp_path / "missing")
    results = model.postprocess(processor="noop", validate_outputs=True, output_dir=missing)
    assert results == {
        "success": False,
        "message": f"Output directory not found: {missing}",
        "run_id": "my_run",
        "output_dir": missing,
    }
    results = model.postprocess(processor="noop", validate_outputs=False, output_dir=missing)
    assert (results["success"], results["validated"]) == (True, False)


def test_the_noop_postprocessor_is_called_directly(model):
    processor = NoopPostprocessor()
    assert processor.process(model)["success"] is False
    assert processor.process(model, validate_outputs=False)["success"] is True
    # The reference ignores it; here nothing is ignored that somebody asked for.
    with pytest.raises(ValueError, match="no setting 'unused_argument'"):
        processor.process(model, unused_argument=1)
    with pytest.raises(ValueError, match="model_run cannot be None"):
        processor.process(None)
    with pytest.raises(ValueError, match="model_run must have a run_id attribute"):
        processor.process(object())


def test_the_basic_pipeline(model):
    results = model.pipeline(pipeline_backend="local")
    assert results["success"] is True
    assert results["run_id"] == "my_run"
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert results["message"] == "Pipeline completed successfully"


def test_the_local_pipeline_is_called_directly(model):
    results = LocalPipelineBackend().execute(
        model,
        run_backend="local",
        processor="noop",
        run_kwargs={"timeout": 3600},
        process_kwargs={"validate_outputs": True},
        cleanup_on_failure=True,
        validate_stages=True,
    )
    assert results["success"] is True
    assert results["run_success"] is True
    for arguments in ({"run_backend": ""}, {"processor": " "}):
        with pytest.raises(ValueError, match="must be a non-empty string"):
            LocalPipelineBackend().execute(model, **arguments)


def test_an_unsupported_backend_raises_value_error_before_anything_is_generated(model):
    with pytest.raises(ValueError, match="there is no run backend 'cloud'"):
        model.pipeline(pipeline_backend="local", run_backend="cloud")
    assert not model.staging_dir.exists()


# --- custom plugins, as in the reference ---------------------------------------------------------

MYPACKAGE = '''
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


class CustomRunBackend:
    """Custom run backend example."""

    def run(self, model_run, **kwargs):
        try:
            # Generate model inputs
            model_run.generate()

            # Custom execution logic here
            return self._execute_custom_logic(model_run, **kwargs)

        except Exception as e:
            logger.exception(f"Custom backend failed: {e}")
            return False

    def _execute_custom_logic(self, model_run, queue="normal", fail=False, **kwargs):
        if fail:
            raise RuntimeError("the queue is closed")
        output_dir = Path(model_run.output_dir) / model_run.run_id
        (output_dir / "out.nc").write_text(queue)
        return True


class AnalysisPostprocessor:
    """Custom postprocessor for model analysis."""

    def process(self, model_run, **kwargs):
        try:
            output_dir = Path(model_run.output_dir) / model_run.run_id

            # Custom analysis logic
            metrics = self._calculate_metrics(output_dir)
            plots = self._generate_plots(output_dir) if kwargs.get("create_plots") else []

            return {
                "success": True,
                "metrics": metrics,
                "plots": plots,
                "message": "Analysis completed successfully"
            }

        except Exception as e:
            return {
                "success": False,
                "error": str(e),
                "message": f"Analysis failed: {e}"
            }

    def _calculate_metrics(self, output_dir):
        return {"size": (output_dir / "out.nc").stat().st_size}

    def _generate_plots(self, output_dir):
        (output_dir / "plot.png").write_bytes(b"png")
        return [str(output_dir / "plot.png")]


class CloudPipelineBackend:
    """Pipeline backend for cloud execution."""

    def execute(self, model_run, **kwargs):
        results = {
            "success": False,
            "run_id": model_run.run_id,
            "stages_completed": []
        }

        try:
            # Stage 1: Generate inputs
            model_run.generate()
            results["stages_completed"].append("generate")

            # Stage 2: Submit to cloud
            job_id = self._submit_cloud_job(model_run, **kwargs)
            results["job_id"] = job_id
            results["stages_completed"].append("submit")

            # Stage 3: Wait for completion
            self._wait_for_completion(job_id)
            results["stages_completed"].append("execute")

            # Stage 4: Download and process results
            outputs = self._download_results(job_id)
            processed = self._process_outputs(outputs, **kwargs)
            results["outputs"] = processed
            results["stages_completed"].append("postprocess")

            results["success"] = True
            return results

        except Exception as e:
            results["error"] = str(e)
            return results

    def _submit_cloud_job(self, model_run, region="south", **kwargs):
        if region == "nowhere":
            raise ValueError("no such region")
        return f"job-{region}"

    def _wait_for_completion(self, job_id):
        pass

    def _download_results(self, job_id):
        return ["a.nc"]

    def _process_outputs(self, outputs, **kwargs):
        return {"files": outputs}
'''

ENTRY_POINTS = """
[rompy.run]
custom = mypackage.plugins:CustomRunBackend
broken = mypackage.missing:Backend

[rompy.postprocess]
analysis = mypackage.plugins:AnalysisPostprocessor

[rompy.pipeline]
cloud = mypackage.plugins:CloudPipelineBackend
"""


@pytest.fixture
def with_mypackage(tmp_path, start_driver):
    """Run code in a process in which the user's package is installed; returns what it passes to `tell`."""
    site = tmp_path / "site"
    for name, text in {
        "mypackage/__init__.py": "",
        "mypackage/plugins.py": MYPACKAGE,
        "mypackage-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: mypackage\nVersion: 1.2\n",
        "mypackage-1.2.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)

    def run(code):
        head = """
        import json
        def tell(**facts):
            Path("told.json").write_text(json.dumps(facts, default=str))
        def model(run_id="my_run"):
            return ModelRun(run_id=run_id, output_dir="output", config=BaseConfig())
        """
        driver = start_driver(textwrap.dedent(head) + textwrap.dedent(code), PYTHONPATH=str(site))
        assert driver.wait() == 0, driver.output
        return json.loads((tmp_path / "told.json").read_text())

    return run


def test_custom_backends_postprocessors_and_pipelines_are_found_by_name(with_mypackage, tmp_path):
    told = with_mypackage("""
        good = model()
        ran = good.run(backend="custom", queue="fast")
        analysed = good.postprocess(processor="analysis", create_plots=True)
        state = json.loads(Path("output/my_run/run.json").read_text())
        failed = model("failed").run(backend="custom", fail=True)
        empty = model("empty").postprocess(processor="analysis")
        tell(
            ran=ran, analysed=analysed, failed=failed, empty=empty,
            state=state["state"], backend=state["run_backend"], metrics=state["metrics"],
            outputs=[f["path"] for f in state["outputs"]], products=[f["path"] for f in state["products"]],
            out=Path("output/my_run/out.nc").read_text(),
        )
    """)
    assert told["ran"] is True
    assert told["out"] == "fast"
    assert told["failed"] is False
    assert told["analysed"]["message"] == "Analysis completed successfully"
    assert told["analysed"]["plots"] == ["output/my_run/plot.png"]
    assert (told["empty"]["success"], told["empty"]["message"][:15]) == (False, "Analysis failed")
    assert told["state"] == "completed"
    assert told["backend"]["name"] == "custom"
    assert told["outputs"] == ["out.nc"]
    assert told["metrics"] == {"size": 4}
    assert set(told["products"]) == {"metrics.json", "plot.png"}


def test_the_local_pipeline_accepts_custom_plugins(with_mypackage):
    told = with_mypackage("""
        good = model().pipeline(
            pipeline_backend="local",
            run_backend="custom",
            processor="analysis",
            run_kwargs={"queue": "fast"},
            process_kwargs={"create_plots": True},
            cleanup_on_failure=True,
        )
        bad = model("bad").pipeline(run_backend="custom", run_kwargs={"fail": True}, processor="analysis")
        tell(good=good, bad=bad)
    """)
    assert told["good"]["success"] is True
    assert told["good"]["stages_completed"] == ["generate", "run", "postprocess"]
    assert told["good"]["postprocess_results"]["metrics"] == {"size": 4}
    assert (told["bad"]["success"], told["bad"]["stage"]) == (False, "run")
    assert "the run backend custom reported a failure" in told["bad"]["error"]


def test_the_local_pipeline_passes_on_the_settings_of_the_container(with_mypackage):
    told = with_mypackage("""
        import os
        os.environ["DOCKER_HOST"] = "bogus"  # no engine, whatever this machine has
        results = model().pipeline(
            pipeline_backend="local",
            run_backend="docker",
            processor="analysis",
            run_kwargs={"image": "rompy/model:latest", "cpu": 4},
            process_kwargs={"create_plots": True},
            cleanup_on_failure=True,
        )
        try:
            model("wrong").pipeline(run_backend="docker", run_kwargs={"image": "x", "cpus": 4})
        except ValueError as error:
            tell(results=results, wrong=str(error), left=Path("output/wrong").exists())
    """)
    results = told["results"]
    assert (results["success"], results["stage"], results["run_backend"]) == (False, "run", "docker")
    assert results["processor"] == "analysis"
    assert "nothing to execute" in results["error"] or "DOCKER_HOST=bogus" in results["error"]
    assert "cpus" in told["wrong"]
    assert told["left"] is False


def test_a_custom_pipeline_is_found_by_name(with_mypackage):
    told = with_mypackage("""
        tell(
            good=model().pipeline(pipeline_backend="cloud", region="north"),
            bad=model("bad").pipeline(pipeline_backend="cloud", region="nowhere"),
        )
    """)
    good, bad = told["good"], told["bad"]
    assert good["success"] is True
    assert good["run_id"] == "my_run"
    assert good["stages_completed"] == ["generate", "submit", "execute", "postprocess"]
    assert good["job_id"] == "job-north"
    assert good["outputs"] == {"files": ["a.nc"]}
    assert (bad["success"], bad["stages_completed"], bad["error"]) == (
        False,
        ["generate"],
        "no such region",
    )


def test_a_broken_plugin_is_reported_with_its_distribution_only_when_selected(with_mypackage):
    told = with_mypackage("""
        fine = model().run(backend="custom")
        try:
            model("broken").run(backend="broken")
        except Exception as error:
            left = Path("output/broken").exists()
            tell(fine=fine, kind=type(error).__name__, message=str(error), left=left)
    """)
    assert told["fine"] is True
    assert told["kind"] == "PluginError"
    assert "'broken' of the distribution mypackage 1.2" in told["message"]
    assert "No module named 'mypackage.missing'" in told["message"]
    assert told["left"] is False


# --- plain classes, without any entry point -------------------------------------------------------


def test_a_plain_class_or_object_with_run_is_a_backend(model):
    class Plain:
        def run(self, model_run, **kwargs):
            model_run.generate()
            (Path(model_run.output_dir) / model_run.run_id / "out.nc").write_text("data")
            return True

    assert model.run(Plain) is True
    assert model.run(Plain()) is True


def test_a_backend_with_a_config_and_a_workspace_works_as_in_the_reference(model, tmp_path):
    seen = []

    class Config:
        def get_backend_class(self):
            return Backend

    class Backend:
        def run(self, model_run, config, workspace_dir=None):
            seen.append((type(config).__name__, workspace_dir))
            return True

    assert model.run(Config()) is True
    assert seen == [("Config", str(model.staging_dir))]


@pytest.mark.parametrize("answer", [None, "yes", 1, {}])
def test_a_backend_that_does_not_return_a_boolean_has_failed(model, answer):
    class Vague:
        def run(self, model_run, **kwargs):
            return answer

    assert model.run(Vague) is False


def test_an_exception_in_a_backend_is_a_failure_and_a_timeout_raises_timeout_error(model):
    class Raises:
        def run(self, model_run, error):
            raise error

    assert model.run(Raises, error=KeyError("bathymetry")) is False
    with pytest.raises(TimeoutError, match="no answer in an hour"):
        model.run(Raises, error=TimeoutError("no answer in an hour"))
    results = model.pipeline(run_backend=Raises, run_kwargs={"error": RuntimeError("closed")})
    assert (results["success"], results["stage"]) == (False, "run")
    assert "RuntimeError: closed" in results["error"]


def test_the_checks_of_the_model_apply_to_any_backend(tmp_path):
    class Claims:
        def run(self, model_run, **kwargs):
            return True

    config = BaseConfig(success={"must_exist": ["out.nc"]})
    run = ModelRun(run_id="claims", output_dir=tmp_path, config=config)
    assert run.run(Claims) is False


def test_an_unknown_setting_of_a_plugin_is_reported_before_the_run_starts(model):
    class Strict:
        def run(self, model_run, queue="normal"):
            return True

    assert model.run(Strict, queue="fast") is True
    with pytest.raises(ValueError, match="que"):
        model.run(Strict, que="fast")
