"""What rompy's `ModelRun` offers besides running: an archive, its inputs, a schema, dates in names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from rompy_hydra import BaseConfig, Beach, LocalConfig, ModelRun, TemplateModel, TimeRange
from rompy_hydra.errors import Busy, GenerateError

# --- zip ------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    (tmp_path / "wind.nc").write_text("wind")
    files = [{"source": str(tmp_path / "wind.nc"), "link": True}]
    config = BaseConfig(files=files, commands=["mkdir out; echo data > out/a.nc; ln -s /etc/hostname leak"])
    return ModelRun(run_id="storm 1", output_dir=tmp_path / "runs", config=config)


def names(archive):
    with zipfile.ZipFile(archive) as found:
        assert found.testzip() is None
        return sorted(found.namelist())


def test_a_run_is_zipped_beside_its_directory_which_stays(run, tmp_path):
    assert run.run()
    archive = run.zip()
    assert archive == tmp_path / "runs" / "storm 1.zip"
    assert names(archive) == ["exit_code", "leak", "out/a.nc", "run.json", "run.log", "run.sh", "wind.nc"]
    with zipfile.ZipFile(archive) as found:
        assert found.read("wind.nc") == b"wind"
        assert found.read("leak") == b"/etc/hostname"
        assert json.loads(found.read("run.json"))["run_id"] == "storm 1"
    assert (run.workspace.path / "out" / "a.nc").exists()
    assert run.pipeline()["success"]


def test_an_archive_can_be_unpacked_and_its_script_started(run, tmp_path):
    run.generate()
    command = [sys.executable, "-m", "zipfile", "-e", str(run.zip()), str(tmp_path / "elsewhere")]
    subprocess.run(command, check=True, timeout=60)
    subprocess.run(["sh", tmp_path / "elsewhere" / "run.sh"], check=True, timeout=60)
    assert (tmp_path / "elsewhere" / "out" / "a.nc").read_text() == "data\n"


def test_an_earlier_archive_is_kept(run, tmp_path):
    run.generate()
    first = run.zip().read_bytes()
    assert run.run()
    run.zip()
    run.zip()
    assert (tmp_path / "runs" / "storm 1.zip.old-1").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "storm 1",
        "storm 1.zip",
        "storm 1.zip.old-1",
        "storm 1.zip.old-2",
    ]


def test_what_only_the_owner_may_read_is_not_readable_in_the_archive(tmp_path):
    env = {"API_TOKEN": "hunter2hunter2"}
    config = BaseConfig(commands=["echo hunter2hunter2"], env=env)
    secret = ModelRun(run_id="secret", output_dir=tmp_path, config=config)
    secret.generate()
    archive = secret.zip()
    assert archive.stat().st_mode & 0o077 == 0
    assert "run.secrets" not in names(archive)
    with zipfile.ZipFile(archive) as found:
        assert b"hunter2hunter2" not in b"".join(found.read(name) for name in found.namelist())


def test_a_pipe_that_a_model_left_does_not_stop_the_archive(tmp_path):
    piped = ModelRun(
        run_id="p", output_dir=tmp_path, config=BaseConfig(commands=["mkfifo pipe; touch out"])
    )
    assert piped.run()
    assert "pipe" not in names(piped.zip())


def test_nothing_is_zipped_before_generating_nor_while_the_run_works(run, tmp_path, start_driver):
    with pytest.raises(GenerateError, match=r"nothing to zip .* generate\(\) first"):
        run.zip()
    assert not (tmp_path / "runs").exists()
    from tests.conftest import wait_until

    driver = start_driver(
        "config = BaseConfig(commands=['touch began; while [ ! -e go ]; do sleep 0.01; done'])\n"
        "say(ModelRun(run_id='storm 1', output_dir='runs', config=config).run())\n"
    )
    wait_until((run.workspace.path / "began").exists)
    with pytest.raises(Busy, match=r"process \d+ .* is working on .*storm 1"):
        run.zip()
    (run.workspace.path / "go").touch()
    assert driver.wait() == 0
    assert run.zip().exists()


def test_a_full_disk_leaves_no_incomplete_archive(small_disk):
    config = BaseConfig(commands=["head -c 700000 /dev/urandom > out.bin"])
    full = ModelRun(run_id="big", output_dir=small_disk, config=config)
    assert full.run()
    with pytest.raises(GenerateError, match=r"cannot write .*big\.zip: No space left on device"):
        full.zip()
    assert [path.name for path in small_disk.iterdir()] == ["big"]


# --- calling it, its inputs, its schema -----------------------------------------------------------


def test_calling_a_run_generates_it(run):
    assert run() == run.generate() == str(run.workspace.path)
    assert (run.workspace.path / "run.sh").exists()


def test_the_inputs_of_a_run_are_those_that_were_given(tmp_path):
    given = {
        "run_id": "a",
        "output_dir": str(tmp_path),
        "period": {"start": "2024-01-01", "duration": "1d"},
    }
    run = ModelRun(**given)
    assert run.dump_inputs_dict() == given
    assert json.loads(run.dump_inputs_json()) == given
    run.run_id = "b"
    assert run.dump_inputs_dict() == given
    assert ModelRun.model_validate(given).dump_inputs_dict() == given
    assert ModelRun().dump_inputs_dict() == {}
    beach = Beach(friction=0.03)
    typed = ModelRun(config=beach, output_dir=tmp_path).dump_inputs_dict()
    assert typed == {"config": beach, "output_dir": tmp_path}
    with_model = json.loads(ModelRun(config=beach, output_dir=tmp_path).dump_inputs_json())
    assert with_model["config"]["friction"] == 0.03
    assert with_model["output_dir"] == str(tmp_path)


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_models_have_a_json_schema_with_their_ranges(mode):
    schema = Beach.model_json_schema(mode=mode)
    friction = schema["properties"]["friction"]
    assert (friction["minimum"], friction["maximum"], friction["default"]) == (0, 1, 0.01)
    assert schema["additionalProperties"] is False
    assert TemplateModel.model_json_schema(mode=mode)["required"] == ["template"]
    assert LocalConfig.model_json_schema(mode=mode)["properties"]["timeout"]["default"] is None
    period = ModelRun.model_json_schema(mode=mode)["$defs"]["TimeRange"]["properties"]
    assert {"start", "end", "duration", "interval", "include_end"} == period.keys()


# --- dates in the names of input files ------------------------------------------------------------


@pytest.fixture
def forecast(tmp_path):
    for day in ("20240531", "20240601", "20240602", "20240603"):
        (tmp_path / f"wind_{day}.nc").write_text(day)

    def forecast(*files, **fields):
        config = TemplateModel(template=str(tmp_path / "none"), files=files, commands=["true"], **fields)
        (tmp_path / "none").mkdir(exist_ok=True)
        period = TimeRange(start="2024-06-01", duration="1d")
        return ModelRun(run_id="f", output_dir=tmp_path / "runs", period=period, config=config)

    return forecast


def test_dates_of_the_period_are_filled_in_the_names_of_input_files(forecast, tmp_path):
    run = forecast(
        tmp_path / "wind_{start:%Y%m%d}.nc",
        {"source": f"{tmp_path}/wind_{{start-1d:%Y%m%d}}.nc", "target": "before/{start:%d.%m}.nc"},
        {"source": f"{tmp_path}/wind_{{end:%Y%m%d}}.nc", "target": "wind_end.nc", "link": True},
        {"source": f"{tmp_path}/wind_{{end-24h:%Y%m%d}}.nc", "target": "again.nc"},
    )
    directory = Path(run.generate())
    assert (directory / "wind_20240601.nc").read_text() == "20240601"
    assert (directory / "before" / "01.06.nc").read_text() == "20240531"
    assert os.readlink(directory / "wind_end.nc") == str(tmp_path / "wind_20240602.nc")
    assert (directory / "again.nc").read_text() == "20240601"
    run.period = TimeRange(start="2024-06-02", duration="1d")
    with pytest.raises(ValueError, match="holds another configuration"):
        run.generate()


def test_a_missing_file_is_named_with_its_date(forecast, tmp_path):
    run = forecast(tmp_path / "wind_{start+5d:%Y%m%d}.nc")
    with pytest.raises(GenerateError, match=r"the input file .*/wind_20240606\.nc does not exist"):
        run.generate()


def test_other_braces_are_kept(forecast, tmp_path):
    for name in ("{x}.nc", "{start}.nc", "{begin:%Y}.nc", "{start:day}.nc"):
        (tmp_path / name).write_text(name)
    run = forecast(
        *(tmp_path / name for name in ("{x}.nc", "{start}.nc", "{begin:%Y}.nc", "{start:day}.nc"))
    )
    assert (Path(run.generate()) / "{start:day}.nc").exists()


def test_a_date_in_a_model_that_does_not_use_the_period_is_refused(forecast, tmp_path):
    run = forecast(tmp_path / "wind_{start:%Y%m%d}.nc", uses_period=False)
    with pytest.raises(GenerateError, match=r"has a date of the period, .*uses_period"):
        run.generate()


def test_an_offset_beyond_the_years_is_refused(forecast, tmp_path):
    run = forecast(tmp_path / "wind_{start-9999w:%Y%m%d}.nc")
    assert timedelta(weeks=9999) < TimeRange(start="0001-01-01", end="9999-01-01").duration
    run.period = TimeRange(start="0005-01-01", duration="1d")
    with pytest.raises(GenerateError, match="outside the years 1 to 9999"):
        run.generate()
