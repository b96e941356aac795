"""Packages that a postprocessor or a model needs are checked before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest

import rompy_hydra

# Installed by the extras only, and what they install.
EXTRAS = ("numpy", "xarray", "netCDF4", "cftime", "pandas", "matplotlib", "mpl_toolkits", "scipy", "anuga")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment with this package and its dependencies, but no extras."""
    directory = tmp_path_factory.mktemp("bare environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    packages = next(directory.glob("lib/python*/site-packages"))
    for entry in Path(pydantic.__file__).parents[1].iterdir():
        if not entry.name.startswith(
            (*EXTRAS, "__editable__", "_rompy", "rompy", "_virtualenv", "distutils")
        ):
            (packages / entry.name).symlink_to(entry)
    (packages / "rompy_hydra.pth").write_text(f"{Path(rompy_hydra.__file__).parents[1]}\n")
    return directory / "bin" / "python"


@pytest.fixture
def command(bare: Path, tmp_path: Path) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [bare, "-m", "rompy_hydra", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("verb", [["check"], ["--dry-run"], []])
def test_a_map_without_its_packages_is_refused_before_anything_starts(
    command: Command, tmp_path: Path, verb: list[str]
) -> None:
    result = command(*verb, "processor=map")
    assert result.returncode == 2
    assert result.stderr == (
        "rompy-hydra: the postprocessor map needs xarray, netCDF4, matplotlib, scipy, which are not "
        "installed here: pip install 'rompy-hydra[analysis]'\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_tsunami_without_anuga_is_refused_before_anything_starts(
    command: Command, tmp_path: Path
) -> None:
    result = command("check", "model=salish_tsunami", "processor=noop")
    assert result.returncode == 2
    assert (
        "the model salish_tsunami needs anuga, numpy, matplotlib, which are not installed" in result.stderr
    )
    assert "pip install 'rompy-hydra[anuga]'" in result.stderr
    assert not list(tmp_path.iterdir())


def test_each_point_of_a_sweep_is_checked_for_packages(command: Command, tmp_path: Path) -> None:
    result = command("-m", "model.friction=0.01,0.02", "processor=map")
    assert result.returncode == 2
    assert "pip install 'rompy-hydra[analysis]'" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=beach", "processor=summary"],
        ["model=salish_tsunami", "processor=noop", "run_backend.command=sleep 1"],
        ["model=salish_tsunami", "processor=noop", "model.commands=[sleep 1]"],
        ["model=salish_tsunami", "processor=noop", "+run_backend.env_vars.PATH=/usr/bin:/bin"],
        ["processor=map", "pipeline.stages=[generate,run]"],
    ],
)
def test_what_needs_no_missing_package_can_start(command: Command, overrides: list[str]) -> None:
    result = command("check", *overrides)
    assert result.returncode == 0, result.stderr


def test_the_packages_of_a_plugin_are_not_imported_by_the_check(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from rompy_hydra.cli import main\n"
        "assert main(['check', 'processor=map']) == 0\n"
        "assert not {'numpy', 'xarray', 'matplotlib', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
