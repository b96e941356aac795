"""Answers of the verbs and of the local pipeline: words, keys and exceptions as in rompy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from rompy_hydra import (
    BaseConfig,
    LocalConfig,
    LocalPipelineBackend,
    LocalRunBackend,
    ModelRun,
    NoopPostprocessor,
    TemplateModel,
)
from rompy_hydra.errors import ConfigError, GenerateError, UnknownPlugin
from rompy_hydra.workspace.record import RunRecord


@pytest.fixture
def run(tmp_path):
    return ModelRun(
        run_id="shoal", output_dir=tmp_path, config=BaseConfig(commands=["echo data > out.txt"])
    )


class Raises:
    """In the shape of rompy's configurations."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, runtime):
        raise self.error()


class Odd(Exception):
    """An exception that cannot be sent to another process."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = lambda: two


# --- arguments ------------------------------------------------------------------------------------


def test_unknown_names_raise_a_value_error_everywhere_and_nothing_is_generated(run):
    for call in (
        lambda: run.run("cloud"),
        lambda: run.postprocess("cloud"),
        lambda: run.pipeline("cloud"),
        lambda: run.pipeline(run_backend="cloud"),
        lambda: run.pipeline(processor="cloud"),
        lambda: run.pipeline(processor=["noop", "cloud"]),
        lambda: LocalPipelineBackend().execute(run, run_backend="cloud"),
    ):
        with pytest.raises(ValueError, match=r"there is no .* 'cloud'") as error:
            call()
        assert isinstance(error.value, UnknownPlugin)
    assert not run.workspace.exists()


@pytest.mark.parametrize("value", [3, None, True, 1.5, b"local"])
def test_something_that_is_no_choice_raises_a_value_error(run, value):
    for name, call in {
        "run_backend": lambda: run.pipeline(run_backend=value),
        "processor": lambda: run.pipeline(processor=value),
        "backend": lambda: run.run(value),
        "processor ": lambda: run.postprocess(value),
        "pipeline_backend": lambda: run.pipeline(value),
        "backend_config": lambda: run.pipeline(backend_config="" if value is None else value),
    }.items():
        with pytest.raises(ValueError, match=f"^{name.strip()} must be a non-empty string") as error:
            call()
        assert f"not {value!r}" in str(error.value) or value is None
    assert not run.workspace.exists()


@pytest.mark.parametrize("value", ["", "  ", [], (), ["noop", ""], [None]])
def test_an_empty_choice_of_postprocessors_raises_a_value_error(run, value):
    for call in (lambda: run.postprocess(value), lambda: run.pipeline(processor=value)):
        with pytest.raises(ValueError, match="processor must be a non-empty string"):
            call()
    assert not run.workspace.exists()


@pytest.mark.parametrize("name", ["run_kwargs", "process_kwargs"])
@pytest.mark.parametrize("value", [5, "timeout=3", ["timeout"], {3: 4}])
def test_settings_must_be_a_mapping(run, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a mapping of settings by name, not "):
        run.pipeline(**{name: value})
    assert not run.workspace.exists()


def test_unknown_settings_are_refused_with_the_closest_name(run):
    for settings, words in (
        ({"run_kwargs": {"time_out": 3}}, "time_out"),
        ({"process_kwargs": {"validate": True}}, "validate"),
        (
            {"cleanup_on_failur": True},
            r"does not take 'cleanup_on_failur'\. Did you mean 'cleanup_on_failure'\?",
        ),
        ({"region": "south"}, r"does not take 'region'\. Choices: "),
    ):
        with pytest.raises(ValueError, match=words):
            run.pipeline(**settings)
    with pytest.raises(
        ConfigError, match=r"noop postprocessor has no setting 'validate_output'\. Did you mean"
    ):
        NoopPostprocessor().process(run, validate_output=True)
    assert not run.workspace.exists()


@pytest.mark.parametrize("name", ["cleanup_on_failure", "validate_stages"])
def test_switches_of_the_pipeline_must_be_true_or_false(run, name):
    with pytest.raises(ValueError, match=f"{name} must be True or False, not 5"):
        LocalPipelineBackend().execute(run, **{name: 5})
    with pytest.raises(ValueError, match=f"{name}: Input should be a valid boolean"):
        run.pipeline(**{name: 5})


# --- words and keys -------------------------------------------------------------------------------


def test_a_successful_pipeline_answers_as_in_the_reference(run):
    assert run.pipeline(run_backend="local", processor="noop") == {
        "success": True,
        "run_id": "shoal",
        "stages_completed": ["generate", "run", "postprocess"],
        "run_backend": "local",
        "processor": "noop",
        "staging_dir": str(run.staging_dir),
        "run_success": True,
        "postprocess_results": {
            "success": True,
            "message": "No postprocessing requested - validation only",
            "run_id": "shoal",
            "output_dir": str(run.staging_dir),
            "validated": True,
        },
        "message": "Pipeline completed successfully",
    }


def test_a_failed_run_is_answered_in_the_words_of_the_reference(run):
    results = run.pipeline(run_kwargs={"command": "echo no bathymetry; exit 3"})
    error, kind = results.pop("error"), results.pop("error_type")
    assert results == {
        "success": False,
        "run_id": "shoal",
        "stages_completed": ["generate"],
        "run_backend": "local",
        "processor": "noop",
        "staging_dir": str(run.staging_dir),
        "run_success": False,
        "stage": "run",
        "message": "Model run failed",
    }
    assert "base exited with 3" in error
    assert "no bathymetry" in error
    assert kind == "ModelFailed"


def test_a_run_that_raises_is_answered_with_the_reason(run):
    results = run.pipeline(run_kwargs={"command": "sleep 60", "timeout": 0.2})
    assert results["message"].startswith("Model run error: the model exceeded its time limit of 0.2 s")
    assert "\n" not in results["message"]
    assert (results["stage"], results["stages_completed"]) == ("run", ["generate"])


def test_a_failure_to_generate_is_answered_in_the_words_of_the_reference(tmp_path):
    run = ModelRun(run_id="x", output_dir=tmp_path, config=Raises(partial(KeyError, "bathymetry")))
    results = run.pipeline()
    assert (results["stage"], results["stages_completed"]) == ("generate", [])
    assert results["message"] == "Input file generation failed: 'bathymetry'"
    assert "Raises could not write its inputs: KeyError: 'bathymetry'" in results["error"]
    assert "staging_dir" not in results
    assert "run_success" not in results
    template = TemplateModel(template=str(tmp_path / "nowhere"))
    results = ModelRun(run_id="y", output_dir=tmp_path, config=template).pipeline()
    assert results["stage"] == "generate"
    assert results["message"].startswith("Input file generation failed: ")


def test_a_failed_postprocessor_is_answered_in_the_words_of_the_reference(run):
    class Fails:
        def process(self, model_run):
            raise RuntimeError("no variable eta")

    results = run.pipeline(processor=Fails)
    assert (results["stage"], results["stages_completed"]) == ("postprocess", ["generate", "run"])
    assert results["message"].startswith("Postprocessing error: ")
    assert "no variable eta" in results["message"]
    assert results["run_success"] is True


def test_noop_answers_with_the_errors_inside_it(run):
    run.run()
    for wrong in (5, "a\0b" * 3):
        found = NoopPostprocessor().process(run, output_dir=wrong)
        assert found["success"] is False
        assert found["run_id"] == "shoal"
        assert found["message"].startswith(("Error in postprocessor: ", "Output directory not found"))
    assert NoopPostprocessor().process(run, output_dir=5)["error"]


# --- what the model raised ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (KeyError, ["bathymetry"]),
        (ValueError, ["bad"]),
        (FileNotFoundError, [2, "gone", "/no/such/file"]),
        (Odd, ["one", 2]),
    ],
)
def test_generate_raises_what_the_model_raised_with_the_explanation_as_its_cause(tmp_path, kind, arguments):
    run = ModelRun(run_id="x", output_dir=tmp_path, config=Raises(partial(kind, *arguments)))
    with pytest.raises(kind) as raised:
        run.generate()
    cause = raised.value.__cause__
    assert isinstance(cause, GenerateError)
    assert str(cause).startswith("Raises could not write its inputs: ")
    assert RunRecord.load(run.workspace).error["type"] == "ModelRaised"
    assert run.run() is False


def test_generate_in_a_thread_raises_what_the_model_raised_if_it_can_be_sent(tmp_path):
    def generate(run_id, error):
        with ThreadPoolExecutor(1) as pool:
            run = ModelRun(run_id=run_id, output_dir=tmp_path, config=Raises(error))
            return pool.submit(run.generate).result()

    with pytest.raises(KeyError) as raised:
        generate("sent", partial(KeyError, "bathymetry"))
    assert "could not write its inputs: KeyError: 'bathymetry'" in str(raised.value.__cause__)
    with pytest.raises(GenerateError, match="could not write its inputs: Odd: one"):
        generate("kept", partial(Odd, "one", 2))


# --- subclasses with verbs of their own -----------------------------------------------------------


class Traced(ModelRun):
    """A run with verbs of its own."""

    _called: list = []

    def generate(self, **settings):
        self._called.append("generate")
        return super().generate(**settings)

    def run(self, backend="local", workspace_dir=None, **settings):
        self._called.append(("run", type(backend).__name__, workspace_dir is None))
        return super().run(backend, workspace_dir, **settings)

    def postprocess(self, processor="noop", **settings):
        self._called.append("postprocess")
        return {**super().postprocess(processor, **settings), "mine": 1}


def traced(tmp_path, kind=Traced, **fields):
    run = kind(
        run_id="own", output_dir=tmp_path, config=BaseConfig(commands=["echo x > out.txt"]), **fields
    )
    run._called = []
    return run


@pytest.mark.parametrize("call", ["pipeline", "execute"])
def test_the_verbs_of_a_subclass_are_called(tmp_path, call):
    run = traced(tmp_path)
    results = run.pipeline() if call == "pipeline" else LocalPipelineBackend().execute(run)
    assert results["success"] is True, results
    assert [each if isinstance(each, str) else each[0] for each in run._called] == [
        "generate",
        "run",
        "postprocess",
    ]
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert results["postprocess_results"]["mine"] == 1
    assert results["staging_dir"] == str(run.staging_dir)
    record = RunRecord.load(run.workspace)
    assert record.state == "completed"
    assert record.attempt == 1


def test_a_verb_that_fails_or_raises_fails_the_pipeline(tmp_path):
    class Refuses(Traced):
        def run(self, *args, **settings):
            return False

    class Breaks(Traced):
        def run(self, *args, **settings):
            raise RuntimeError("Run failed")

    class Breaks2(Traced):
        def generate(self, **settings):
            raise RuntimeError("Generate failed")

    class Breaks3(Traced):
        def postprocess(self, *args, **settings):
            raise RuntimeError("Postprocess failed")

    class Reports(Traced):
        def postprocess(self, *args, **settings):
            return {"success": False, "message": "had issues"}

    found = {}
    for kind in (Refuses, Breaks, Breaks2, Breaks3, Reports):
        results = traced(tmp_path / kind.__name__, kind).pipeline()
        assert results["success"] is False
        found[kind.__name__] = results["stage"], results["message"], len(results["stages_completed"])
    assert found == {
        "Refuses": ("run", "Model run failed", 1),
        "Breaks": ("run", "Model run error: Run failed", 1),
        "Breaks2": ("generate", "Input file generation failed: Generate failed", 0),
        "Breaks3": ("postprocess", "Postprocessing error: Postprocess failed", 2),
        "Reports": ("postprocess", "Postprocessing error: had issues", 2),
    }


def test_a_generate_that_makes_no_directory_is_noticed(tmp_path):
    class Elsewhere(Traced):
        def generate(self, **settings):
            return str(tmp_path / "nonexistent")

    results = traced(tmp_path, Elsewhere).pipeline()
    assert (results["success"], results["stage"]) == (False, "generate")
    assert "not found after generation" in results["message"]


def test_an_object_with_the_verbs_alone_can_be_executed(tmp_path):
    class Plain:
        run_id = "plain"

        def generate(self):
            (tmp_path / "plain").mkdir()
            return tmp_path / "plain"

        def run(self, backend, workspace_dir=None):
            return Path(workspace_dir).is_dir()

        def postprocess(self, processor, **settings):
            return {"success": True, "message": "done"}

    results = LocalPipelineBackend().execute(Plain())
    assert results["success"] is True, results
    assert results["postprocess_results"] == {"success": True, "message": "done"}


# --- other values that make no sense --------------------------------------------------------------


@pytest.mark.parametrize("value", [5, "", b"x", True, ["a"]])
def test_a_workspace_must_be_a_path(run, value, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for call in (
        lambda: run.run("local", workspace_dir=value, command="touch out"),
        lambda: LocalRunBackend().run(run, LocalConfig(command="touch out"), workspace_dir=value),
    ):
        with pytest.raises(ValueError, match=r"workspace_dir must be the path of a directory, not "):
            call()
    assert list(Path.cwd().iterdir()) == []


def test_a_workspace_that_does_not_exist_is_a_failure(run, tmp_path):
    assert run.run("local", workspace_dir=tmp_path / "missing", command="true") is False


def test_settings_beside_an_object_that_holds_its_own_are_refused(run):
    with pytest.raises(ConfigError, match=r"settings \(timeout\) go with a backend's name"):
        run.run(LocalConfig(), timeout=5)
    with pytest.raises(ConfigError, match=r"settings \(timeout\) go with a backend's name"):
        run.pipeline(run_backend=LocalConfig(), run_kwargs={"timeout": 5})
    assert not run.workspace.exists()
