"""Arguments in the forms that rompy's users give: path objects, rompy's time ranges, empty texts."""

from __future__ import annotations

import dataclasses
import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from rompy_hydra import (
    BaseConfig,
    DockerConfig,
    DockerRunBackend,
    LocalConfig,
    MapPostprocessor,
    ModelRun,
    SuccessChecks,
    TemplateModel,
    TimeRange,
)
from rompy_hydra.errors import GenerateError
from rompy_hydra.models.base import StagedFile

# --- path objects ---------------------------------------------------------------------------------


def test_path_objects_are_accepted_wherever_a_path_may_stand(tmp_path):
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "INPUT").write_text("{{ model.grid }}\n")
    (tmp_path / "wind.nc").write_text("wind")
    (tmp_path / "ocean").write_text("#!/bin/sh\ncat INPUT $1 $FORCING > out.txt\n")
    (tmp_path / "ocean").chmod(0o755)
    config = TemplateModel(
        template=tmp_path / "template",
        parameters={"grid": Path("/data/grid.nc"), "more": [Path("/a"), {"b": Path("/b")}]},
        files=[tmp_path / "wind.nc", {"source": tmp_path / "wind.nc", "target": Path("in/wind.nc")}],
        directories=[Path("restart")],
        commands=[[tmp_path / "ocean", Path("in/wind.nc")]],
        env={"FORCING": tmp_path / "wind.nc", "OMP_NUM_THREADS": 4},
        success=SuccessChecks(must_exist=[Path("out.txt")], log_file=Path("run.log")),
        outputs=[Path("out.txt")],
    )
    run = ModelRun(run_id="paths", output_dir=tmp_path / "runs", config=config)
    assert run.run("local", working_dir=run.workspace.path, env_vars={"A": tmp_path}) is True
    assert (run.workspace.path / "out.txt").read_text() == "/data/grid.nc\nwindwind"
    as_text = TemplateModel.model_validate(json.loads(config.model_dump_json()))
    assert config.plain_data() == as_text.plain_data()


def test_backends_and_postprocessors_take_path_objects():
    assert LocalConfig(command=Path("/opt/swan.exe")).command == "/opt/swan.exe"
    config = DockerConfig(
        dockerfile=Path("docker/Dockerfile"),
        build_context=Path("docker"),
        build_args={"SOURCE": Path("/src")},
        executable=Path("/usr/bin/swan"),
        volumes=[Path("/data:/data:ro")],
    )
    assert DockerConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.volumes == ("/data:/data:ro",)
    assert MapPostprocessor(file=Path("out/eta.nc")).file == "out/eta.nc"
    assert StagedFile(source=Path("a")) == StagedFile(source="a")


def test_something_else_than_a_path_is_still_refused():
    for wrong in (5, None, object()):
        with pytest.raises(ValidationError):
            TemplateModel(template=wrong)


def test_an_empty_mpiexec_starts_the_executable_alone_as_in_rompy():
    config = DockerConfig(image="swan", executable="swan.exe", mpiexec="", cpu=4)
    assert config.mpiexec is None
    assert DockerRunBackend(config).commands(BaseConfig()) == ("swan.exe",)
    assert config == DockerConfig(image="swan", executable="swan.exe", cpu=4)


def test_the_fields_that_a_run_of_rompy_dumps_make_the_same_run(tmp_path):
    dumped = {
        "model_type": "modelrun",
        "run_id": "a",
        "period": {
            "start": datetime(2023, 1, 1),
            "end": datetime(2023, 1, 2),
            "interval": timedelta(hours=1),
            "include_end": True,
        },
        "output_dir": tmp_path,
        "config": BaseConfig(),
        "delete_existing": False,
        "run_id_subdir": True,
    }
    run = ModelRun(**dumped)
    assert run.staging_dir == tmp_path / "a"
    assert run.period == TimeRange(start="2023-01-01", duration="1d")
    with pytest.raises(ValidationError, match="modelrun"):
        ModelRun(model_type="swan")


# --- periods --------------------------------------------------------------------------------------


class RompyRange(BaseModel):
    """The fields of rompy's TimeRange."""

    start: datetime
    end: datetime
    duration: timedelta | None = None
    interval: timedelta | None = timedelta(hours=1)
    include_end: bool = True


@dataclasses.dataclass
class PlainRange:
    start: datetime
    end: datetime


START, END = datetime(2023, 1, 1), datetime(2023, 1, 2)


def test_a_time_range_of_another_package_is_a_period():
    theirs = RompyRange(start=START, end=END, duration=END - START, interval=timedelta(minutes=15))
    ours = TimeRange(start=START, end=END, interval="15M")
    assert ModelRun(period=theirs).period == ours
    assert ModelRun(period=PlainRange(START, END)).period == TimeRange(start=START, end=END)
    assert ModelRun(period=RompyRange(start=START, end=END, include_end=False)).period.include_end is False
    with pytest.raises(ValidationError, match=r"ends .* before it starts"):
        ModelRun(period=PlainRange(END, START))
    with pytest.raises(ValidationError, match="period"):
        ModelRun(period=5)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("20230102", datetime(2023, 1, 2)),
        ("20230102T03", datetime(2023, 1, 2, 3)),
        ("20230102T0304", datetime(2023, 1, 2, 3, 4)),
        ("20230102T030405", datetime(2023, 1, 2, 3, 4, 5)),
        ("20230102.03", datetime(2023, 1, 2, 3)),
        ("20230102.0304", datetime(2023, 1, 2, 3, 4)),
        ("20230102.030405", datetime(2023, 1, 2, 3, 4, 5)),
        ("2023-01-02", datetime(2023, 1, 2)),
        ("2023-01-02T03", datetime(2023, 1, 2, 3)),
        ("2023-01-02T0304", datetime(2023, 1, 2, 3, 4)),
        ("2023-01-02 03:04:05", datetime(2023, 1, 2, 3, 4, 5)),
    ],
)
def test_times_are_read_in_the_formats_of_rompy(text, time):
    assert TimeRange(start=text, duration="1d").start == time


@pytest.mark.parametrize("text", ["2023.01", "20231301.00", "20230102.1", "soon"])
def test_a_text_that_is_not_a_time_is_refused(text):
    with pytest.raises(ValidationError, match="is not a time"):
        TimeRange(start=text, duration="1d")


def test_the_dates_of_a_range_include_its_end_unless_told_otherwise():
    uneven = {"start": START, "duration": "5h", "interval": "2h"}
    hours = [0, 2, 4, 5]
    assert TimeRange(**uneven).date_range == [START + timedelta(hours=hour) for hour in hours]
    assert TimeRange(**uneven, include_end=False).date_range == TimeRange(**uneven).date_range[:-1]
    even = TimeRange(start=START, duration="4h", interval="2h")
    assert even.date_range == even.times == [START + timedelta(hours=hour) for hour in (0, 2, 4)]
    assert (
        TimeRange(start=START, duration="4h", interval="2h", include_end=False).date_range == even.times[:2]
    )


def test_ranges_are_compared_with_dates_and_with_each_other():
    day = TimeRange(start=START, end=END, interval="6h")
    noon = datetime(2023, 1, 1, 12)
    assert day.contains(START)
    assert day.contains(END)
    assert day.contains("2023-01-01T12:00")
    assert day.contains(date(2023, 1, 2))
    assert not day.contains(END + timedelta(seconds=1))
    half = TimeRange(start=noon, end=END)
    assert day.contains_range(half)
    assert not half.contains_range(day)
    assert day.contains_range(RompyRange(start=noon, end=END))
    assert day.common_times(half) == [noon, datetime(2023, 1, 1, 18), END]
    assert day.common_times(RompyRange(start=noon, end=END)) == day.common_times(half)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "None"),
        (1, "1 second"),
        (90, "1 minute, 30 seconds"),
        (3600, "1 hour"),
        (93784, "1 day, 2 hours, 3 minutes, 4 seconds"),
        (2 * 86400, "2 days"),
    ],
)
def test_a_duration_is_written_in_words(seconds, text):
    assert TimeRange(start=START, end=END).format_duration(timedelta(seconds=seconds)) == text


def test_a_period_without_an_unusual_end_keeps_its_identity():
    """Directories of earlier versions are those of the same configuration."""
    period = TimeRange(start=START, end=END)
    assert period.plain_data() == {
        "start": "2023-01-01T00:00:00",
        "end": "2023-01-02T00:00:00",
        "duration": "P1D",
        "interval": "PT1H",
    }
    other = TimeRange(start=START, end=END, include_end=False)
    assert other.plain_data()["include_end"] is False
    for each in (period, other):
        assert TimeRange.model_validate(each.plain_data()) == each


# --- missing input files --------------------------------------------------------------------------


@pytest.mark.parametrize("thread", [False, True])
def test_a_missing_input_file_of_a_rompy_model_is_named(tmp_path, thread, hooks_module, in_thread):
    run = ModelRun(run_id="x", output_dir=tmp_path, config=hooks_module.NeedsBathymetry())
    call = in_thread if thread else (lambda function: function())
    with pytest.raises((GenerateError, FileNotFoundError)) as error:
        call(run.generate)
    text = f"{error.value} {error.value.__cause__}"
    assert "NeedsBathymetry could not write its inputs: /no/such/bathymetry.nc does not exist" in text
    assert "Correct the path in the model's settings" in text
    assert "Free space" not in text


@pytest.fixture
def in_thread():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield lambda function: pool.submit(function).result()


@pytest.fixture
def hooks_module(tmp_path, monkeypatch):
    text = (
        "class NeedsBathymetry:\n    def __call__(self, runtime):\n        open('/no/such/bathymetry.nc')\n"
    )
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "needs.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    import sys

    import needs

    yield needs
    sys.modules.pop("needs")
