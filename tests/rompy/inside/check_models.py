"""rompy's model configurations as `model`."""

from __future__ import annotations

import copy
import json
import os
import threading
import warnings

import pytest
from rompy.core.config import BaseConfig
from rompy.core.time import TimeRange as RompyTimeRange
from rompy.model import ModelRun as RompyModelRun
from rompy_swan.config import SwanConfig, SwanConfigComponents

from rompy_hydra import ModelRun, TimeRange
from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.workspace.record import RunRecord
from tests.rompy.inside.conftest import SWAN, without_time

PERIOD = TimeRange(start="2023-01-01", duration="1d", interval="1h")


def of_rompy(directory, config):
    """The inputs that rompy itself generates from a configuration."""
    period = RompyTimeRange(start="2023-01-01", duration="1d", interval="1h")
    run = RompyModelRun(run_id="swan", output_dir=directory, period=period, config=config)
    run.generate()
    return directory / "swan"


@pytest.mark.parametrize("kind", [SwanConfig, SwanConfigComponents])
def test_swan_inputs_are_identical_to_those_generated_by_rompy(kind, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # one of them is deprecated
        run = ModelRun(run_id="swan", output_dir=tmp_path / "ours", period=PERIOD, config=kind(**SWAN))
        theirs = of_rompy(tmp_path / "theirs", kind(**SWAN))
    before = copy.deepcopy(resolve_model(run.config).plain_data())
    assert run.generate() == str(tmp_path / "ours" / "swan")
    ours = (run.workspace.path / "INPUT").read_text()
    assert without_time(ours) == without_time((theirs / "INPUT").read_text())
    assert "COMPUTE NONSTATIONARY tbegc=20230101.000000 deltc=60.0 MIN tendc=20230102.000000" in ours
    # In rompy, the configuration modifies itself; here it stays unchanged.
    assert resolve_model(run.config).plain_data() == before
    assert [fact.path for fact in RunRecord.load(run.workspace).inputs] == ["INPUT"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("swan", SwanConfig),
        ("SWAN", SwanConfig),
        ("swanconfig", SwanConfigComponents),
        ("swan_components", SwanConfigComponents),
    ],
)
def test_plain_data_become_the_configuration_that_rompy_makes_of_them(name, kind, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # one of them is deprecated
        run = ModelRun(
            run_id="swan", output_dir=tmp_path, period=PERIOD, config={"model_type": name, **SWAN}
        )
        assert run.config == kind(**SWAN | ({} if name == "swan_components" else {"model_type": name}))
    run.generate()
    assert "FRICTION MADSEN kn=0.05" in (run.workspace.path / "INPUT").read_text()


def test_the_base_configuration_of_rompy_generates_its_files_from_the_run(tmp_path):
    run = ModelRun(run_id="base", output_dir=tmp_path, period=PERIOD, config=BaseConfig())
    run.generate()
    text = (run.workspace.path / "INPUT").read_text()
    assert "run_id: 'base'" in text
    assert "compute_start: 20230101.000000" in text
    assert "compute_interval: 1.0 HR" in text
    assert sorted(fact.path for fact in RunRecord.load(run.workspace).inputs) == [
        "INPUT", "datasets/readme.md", "outputs/readme.md",
    ]  # fmt: skip


def test_inputs_generated_in_parallel_threads_do_not_interfere(tmp_path):
    before = os.getcwd()
    runs = [
        ModelRun(run_id=f"swan {n}", output_dir=tmp_path, period=PERIOD, config=SwanConfig(**SWAN))
        for n in range(2)
    ]
    threads = [threading.Thread(target=run.generate) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.getcwd() == before
    texts = [without_time((run.workspace.path / "INPUT").read_text()) for run in runs]
    assert texts[0] == texts[1]


def test_a_configuration_that_fails_is_reported_in_the_result(tmp_path):
    run = ModelRun(run_id="bad", output_dir=tmp_path, config=BaseConfig(template="/there/is/no/template"))
    results = run.pipeline(run_backend="local", run_kwargs={"command": "true"})
    assert (results["success"], results["stage"]) == (False, "generate")
    assert "BaseConfig could not write its inputs" in results["error"]


def test_a_model_of_rompy_is_composed_validated_executed_and_recorded(program, conf):
    command = ["--config-dir", str(conf), "model=my_swan", "run_id=swan", "processor=noop"]
    command += ["run_backend.command='grep -c COMPUTE INPUT > found'", "period.duration=2d"]
    answer = program(*command)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    run = conf.parent / "here" / "runs" / "swan"
    assert (run / "found").read_text() == "1\n"
    assert "tendc=20240103.000000" in (run / "INPUT").read_text()
    record = json.loads((run / "run.json").read_text())
    assert record["config"]["model"]["_target_"] == "rompy_swan.config.SwanConfig"
    assert record["config"]["model"]["cgrid"]["grid"]["mx"] == 20
    again = program(*command)
    assert "nothing to do: every stage is done and unchanged" in again.stdout
    other = program(*command, "model.physics.friction.kn=0.06")
    assert other.returncode == 2
    assert "model.physics.friction.kn: 0.05 there, 0.06 here" in other.stderr


def test_invalid_values_are_reported_with_their_path_and_the_closest_name(program, conf):
    answer = program(
        "--config-dir", str(conf), "model=my_swan", "model.cgrid.grid.xlen=wide", "+model.cgrid.grid.mz=1"
    )
    assert answer.returncode == 2
    assert "model.cgrid.grid.xlen = 'wide': input should be a valid number" in answer.stderr
    assert "model.cgrid.grid.mz = 1: no such key. Did you mean 'm" in answer.stderr
    assert "regular" not in answer.stderr.replace("model_type", "")
    answer = program("model=swan")
    assert answer.returncode == 2
    assert "model.cgrid: is required" in answer.stderr


def test_nothing_to_execute_is_reported_before_anything_is_written(program, conf):
    answer = program("--config-dir", str(conf), "model=my_swan")
    assert answer.returncode == 2
    assert "nothing to execute" in answer.stderr
    assert not (conf.parent / "here" / "runs").exists()
    answer = program("--config-dir", str(conf), "model=my_swan", "pipeline.stages=[generate]")
    assert answer.returncode == 0, answer.stderr


def test_a_model_of_rompy_can_be_swept(program, conf):
    answer = program(
        "-m", "--config-dir", str(conf), "model=my_swan", "model.physics.friction.kn=0.05,0.06", "processor=noop",
        "run_backend.command='grep kn= INPUT > found'",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = sorted(path.read_text() for path in conf.parent.glob("here/sweeps/my_swan/*/found"))
    assert found == ["FRICTION MADSEN kn=0.05\n", "FRICTION MADSEN kn=0.06\n"]


def test_models_of_other_rompy_packages_are_options_with_their_settings(program):
    for name, needed in (("xbeach", "model.grid"), ("schism", "model.grid")):
        answer = program(f"model={name}", "run_backend.command=date")
        assert answer.returncode == 2, name
        assert f"{needed}: is required" in answer.stderr, answer.stderr


def test_a_time_range_of_rompy_is_a_period_and_answers_the_same(tmp_path):
    for fields in (
        {"start": "2023-01-01", "end": "2023-01-02T03", "interval": "6h"},
        {"start": "20230101.06", "duration": "1d", "interval": "5h", "include_end": False},
    ):
        theirs = RompyTimeRange(**fields)
        ours = ModelRun(period=theirs).period
        assert ours == TimeRange(**fields)
        assert ours.date_range == theirs.date_range
        half = RompyTimeRange(start="2023-01-01T12", duration="6h")
        assert ours.common_times(half) == theirs.common_times(half)
        assert ours.contains_range(half) == theirs.contains_range(half)
        assert ours.format_duration(ours.duration) == theirs.format_duration(theirs.duration)
