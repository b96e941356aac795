"""What is never right fails a model that declares no success checks, unless it is allowed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray

from rompy_hydra import BaseConfig, LocalConfig, ModelRun, RunRecord

BareRun = Callable[[str], subprocess.CompletedProcess[str]]
MISSING = (
    "import numpy, xarray; n = numpy.full((3, 2), numpy.nan); "
    "xarray.Dataset({'hs': (('time', 'x'), n), 'lat': ('x', [1.0, 2.0]), 'bed': ('x', [1.0, 2.0])}, "
    "{'time': [0.0, 1.0, 2.0]}).to_netcdf('out.nc')"
)
NO_STEPS = (
    "import numpy, xarray; xarray.Dataset({'hs': (('time', 'x'), numpy.zeros((0, 2)))}, "
    "{'time': numpy.zeros(0)}).to_netcdf('out.nc', unlimited_dims=['time'])"
)
# What is never right, a command that does it, and a part of the message.
NEVER = [
    ("error_files", "touch out Errfile-001", "the model left Errfile-001"),
    ("error_lines", "echo ok > out.txt; echo '0: ABORT: bad dt'", "run.log contains: 0: ABORT: bad dt"),
    ("error_lines", "echo ok > o; echo 'MPI_ABORT was invoked on rank 0'", "MPI_ABORT was invoked"),
    ("error_lines", "echo ' ** Severe error: no wave' > PRINT-001", "PRINT-001 contains: ** Severe error"),
    ("error_lines", "mkdir o; echo 'ABORT: x' > o/fatal.error", "o/fatal.error contains: ABORT: x"),
    ("all_missing", [sys.executable, "-c", MISSING], "every value in out.nc is missing"),
    ("all_missing", [sys.executable, "-c", NO_STEPS], "every value in out.nc is missing"),
    ("all_missing", "printf 'time,hs\\n0,****\\n1,****\\n' > a.csv", "every value in a.csv is missing"),
    ("all_missing", "printf 'mode,hs\\n1,****\\n2,****\\n' > a.csv", "every value in a.csv is missing"),
    ("all_missing", "printf 'time,hs\\n0,\\n1,\\n' > a.csv", "every value in a.csv is missing"),
    ("all_missing", "printf 'time,hs\\n' > a.csv", "every value in a.csv is missing, or there is none"),
    ("all_missing", ": > a.csv; echo done", "every value in a.csv is missing, or there is none"),
    ("damaged", "printf '\\000\\000\\377' > a.csv", "a.csv is no table: it contains binary data"),
    ("damaged", "printf '\\211HDF\\r\\n\\032\\n' > out.nc", "out.nc as netCDF"),
    ("damaged", "printf 'CDF\\001' > out.nc", "end within the header"),
    ("all_missing", "touch out.nc", "every value in out.nc is missing, or there is none"),
    ("all_missing", "printf 'time,hs\\n0,NaN\\n1,NaN\\n' > a.csv", "every value in a.csv is missing"),
    ("no_output", "cat < /dev/null", "the model wrote no file, and nothing to run.log"),
]
FINE = [
    "echo to the log only",
    "touch out.txt",
    "true",
    "sleep 0",
    ": nothing to do",
    "echo done > out.txt; echo 'abort_on_nan = true'; echo 'ABORT_ON_NAN = 1'; echo 'ABORT = 0'",
    "echo done > out.txt; echo 'Severe errors: 0'; echo 'no severe error'",
    "printf 'time,hs\\n0,NaN\\n1,2.5\\n' > a.csv",
    "printf 'station,name\\n1,Tofino\\n' > a.csv",
    "echo 'not netCDF' > out.nc",
    "printf 'name,place\\nTofino,north\\n' > a.csv",
    "printf 'mode,hs\\n1,****\\n2,3\\n' > a.csv",
    "printf 'x,y\\n1,13\\n' > a.csv",
    "echo done > a.csv",
    "printf 'time,hs\\n0,1.5+103\\n' > a.csv",
    ": > warnings.csv; printf 'time,hs\\n0,1\\n' > a.csv",
]


def ends(directory: Path, command: Any, **fields: Any) -> RunRecord:
    run = ModelRun(run_id="a", output_dir=directory, config=BaseConfig(commands=[command], **fields))
    run.run()
    record = RunRecord.load(run.workspace)
    assert record is not None
    return record


@pytest.mark.parametrize(("kind", "command", "message"), NEVER)
def test_what_is_never_right_fails_and_can_be_allowed(
    kind: str, command: Any, message: str, tmp_path: Path
) -> None:
    record = ends(tmp_path / "runs", command)
    assert record.state == "failed"
    assert record.error is not None
    assert f"check {kind}: " in str(record.error["message"])
    assert message in str(record.error["message"])
    assert f"model.success.allow=[{kind}]" in str(record.error["message"])
    assert ends(tmp_path / "allowed", command, success={"allow": [kind]}).state == "completed"


@pytest.mark.parametrize("command", FINE)
def test_an_honest_run_without_checks_completes(command: str, tmp_path: Path) -> None:
    record = ends(tmp_path, command)
    assert (record.state, record.warnings) == ("completed", [])


def test_declared_checks_replace_the_safeguards(tmp_path: Path) -> None:
    success = {"must_exist": ["out.nc"]}
    assert ends(tmp_path, "touch Errfile; echo x > out.nc", success=success).state == "completed"


def test_outputs_may_be_elsewhere_or_changed_inputs(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    config = BaseConfig(commands=["touch out.txt"])
    run = ModelRun(run_id="elsewhere", output_dir=tmp_path, config=config)
    assert run.run(LocalConfig(working_dir=str(tmp_path / "work")))
    (tmp_path / "state").write_text("0\n")
    changed = BaseConfig(files=[str(tmp_path / "state")], commands=["echo 1 > state"])
    assert ModelRun(run_id="changed", output_dir=tmp_path, config=changed).run()


def test_a_model_without_checks_is_warned_about_in_check_and_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tpl").mkdir()
    (tmp_path / "tpl/in.txt").write_text("{{ model.x | default(0) }}")
    base = ["model=template", "model.template=tpl", "model.commands=['echo done']", "processor=none"]
    warning = "the model (template) declares no success checks"

    def output(*arguments: str) -> str:
        command = [sys.executable, "-m", "rompy_hydra", *arguments, *base]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert output("check").count(warning) == 1
    assert output("check", "-m", "+model.parameters.x=1,2").count(warning) == 1
    assert output("-m", "+model.parameters.x=1,2").count(warning) == 1
    assert output("run_id=a").count(warning) == 1
    assert warning not in output("run_id=a"), "nothing is left to do"
    assert warning not in output("run_id=b", "model.success.log_must_contain=[done]")
    assert warning not in output("run_id=c", "model.success.allow=[no_output]")


def test_a_minimal_installation_says_which_safeguard_it_lacks(
    minimal_python: BareRun, tmp_path: Path
) -> None:
    xarray.Dataset({"hs": ("x", [float("nan")] * 3)}).to_netcdf(tmp_path / "lost.nc")
    result = minimal_python(
        "from rompy_hydra import BaseConfig, ModelRun, RunRecord\n"
        "from tests.plans import plan_of\n"
        "run = ModelRun(run_id='a', config=BaseConfig(commands=['cp ../../lost.nc out.nc']))\n"
        "print(*plan_of(run).cautions)\n"
        "assert run.run()\n"
        "print(RunRecord.load(run.workspace).warnings)\n"
    )
    assert result.returncode == 0, result.stderr
    extra = "pip install 'rompy-hydra[analysis]'"
    assert f"netCDF outputs only with xarray and netCDF4: {extra}" in result.stdout
    assert "out.nc was not searched for missing values" in result.stdout


def test_the_safeguards_cost_no_measurable_time(tmp_path: Path) -> None:
    from rompy_hydra import SuccessChecks
    from rompy_hydra.workspace import Workspace

    workspace = Workspace(tmp_path)
    workspace.log.write_text("done\n")
    checks = SuccessChecks()
    checks.evaluate(workspace, None, [], ("true",))
    begin = time.process_time()
    for _ in range(1000):
        checks.evaluate(workspace, None, [], ("true",))
    # A trivial run takes about 2 ms.
    assert time.process_time() - begin < 0.4
