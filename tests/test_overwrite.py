"""Replacing an earlier run from Python, and the fields of rompy's `ModelRun` about the directory."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from rompy_hydra import BaseConfig, ModelRun, NoopPostprocessor, SummaryPostprocessor
from rompy_hydra.errors import ConfigError, GenerateError, RompyHydraError
from rompy_hydra.workspace.record import RunRecord


@pytest.fixture
def model(tmp_path):
    """A run of a model with a setting that is part of its identity."""

    class Model(BaseConfig):
        friction: float = 0.02

    def model(friction=0.02, **fields):
        config = Model(friction=friction, commands=[f"echo {friction} > out.txt"])
        return ModelRun(**{"run_id": "shoal", "output_dir": tmp_path / "runs", "config": config, **fields})

    return model


@pytest.fixture
def earlier(model):
    """The directory of an earlier run with another friction."""
    run = model(0.9)
    assert run.run()
    return run.workspace.path


VERBS = {
    "generate": lambda run, **settings: run.generate(**settings),
    "run": lambda run, **settings: run.run(**settings),
    "pipeline": lambda run, **settings: run.pipeline(**settings)["success"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_moves_another_run_aside_if_asked_to(model, earlier, verb):
    run = model()
    assert VERBS[verb](run, overwrite=True)
    assert (earlier.with_name("shoal.old-1") / "out.txt").read_text() == "0.9\n"
    assert RunRecord.load(run.workspace).config["model"]["friction"] == 0.02
    # Once: the next call uses what this one made.
    assert VERBS[verb](run)
    assert not earlier.with_name("shoal.old-2").exists()
    assert VERBS[verb](run, overwrite=True)
    assert earlier.with_name("shoal.old-2").exists()


@pytest.mark.parametrize("field", ["overwrite", "delete_existing"])
def test_the_field_moves_another_run_aside_once_for_all_calls(model, earlier, field):
    run = model(**{field: True})
    run.generate()
    assert run.run()
    assert run.postprocess()["success"]
    assert run.pipeline()["success"]
    assert [path.name for path in sorted(earlier.parent.iterdir())] == ["shoal", "shoal.old-1"]
    # As in rompy, another object begins again.
    assert model(**{field: True}).run()
    assert earlier.with_name("shoal.old-2").exists()


def test_postprocessing_never_moves_the_outputs_aside(model, earlier):
    assert model(0.9, overwrite=True).postprocess(NoopPostprocessor())["success"]
    assert [path.name for path in earlier.parent.iterdir()] == ["shoal"]


def test_without_it_another_run_is_refused_with_what_to_do(model, earlier):
    for verb in ("generate", "run"):
        with pytest.raises(ConfigError, match=r"holds another configuration \(.*friction.* overwrite=true"):
            VERBS[verb](model())
    assert "overwrite=true" in model().pipeline()["error"]
    assert [path.name for path in earlier.parent.iterdir()] == ["shoal"]


def test_a_call_that_fails_before_it_begins_leaves_the_earlier_run_and_the_next_call_alone(model, earlier):
    run = model()
    run.config = BaseConfig(files=["no such file"])
    with pytest.raises(GenerateError, match="no such file does not exist"):
        run.generate(overwrite=True)
    run.config = model().config
    with pytest.raises(ConfigError, match="holds another configuration"):
        run.generate()
    assert (earlier / "out.txt").read_text() == "0.9\n"


@pytest.mark.parametrize("value", ["false", 1, None])
def test_overwrite_must_be_true_or_false(model, earlier, value):
    for call in VERBS.values():
        with pytest.raises(ConfigError, match=r"overwrite must be True or False, not "):
            call(model(), overwrite=value)
    assert (earlier / "out.txt").exists()


def test_a_workspace_of_somebody_else_is_not_overwritten(model, tmp_path):
    with pytest.raises(
        ConfigError, match="overwrite goes with the run's own directory, not with workspace_dir"
    ):
        model().run("local", workspace_dir=tmp_path, overwrite=True)


def test_a_pipeline_of_a_plugin_can_replace_an_earlier_run(model, earlier):
    class Cloud:
        def execute(self, model_run, **kwargs):
            model_run.generate()
            success = model_run.run("local")
            return {"success": success, "run_id": model_run.run_id, "stages_completed": ["generate", "run"]}

    assert model().pipeline(Cloud, overwrite=True)["success"]
    assert earlier.with_name("shoal.old-1").exists()


def test_without_a_directory_of_its_name_a_run_is_in_the_output_directory(model, tmp_path):
    run = model(run_id_subdir=False)
    assert Path(run.generate()) == run.staging_dir == tmp_path / "runs"
    assert run.run()
    assert run.postprocess("noop")["output_dir"] == str(tmp_path / "runs")
    (tmp_path / "runs" / "table.csv").write_text("a\n1\n2\n")
    found = SummaryPostprocessor(variables=["a"], statistics=["max"]).process(run)
    assert found["metrics"] == {"table.a.max": 2}
    assert RunRecord.load(run.workspace).run_id == "shoal"
    with pytest.raises(RompyHydraError, match="holds another configuration"):
        model(0.5, run_id="other", run_id_subdir=False).generate()


def test_a_rompy_configuration_sees_where_its_run_is(tmp_path):
    seen = []

    class Sees:
        def __call__(self, runtime):
            seen.append((runtime.output_dir, runtime.run_id, runtime.run_id_subdir, runtime.staging_dir))

    for subdir in (True, False):
        out = tmp_path / str(subdir)
        ModelRun(run_id="a", output_dir=out, run_id_subdir=subdir, config=Sees()).generate()
        assert seen[-1] == (out, "a", subdir, out / "a" if subdir else out)


def test_a_slash_in_the_name_is_refused_with_where_to_put_the_directory():
    with pytest.raises(
        ValidationError, match=r"no '/'.* Add the directory 'may' to output_dir, and call the run 'storm'"
    ):
        ModelRun(run_id="may/storm", output_dir="2024")
    with pytest.raises(ValidationError, match="must be the name of one directory") as error:
        ModelRun(run_id="/")
    assert "Add the directory" not in str(error.value)


def test_a_script_replaces_its_run_each_time_it_is_started(start_driver, tmp_path):
    code = textwrap.dedent("""
        config = BaseConfig(commands=["true"])
        run = ModelRun(run_id="x", output_dir="runs", delete_existing=True, config=config)
        run.generate()
        say(run.run())
    """)
    for _ in range(2):
        assert start_driver(code).wait() == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["x", "x.old-1"]
