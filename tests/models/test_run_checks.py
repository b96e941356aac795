"""Success checks that are given beside the model, under the run: for models of other packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rompy_hydra import BaseConfig, ModelRun, RunRecord, SuccessChecks
from rompy_hydra.errors import ConfigError


class Foreign:
    """A configuration in rompy's shape: called with a run, and not of this package."""

    def __init__(self) -> None:
        self.commands = ("echo 'depth NaN' > PRINT; echo data > out.nc",)

    def __call__(self, runtime):
        return {}


CHECKS = SuccessChecks(must_exist=("out.nc",), logs=[{"file": "PRINT", "must_not_contain": ["NaN"]}])


def state_of(run: ModelRun) -> tuple[str, str]:
    record = RunRecord.load(run.workspace)
    assert record is not None
    return record.state, str((record.error or {}).get("message"))


def test_checks_of_the_run_are_evaluated_for_a_foreign_model(tmp_path: Path) -> None:
    run = ModelRun(run_id="a", output_dir=tmp_path, config=Foreign(), success=CHECKS)
    assert run.run() is False
    state, message = state_of(run)
    assert state == "failed"
    assert "log_must_not_contain: PRINT contains: depth NaN" in message
    fine = ModelRun(
        run_id="b", output_dir=tmp_path, config=Foreign(), success=SuccessChecks(must_exist=["out.nc"])
    )
    assert fine.run() is True


def test_checks_of_the_run_are_added_to_those_of_the_model(tmp_path: Path) -> None:
    model = BaseConfig(
        commands=["echo good > run2.log; echo bad; touch Errfile"],
        success={"log_must_contain": ["bad"], "must_not_exist": ["Errfile"]},
    )
    more = SuccessChecks(log_file="run2.log", log_must_contain=["good"], must_exist=["out.nc"])
    run = ModelRun(run_id="a", output_dir=tmp_path, config=model, success=more)
    assert run.run() is False
    record = RunRecord.load(run.workspace)
    assert record is not None
    found = {check["target"]: check["ok"] for check in record.checks}
    assert found == {"out.nc": False, "Errfile": False, "bad": True, "good": True}


def test_they_distinguish_a_completed_run(tmp_path: Path) -> None:
    fine = SuccessChecks(must_exist=["out.nc"])
    assert ModelRun(run_id="a", output_dir=tmp_path, config=Foreign(), success=fine).run() is True
    with pytest.raises(ConfigError, match="holds another configuration"):
        ModelRun(run_id="a", output_dir=tmp_path, config=Foreign(), success=CHECKS).run()


def test_they_are_a_key_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tpl").mkdir()
    base = ["model=template", "model.template=tpl", "model.commands=['echo done > a.txt']"]

    def rompy(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rompy_hydra", *arguments, *base, "processor=none"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    answer = rompy("run_id=a", "success={must_exist: [b.txt]}")
    assert answer.returncode == 1
    assert "check must_exist: b.txt was not written" in answer.stdout
    answer = rompy("run_id=b", "success={must_exist: [a.txt]}")
    assert answer.returncode == 0
    checks = json.loads((tmp_path / "runs" / "b" / "run.json").read_text())["checks"]
    assert [check["target"] for check in checks] == ["a.txt"]
    answer = rompy("check", "success={must_exists: [a.txt]}")
    assert answer.returncode == 2
    assert "success.must_exists" in answer.stderr and "must_exist" in answer.stderr


def test_a_missing_package_is_reported_by_the_preflight(tmp_path: Path) -> None:
    """In a Python without site packages but those that a bare installation has."""
    import pydantic

    site = Path(pydantic.__file__).parents[1]
    bare = tmp_path / "bare"
    bare.mkdir()
    for entry in site.iterdir():
        if not entry.name.lower().startswith(("xarray", "netcdf4")):
            (bare / entry.name).symlink_to(entry)
    root = Path(__file__).parents[2]
    (tmp_path / "tpl").mkdir()
    command = [
        *(sys.executable, "-S", "-m", "rompy_hydra", "check", "model=template", "model.template=tpl"),
        *("model.commands=[[ls]]", "model.success.range=[{file: hsig.nc, variable: hs, max: 30}]"),
    ]
    environment = {"PYTHONPATH": f"{root}:{bare}", "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.returncode == 2, answer.stderr
    assert "reading hsig.nc requires xarray and netCDF4" in answer.stderr
    assert "pip install 'rompy-hydra[analysis]'" in answer.stderr
    without = subprocess.run(command[:-1], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert without.returncode == 0, without.stderr
