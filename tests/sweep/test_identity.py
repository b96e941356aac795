"""A run of a sweep has one name and one directory, independent of the other points."""

from __future__ import annotations

import json

import pytest

X = "model.parameters.x"
TEXT = "model.parameters.text"


def labels(sweeps):
    return sorted(record.parent.name for record in sweeps.path.glob("*/run.json"))


def test_an_additional_value_and_a_different_order_rename_and_repeat_nothing(sweeps):
    sweeps.sweep(f"{X}=1,2", f"{TEXT}=a,b")
    before = labels(sweeps)
    assert before == [f"{t},{x}" for t in ("text=a", "text=b") for x in ("x=1", "x=2")]
    kept = {label: sweeps.snapshot(sweeps.path / label) for label in before}

    out = sweeps.run("-m", f"{TEXT}=b,c,a", "processor=noop", f"{X}=2,1", "model=probe")

    assert "6 points: 2 completed, 4 already done" in out
    assert set(before) < set(labels(sweeps))
    assert {label: sweeps.snapshot(sweeps.path / label) for label in before} == kept
    assert sweeps.started() == ["1"] * 3 + ["2"] * 3


def test_a_single_value_gives_the_same_run_as_a_swept_value(sweeps):
    sweeps.sweep(f"{X}=1,2")
    assert "1 point: 1 already done" in sweeps.sweep(f"{X}=2")
    assert "1 point: 1 completed" in sweeps.sweep(f"{X}=3")
    assert "3 points: 3 already done" in sweeps.sweep(f"{X}=3,1,2")
    assert sweeps.started() == ["1", "2", "3"]


def test_a_file_of_cases_gives_the_same_runs_as_a_grid(sweeps):
    sweeps.sweep(f"{X}=1,2")
    (sweeps.directory / "cases.csv").write_text(f"{X}\n2\n3\n1\n")
    assert "3 points: 1 completed, 2 already done" in sweeps.sweep("sweep.cases=cases.csv")


def test_another_postprocessor_or_setting_repeats_only_the_postprocessing_in_the_same_directory(sweeps):
    sweeps.sweep(f"{X}=1,2", "processor=noop")
    before = labels(sweeps)
    assert before == ["x=1", "x=2"]

    out = sweeps.run("-m", "model=probe", f"{X}=1,2", "processor=summary")
    assert "2 points: 2 completed" in out
    out = sweeps.run("-m", "model=probe", f"{X}=1,2", "processor=summary", "processor.statistics=[max]")
    assert "2 points: 2 completed" in out

    assert labels(sweeps) == before
    assert sweeps.started() == ["1", "2"]
    record = json.loads((sweeps.path / "x=1" / "run.json").read_text())
    assert record["stages"]["run"]["why"] == "unchanged: skipped"
    assert record["stages"]["postprocess"]["why"] == "the postprocessor or its settings changed"
    assert record["config"]["processor"][0]["statistics"] == ["max"]


def test_settings_of_postprocessors_that_a_sweep_compares_name_its_runs(sweeps):
    out = sweeps.run("-m", "model=probe", f"{X}=1", "processor=noop,summary")
    assert "2 points: 2 completed" in out
    assert labels(sweeps) == ["processor=noop", "processor=summary"]


def test_two_keys_of_postprocessors_with_equal_last_parts_do_not_share_a_directory(sweeps):
    both = ("-m", "model=probe", f"{X}=1", "processor=[noop,summary]")
    sweeps.run(*both, "processor.summary.validate=true,false", code=2)
    sweeps.run(*both, "processor.noop.validate_outputs=true,false")
    assert labels(sweeps) == ["validate_outputs=false", "validate_outputs=true"]


def test_a_single_run_is_not_named_after_its_postprocessor(sweeps):
    for processor in ("noop", "summary"):
        sweeps.run("model=probe", f"{X}=1", f"processor={processor}")
    assert [path.name for path in (sweeps.directory / "runs").iterdir()] == ["probe,x=1"]
    assert sweeps.started() == ["1"]


def test_the_period_of_a_model_that_does_not_use_it_is_refused_as_an_override(sweeps):
    out = sweeps.run("model=beach", "period=one_day", code=2)
    assert "period = 'one_day': the model does not use the period (Beach). Leave out period" in out
    out = sweeps.run("-m", "model=probe", "period.interval=1h,2h", "+model.uses_period=false", code=2)
    assert "the model does not use the period (TemplateModel)" in out
    assert not (sweeps.directory / "runs").exists()
    assert not (sweeps.directory / "sweeps").exists()


def test_the_period_does_not_distinguish_runs_of_a_model_that_does_not_use_it(sweeps):
    option = sweeps.configs / "period" / "three_days.yaml"
    option.parent.mkdir()
    week = "_target_: rompy_hydra.TimeRange\nstart: '2024-03-01'\nduration: 7d\n"
    experiment = sweeps.configs / "experiment" / "tides.yaml"
    experiment.parent.mkdir()
    experiment.write_text(
        "# @package _global_\ndefaults: [{override /model: probe}]\nmodel: {uses_period: false}\n"
    )
    for text in (week, week.replace("7d", "9d")):
        option.write_text(text)
        sweeps.run("experiment=tides", f"{X}=1", "processor=noop")
    assert sweeps.started() == ["1"]
    (record,) = (sweeps.directory / "runs").glob("*/run.json")
    assert "period" not in json.loads(record.read_text())["config"]
    (sweeps.configs.parent / "template" / "start").write_text("{{ run.period.start }}")
    assert "template/start, line 1" in sweeps.run("experiment=tides", f"{X}=1", code=2)


def test_an_additional_model_does_not_change_the_name_of_a_sweep_over_models(sweeps):
    out = sweeps.run("-m", "model=beach,probe", "processor=noop", "--dry-run")
    assert "2 points in sweeps/models: 2 to run" in out
    out = sweeps.run(
        "-m", "model=probe,template,beach", "processor=noop", "sweep.name=mine", "--dry-run", code=2
    )
    assert "model.template  is required" in " ".join(out.split(" ")).replace("   ", "  ")


@pytest.mark.parametrize(
    "value", ["größe 日本 ☃", "a/b/../c", 'it\'s "so"', "x" * 500, "--", "\\", "$HOME `id`"]
)
def test_long_values_and_special_characters_give_valid_directories_and_reach_the_model(sweeps, value):
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    sweeps.sweep(
        f"{X}=1", f"+model.env.TEXT='{quoted}'", "model.commands=['printf %s \"$TEXT\" > result.txt']"
    )
    (directory,) = sweeps.runs().values()
    assert (directory / "result.txt").read_text() == value
    assert directory.parent == sweeps.path
    assert sweeps.table()[0]["model.env.TEXT"] == "<not stored>"


def test_two_equal_values_are_rejected_before_anything_is_written(sweeps):
    out = sweeps.sweep(f"{X}=1", "+model.parameters.depth=0.1,0.2,0.10", code=2)
    assert "two points have the same label" in out
    assert "0.1 and 0.10 are equal" in out
    assert not sweeps.path.exists()


def test_a_sweep_over_a_setting_that_labels_omit_is_rejected_with_a_hint(sweeps):
    out = sweeps.sweep(f"{X}=1", "log_level=INFO,DEBUG", code=2)
    assert (
        "log_level is not part of a label: sweep over each of its values separately, with a sweep.name"
        in out
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run_id=mine", "a sweep names its runs by their overrides"),
        ("output_dir=there", "set sweep.directory=DIR instead"),
        ("sweep.seed=1,2", "a setting of the sweep has one value"),
        ("sweep.nmae=x", "nmae"),
        ("sweep.name=a/b", "must be the name of one directory"),
        ("sweep.retry=never", "'failed', 'lost', 'none' or 'all'"),
        ("sweep.attempts=0", "greater than 0"),
        ("hydra.launcher.workers=0", "must be a whole number above 0"),
        ("hydra.launcher.workers=1,2", "not supported"),
    ],
)
def test_an_invalid_setting_is_rejected(sweeps, override, message):
    assert message in sweeps.sweep(f"{X}=1,2", override, code=2)
    assert not sweeps.path.exists()


@pytest.mark.parametrize(("override", "name"), [("run_id=null", "run_id"), ("output_dir=", "output_dir")])
def test_an_empty_name_of_a_directory_is_refused(sweeps, override, name):
    out = sweeps.run("model=probe", override, code=2)
    assert f"{name} = " in out
    assert "must not be empty" in out
    assert list(sweeps.directory.iterdir()) == []


@pytest.mark.parametrize("place", ["occupied", "occupied/deeper"])
def test_a_check_refuses_an_output_directory_that_cannot_be_created(sweeps, place):
    (sweeps.directory / "occupied").touch()
    out = sweeps.run("check", "model=probe", f"output_dir={place}", code=2)
    assert "is not a directory. Choose another place with output_dir=DIR" in out
