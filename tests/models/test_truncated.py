"""A truncated netCDF file fails, whatever its format and wherever it is read."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from rompy_hydra import ModelRun, SuccessChecks, TimeRange
from rompy_hydra.errors import PostprocessError
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.postprocess.map import MapPostprocessor
from rompy_hydra.postprocess.summary import SummaryPostprocessor
from rompy_hydra.reading.netcdf import open_groups
from rompy_hydra.workspace import Workspace

CLASSIC = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
PERIOD = TimeRange(start="2024-01-01", end="2024-01-04")
CHECKS = {
    "range": [{"file": "o.nc", "variable": "h", "min": 0, "max": 5}],
    "finite": [{"file": "o.nc", "variable": "h"}],
    "not_constant": [{"file": "o.nc", "variable": "h"}],
    "not_all_zero": [{"file": "o.nc", "variable": "h"}],
    "count": [{"file": "o.nc", "min": 73}],
    "last_time": [{"file": "o.nc"}],
}


def write(path: Path, kind: str, steps: int | None = 73, odd: bool = False) -> bytes:
    """A file with times and waves; `steps` is None for an unlimited time."""
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.title = "wave heights, padded to four bytes"
        file.createDimension("time", steps)
        file.createDimension("x", 101 if odd else 100)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 2024-01-01"
        names = file.createVariable("names", "S1", ("x",))
        names[:] = "a"
        waves = file.createVariable("h", "i2" if odd else "f4", ("time", "x"))
        waves.long_name = "wave height"
        time[:] = np.arange(73)
        waves[:] = np.random.default_rng(1).uniform(1, 3, (73, 101 if odd else 100))
    return path.read_bytes()


@pytest.mark.parametrize("kind", CLASSIC)
@pytest.mark.parametrize("steps", [73, None])
@pytest.mark.parametrize("odd", [False, True])
def test_a_whole_file_is_read(kind: str, steps: int | None, odd: bool, tmp_path: Path) -> None:
    write(tmp_path / "o.nc", kind, steps, odd)
    with open_groups(tmp_path / "o.nc") as groups:
        assert groups[""].sizes["time"] == 73


def test_one_record_variable_of_odd_size_is_not_padded(tmp_path: Path) -> None:
    path = tmp_path / "o.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("time", None)
        file.createDimension("x", 3)
        file.createVariable("flag", "i1", ("time", "x"))[:] = np.ones((5, 3))
    with open_groups(path) as groups:
        assert groups[""].sizes["time"] == 5
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PostprocessError, match="truncated"), open_groups(path):
        pass


@pytest.mark.parametrize("kind", CLASSIC)
@pytest.mark.parametrize("steps", [73, None])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.1, 0.003])
def test_each_check_fails_on_a_truncated_file(
    kind: str, steps: int | None, share: float, tmp_path: Path
) -> None:
    whole = write(tmp_path / "o.nc", kind, steps)
    assert [c for c in SuccessChecks(**CHECKS).judge(Workspace(tmp_path), PERIOD) if not c.ok] == []
    (tmp_path / "o.nc").write_bytes(whole[: int(len(whole) * share)])
    results = SuccessChecks(**CHECKS).judge(Workspace(tmp_path), PERIOD)
    assert [check.ok for check in results] == [False] * 6
    assert all("truncated" in check.message for check in results)


@pytest.mark.parametrize("kind", [*CLASSIC, "NETCDF4"])
def test_a_truncated_file_fails_a_model_without_checks(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.nc", kind)
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    for name, expected in (("whole", "completed"), ("cut", "failed")):
        config = BaseConfig(commands=[f"cp {tmp_path}/{name}.nc o.nc"])
        run = ModelRun(run_id=name, output_dir=tmp_path / "runs", config=config)
        assert run.run() == (expected == "completed")
        text = run.workspace.record.read_text()
        assert ("model.success.allow=[damaged]" in text) == (expected == "failed")


@pytest.mark.parametrize("kind", CLASSIC)
def test_postprocessors_refuse_a_truncated_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    whole = write(tmp_path / "a" / "o.nc", kind)
    (tmp_path / "a" / "o.nc").write_bytes(whole[: len(whole) // 2])
    run = ModelRun(run_id="a", output_dir=tmp_path, config=BaseConfig(needs_execution=False))
    for processor in (SummaryPostprocessor(), MapPostprocessor()):
        with pytest.raises(PostprocessError, match=r"o\.nc is truncated: .* bytes"):
            processor.process(run)
