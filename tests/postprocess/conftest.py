"""Fixtures for the tests of the postprocessors: run directories, and a Python without the extras."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import netCDF4
import pydantic
import pytest

import rompy_hydra
from rompy_hydra import ModelRun

EXTRAS = ("numpy", "xarray", "netCDF4", "cftime", "pandas", "matplotlib", "mpl_toolkits", "scipy")


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


@pytest.fixture
def minimal_python(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs Python code with this package, but without its optional dependencies."""
    packages = tmp_path / "minimal packages"
    packages.mkdir()
    for entry in Path(pydantic.__file__).parents[1].iterdir():
        if not entry.name.startswith((*EXTRAS, "__editable__", "_rompy", "rompy")):
            (packages / entry.name).symlink_to(entry)
    home = Path(rompy_hydra.__file__).parents[1]

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-W", "error", "-c", code],
            env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{home}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run
