"""Fixtures for the tests of the postprocessors: run directories."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import pytest

from rompy_hydra import ModelRun


def netcdf(run: ModelRun, name: str, format: str = "NETCDF4", **dims: int) -> netCDF4.Dataset:
    """A new netCDF file in the run directory, open for writing."""
    path = run.workspace.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = netCDF4.Dataset(path, "w", format=format)
    for dim, size in dims.items():
        dataset.createDimension(dim, size)
    return dataset


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    """A run with an empty directory and no record, at a path with special characters."""
    run = ModelRun(run_id="wave run #1 [é]", output_dir=tmp_path / "my runs ü")
    run.workspace.path.mkdir(parents=True)
    return run
