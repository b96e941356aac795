from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from rompy_hydra import BaseConfig, LocalConfig, ModelRun, NoopPostprocessor, TemplateModel, TimeRange
from rompy_hydra.errors import ConfigError, GenerateError, PluginError, RompyHydraError
from rompy_hydra.models import Beach
from rompy_hydra.workspace.record import RunRecord


@pytest.fixture
def template(tmp_path):
    directory = tmp_path / "template"
    directory.mkdir()
    (directory / "INPUT").write_text("friction={{ model.friction }}\nrun={{ run.run_id }}\n")
    return directory


@pytest.fixture
def model(tmp_path, template):
    """A run of a template model that copies its input to its output."""

    def model(run_id="shoal", friction=0.02, **fields):
        fields = {"commands": ["cp INPUT out.txt; echo done"]} | fields
        config = TemplateModel(template=str(template), parameters={"friction": friction}, **fields)
        return ModelRun(run_id=run_id, output_dir=tmp_path / "runs", config=config)

    return model


def test_every_field_has_a_default_and_creating_a_run_does_not_touch_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ModelRun()
    assert isinstance(run.config, BaseConfig)
    assert isinstance(run.period, TimeRange)
    assert run.staging_dir == run.workspace.path == tmp_path / "runs" / "run_id"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_id", ["", "..", "a/b", "../../etc", "a\nb", " x"])
def test_a_run_id_that_leaves_the_output_directory_is_rejected(run_id):
    with pytest.raises(ValidationError, match="must be the name of one directory"):
        ModelRun(run_id=run_id)


def test_an_unknown_field_is_rejected():
    with pytest.raises(ValidationError, match="outputdir"):
        ModelRun(outputdir="x")


def test_plain_data_become_the_model_configuration_that_their_model_type_names(tmp_path):
    run = ModelRun(output_dir=tmp_path, config={"model_type": "beach", "friction": 0.03})
    assert run.config == Beach(friction=0.03)
    run.generate()
    assert (run.workspace.path / "parameters.json").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "beech"}, "there is no model configuration 'beech'. Did you mean 'beach'"),
        ({"model_type": "beach", "fricton": 1}, r"fricton: no such setting\. Did you mean 'friction'"),
        ({"friction": 0.03}, r"have no model_type, the name of a model configuration\. Choices: .*beach"),
        ({"model_type": 3}, "have no model_type"),
        ("beach", "'beach' is not a model configuration"),
        ([], r"\[\] is not a model configuration"),
        (None, "None is not a model configuration"),
    ],
)
def test_data_that_describe_no_model_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        ModelRun(config=config)


def test_an_empty_configuration_generates_a_directory_but_cannot_run(tmp_path):
    run = ModelRun(run_id="empty", output_dir=tmp_path)
    assert Path(run.generate()) == tmp_path / "empty"
    assert run.run() is False
    assert "nothing to execute: the model has no commands" in RunRecord.load(run.workspace).error["message"]


def test_a_model_without_execution_succeeds_if_its_checks_pass(tmp_path, template):
    fields = {"template": str(template), "parameters": {"friction": 1}, "needs_execution": False}
    good = TemplateModel(**fields, success={"must_exist": ["INPUT"]})
    run = ModelRun(run_id="inputs only", output_dir=tmp_path, config=good)
    assert run.run() is True
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("completed", None)
    bad = TemplateModel(**fields, success={"must_exist": ["grid.nc"]})
    run = ModelRun(run_id="incomplete", output_dir=tmp_path, config=bad)
    assert run.run() is False
    assert (
        "template was generated but check must_exist: grid.nc was not written"
        in (RunRecord.load(run.workspace).error["message"])
    )


def test_generate_writes_the_inputs_and_returns_the_directory(model):
    run = model()
    directory = Path(run.generate())
    assert (directory / "INPUT").read_text() == "friction=0.02\nrun=shoal\n"
    assert (directory / "run.sh").exists()
    record = RunRecord.load(run.workspace)
    assert record.state == "pending"
    assert record.stages["generate"].state == "completed"
    assert [(fact.path, fact.size) for fact in record.inputs] == [("INPUT", 24)]


def test_run_generates_the_inputs_if_necessary(model):
    run = model()
    assert run.run() is True
    assert (run.workspace.path / "out.txt").read_text() == "friction=0.02\nrun=shoal\n"


def test_files_are_copied_or_linked_and_directories_are_created(tmp_path, model):
    source = tmp_path / "big data.nc"
    source.write_bytes(b"\0" * 1000)
    source.chmod(0o640)
    files = [str(source), {"source": str(source), "target": "in/link.nc", "link": True}]
    run = model(files=files, directories=["outputs/deep", "restart"])
    directory = Path(run.generate())
    assert (directory / "big data.nc").read_bytes() == b"\0" * 1000
    assert not (directory / "big data.nc").is_symlink()
    assert (directory / "big data.nc").stat().st_mode & 0o777 == 0o640
    assert (directory / "in" / "link.nc").readlink() == source
    assert (directory / "outputs" / "deep").is_dir()
    assert (directory / "restart").is_dir()


def test_an_executable_template_stays_executable_in_the_run(template, model):
    (template / "pre.sh").write_text("#!/bin/sh\necho {{ model.friction }} > pre.txt\n")
    (template / "pre.sh").chmod(0o755)
    run = model(commands=["./pre.sh"])
    assert run.run()
    assert (run.workspace.path / "pre.txt").read_text() == "0.02\n"


def test_every_method_can_be_called_repeatedly(model):
    run = model()
    for _ in range(2):
        run.generate()
        assert run.run() is True
        assert run.postprocess()["success"] is True
    record = RunRecord.load(run.workspace)
    assert (record.state, record.attempt) == ("completed", 2)


def test_settings_are_accepted_with_a_name_or_in_an_object_but_not_both(model):
    assert model("a").run("local", command="true", timeout=60)
    assert model("b").run(LocalConfig(command="true"))
    with pytest.raises(ConfigError, match="go with a backend's name"):
        model("c").run(LocalConfig(), timeout=5)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_raises_value_error(model, name):
    run = model()
    with pytest.raises(ValueError, match="must be a non-empty string"):
        run.run(name)
    with pytest.raises(ValueError, match="must be a non-empty string"):
        run.postprocess(name)
    with pytest.raises(ValueError, match="must be a non-empty string"):
        run.pipeline(name)
    assert not run.workspace.path.exists()


def test_an_unknown_name_is_reported_with_the_closest_one_and_changes_nothing(model):
    run = model()
    with pytest.raises(PluginError, match=r"there is no run backend 'locl'. Did you mean 'local'\?"):
        run.run("locl")
    with pytest.raises(PluginError, match="Did you mean 'noop'"):
        run.postprocess("nop")
    with pytest.raises(PluginError, match="Did you mean 'local'"):
        run.pipeline("locale")
    assert not run.workspace.path.exists()


@pytest.mark.parametrize("kind", [PluginError, ValueError, LookupError])
def test_an_unknown_name_raises_an_error_that_older_code_catches(model, kind):
    run = model()
    for method in (run.run, run.postprocess, run.pipeline):
        with pytest.raises(kind, match="there is no"):
            method("nowhere")


@pytest.mark.parametrize("thing", [object(), 5, None, dict])
def test_an_object_that_is_not_a_plugin_is_rejected(model, thing):
    run = model()
    for method in (run.run, run.postprocess, run.pipeline):
        with pytest.raises(ValueError, match=r"must be a non-empty string|is not a"):
            method(thing)
    assert not run.workspace.path.exists()


def test_an_error_in_a_template_is_reported_by_every_method_and_changes_nothing(template, model):
    (template / "INPUT").write_text("\n{{ model.frction }}")
    run = model()
    with pytest.raises(GenerateError, match=r"INPUT, line 2: .*Did you mean 'model.friction'"):
        run.generate()
    assert run.run() is False
    assert "line 2" in run.pipeline()["error"]
    assert not run.workspace.path.exists()


def test_postprocessing_without_a_record_fails_and_writes_nothing(model):
    run = model()
    results = run.postprocess()
    assert results["success"] is False
    assert "Output directory not found" in results["message"]
    assert not run.workspace.path.exists()


def test_postprocessors_run_in_order_and_their_metrics_are_merged(model):
    class First:
        def process(self, model_run):
            return {"success": True, "message": "one", "metrics": {"a": 1, "b": 1}}

    class Second:
        def process(self, model_run):
            return {"success": True, "message": "two", "metrics": {"b": 2}, "extra": "x"}

    run = model()
    assert run.run()
    results = run.postprocess([First, Second(), "noop", NoopPostprocessor(validate_outputs=False)])
    assert results["metrics"] == {"a": 1, "b": 2}
    assert results["extra"] == "x"
    assert results["validated"] is False
    record = RunRecord.load(run.workspace)
    assert record.metrics == {"a": 1, "b": 2}
    assert json.loads(run.workspace.metrics.read_text()) == {"a": 1, "b": 2}
    assert [fact.path for fact in record.products] == ["metrics.json"]


def test_the_first_failed_postprocessor_stops_the_stage(model):
    class Fails:
        def process(self, model_run):
            return {"success": False, "message": "no such variable", "error": "eta"}

    class Never:
        def process(self, model_run):
            raise AssertionError("must not be asked")

    run = model()
    assert run.run()
    results = run.postprocess(["noop", Fails, Never])
    assert results["success"] is False
    assert results["message"] == "no such variable"
    assert RunRecord.load(run.workspace).state == "failed"


@pytest.mark.parametrize(
    "error", [ValueError("bad value"), KeyError("eta"), OSError("no file"), RuntimeError("x")]
)
def test_an_exception_in_a_postprocessor_is_reported_with_its_name(model, error):
    class Raises:
        def process(self, model_run):
            raise error

    run = model()
    assert run.run()
    results = run.postprocess(Raises)
    assert results["success"] is False
    assert f"the postprocessor Raises failed: {type(error).__name__}" in results["message"]
    assert results["run_id"] == "shoal"


@pytest.mark.parametrize(
    "answer", [None, "done", {}, {"message": "no word about success"}, {"success": "yes"}]
)
def test_a_result_without_success_is_a_failure(model, answer):
    class Vague:
        def process(self, model_run):
            return answer

    run = model()
    assert run.run()
    results = run.postprocess(Vague)
    assert results["success"] is False
    assert "whether it succeeded cannot be determined" in results["message"]


def test_the_metrics_of_an_earlier_postprocessor_are_not_kept(model):
    class Numbers:
        def process(self, model_run):
            return {"success": True, "message": "", "metrics": {"a": float("nan"), "b": 1.5}}

    run = model()
    assert run.run()
    run.postprocess(Numbers)
    assert json.loads(run.workspace.metrics.read_text()) == {"a": None, "b": 1.5}
    run.postprocess("noop")
    assert not run.workspace.metrics.exists()
    assert RunRecord.load(run.workspace).metrics == {}


def test_a_metrics_file_written_by_the_model_is_kept(model):
    run = model(commands=["echo '{}' > metrics.json"])
    assert run.run()
    run.postprocess("noop")
    run.postprocess("noop")
    assert run.workspace.metrics.read_text() == "{}\n"


def test_postprocessing_a_failed_run_leaves_it_failed(model):
    run = model(commands=["echo data > out.txt; exit 3"])
    assert run.run() is False
    assert run.postprocess("noop")["success"] is True
    record = RunRecord.load(run.workspace)
    assert record.state == "failed"
    assert record.error["stage"] == "run"
    assert record.stages["postprocess"].state == "completed"


def test_the_recorded_outputs_can_be_selected(model):
    commands = ["mkdir -p out/deep; for f in a.nc b.txt out/c.nc out/deep/d.nc; do echo $f > $f; done"]
    for number, (outputs, found) in enumerate(
        [
            (["**/*"], ["a.nc", "b.txt", "out/c.nc", "out/deep/d.nc"]),
            (["*.nc"], ["a.nc"]),
            (["**/*.nc"], ["a.nc", "out/c.nc", "out/deep/d.nc"]),
            (["out"], ["out/c.nc", "out/deep/d.nc"]),
            (["out/*.nc", "b.txt"], ["b.txt", "out/c.nc"]),
            ([], []),
        ]
    ):
        run = model(f"outputs {number}", commands=commands, outputs=outputs)
        assert run.run()
        assert [fact.path for fact in RunRecord.load(run.workspace).outputs] == found


def test_the_record_contains_the_configuration_provenance_and_outputs(model):
    run = model(env={"A": "1"})
    assert run.pipeline()["success"]
    record = json.loads(run.workspace.record.read_text())
    assert record["schema_version"] == 1
    assert record["run_id"] == "shoal"
    assert record["state"] == "completed"
    assert {name: stage["state"] for name, stage in record["stages"].items()} == dict.fromkeys(
        ("generate", "run", "postprocess"), "completed"
    )
    assert all(
        stage["seconds"] >= 0 and stage["started"] <= stage["finished"]
        for stage in record["stages"].values()
    )
    assert record["exit_code"] == 0
    assert record["commands"] == ["cp INPUT out.txt; echo done"]
    assert record["run_backend"]["name"] == "local"
    assert record["config"]["model"]["parameters"] == {"friction": 0.02}
    assert record["config"]["model"]["env"] == {"A": "<not stored>"}
    assert len(record["config_hash"]) == 64
    assert {"packages", "python", "host", "platform"} <= set(record["provenance"])
    assert record["outputs"][0]["path"] == "out.txt"
    assert record["outputs"][0]["sha256"] == record["inputs"][0]["sha256"]
    assert record["error"] is None


@pytest.mark.parametrize(
    "name", ["it's a run", 'run "quoted"', "größe=1,5", "$HOME", "-rf", "*", "a;b", "%s{x}"]
)
def test_a_run_id_may_contain_special_characters(tmp_path, template, name):
    config = TemplateModel(
        template=str(template), parameters={"friction": 1}, commands=["cp INPUT out.txt"]
    )
    run = ModelRun(run_id=name, output_dir=tmp_path / "odd 'dir' {x}", config=config)
    results = run.pipeline()
    assert results["success"], results
    assert (tmp_path / "odd 'dir' {x}" / name / "out.txt").read_text() == f"friction=1\nrun={name}\n"


def test_a_callable_model_configuration_writes_its_own_files(tmp_path):
    """Like rompy's configurations, which are called as `config(model_run)`."""

    class Plain:
        def __init__(self):
            self.friction = 0.02

        def __call__(self, model_run):
            (Path(model_run.output_dir) / model_run.run_id / "INPUT").write_text(f"{self.friction}")

    run = ModelRun(run_id="plain", output_dir=tmp_path, config=Plain())
    assert run.run("local", command="cat INPUT")
    record = RunRecord.load(run.workspace)
    assert [fact.path for fact in record.inputs] == ["INPUT"]
    assert run.workspace.log.read_text() == "0.02"


def test_an_error_in_a_callable_model_configuration_is_reported_with_its_name(tmp_path):
    class Broken:
        def __call__(self, model_run):
            raise KeyError("bathymetry")

    run = ModelRun(run_id="broken", output_dir=tmp_path, config=Broken())
    with pytest.raises(KeyError, match="bathymetry") as raised:
        run.generate()
    explanation = raised.value.__cause__
    assert isinstance(explanation, GenerateError)
    assert "Broken could not write its inputs: KeyError: 'bathymetry'" in str(explanation)
    assert run.run() is False
    assert issubclass(GenerateError, RompyHydraError)


def test_a_run_that_was_only_generated_may_be_given_another_backend(tmp_path: Path) -> None:
    model = BaseConfig(commands=["true"])
    run = ModelRun(run_id="a", output_dir=tmp_path, config=model)
    run.generate()
    assert run.run(LocalConfig(command="echo done > out.txt"))


def test_a_model_that_is_called_to_write_its_inputs_is_refused(tmp_path: Path) -> None:
    class Called(BaseConfig):
        needs_execution: bool = False

        def __call__(self, runtime: object) -> None:
            raise AssertionError("never called")

    with pytest.raises(ConfigError, match=r"Called has a method __call__, .*inputs\(\)"):
        ModelRun(run_id="a", output_dir=tmp_path, config=Called()).generate()
