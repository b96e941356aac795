"""Why a run failed: which command, what the model's error files and its log say, a full disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import BaseConfig, ModelRun, RunRecord
from rompy_hydra.core.execute import execute
from rompy_hydra.errors import ModelFailed
from tests.plans import plan_of


def failure(directory: Path, *commands: Any, run_id: str = "a", **fields: Any) -> str:
    """The message of a run that fails."""
    run = ModelRun(run_id=run_id, output_dir=directory, config=BaseConfig(commands=commands, **fields))
    with pytest.raises(ModelFailed) as error:
        execute(plan_of(run, "generate", "run"))
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert record.error["message"] == str(error.value)
    return str(error.value)


def test_the_command_that_failed_is_named_with_its_position_and_time(tmp_path: Path) -> None:
    message = failure(tmp_path, "echo grid", "sleep 0.3; exit 10", "echo never", "echo never")
    assert re.match(
        r"command 2 of 4, `sleep 0\.3; exit 10`, exited with 10 after 0\.[3-9] s in .*/a\.\n", message
    )
    killed = failure(tmp_path, ["true"], ["sh", "-c", "kill -9 $$"], run_id="b")
    assert killed.startswith("command 2 of 2, `sh -c 'kill -9 $$'`, exited with 137 (SIGKILL) after 0.")
    assert failure(tmp_path, "exit 3", run_id="c").startswith("base exited with 3 in ")


def test_a_program_that_could_not_be_started_is_explained(tmp_path: Path) -> None:
    assert "exited with 127 (the program was not found)" in failure(tmp_path, "ls; no-such-program")
    (tmp_path / "tool").write_text("")
    message = failure(tmp_path, f"cd /; {tmp_path}/tool", run_id="b")
    assert "exited with 126 (the program is not executable)" in message


def test_a_program_that_could_not_be_started_comes_first_and_failed_checks_are_only_counted(
    tmp_path: Path,
) -> None:
    success = {
        "must_exist": ["a.nc", "b.nc"],
        "range": [{"file": "a.nc", "variable": "hs", "min": 0}],
        "log_must_contain": ["done"],
    }
    message = failure(tmp_path, "ls >list; no-such-program", success=success)
    assert message.startswith(
        "the command `ls >list; no-such-program` exited with 127 (the program was not found); "
        "4 checks failed as well in "
    )
    message = failure(tmp_path, "true", "no-such-program -x $HOME", success=success, run_id="b")
    assert message.startswith("command 2 of 2, `no-such-program -x $HOME`, exited with 127 (the program")
    message = failure(tmp_path, "exit 3", success=success, run_id="c")
    assert (
        "exited with 3; check must_exist: a.nc was not written; 3 more checks failed as well in" in message
    )
    record = RunRecord.load(ModelRun(run_id="c", output_dir=tmp_path, config=BaseConfig()).workspace)
    assert record is not None
    assert [check["ok"] for check in record.checks] == [False] * 4, "the record has them all"
    success |= {"must_not_exist": ["Errfile"]}
    message = failure(tmp_path, "touch Errfile; exit 3", success=success, run_id="d")
    assert "exited with 3; check must_not_exist: the model left Errfile; 4 more checks failed" in message


@pytest.mark.parametrize(
    ("command", "loses"),
    [
        ("false | tee x.log", True),
        ("swan.exe 2>&1 |tee x.log", True),
        ("swan.exe |& tee x.log", True),
        (["bash", "-c", "false | tee x.log"], True),
        (["bash", "-o", "pipefail", "-c", "false | tee x.log"], False),
        ("set -o pipefail; false | tee x.log", False),
        ("grep -c 'norm | end' PRINT || true", False),
        ("echo a\\|b", False),
        ("swan.exe > x.log", False),
        ("echo 'unbalanced | ", False),
        (["echo", "a | b"], False),
    ],
)
def test_a_pipeline_that_loses_an_exit_code_is_warned_about(
    command: Any, loses: bool, tmp_path: Path
) -> None:
    model = BaseConfig(commands=["true", command], success={"must_exist": ["x.log"]})
    run = ModelRun(run_id="a", output_dir=tmp_path, config=model)
    cautions = plan_of(run, "generate", "run").cautions
    assert len(cautions) == loses
    assert all(c.startswith("command 2 is a pipeline, and only the exit code") for c in cautions)


def test_the_error_files_of_a_model_are_quoted(tmp_path: Path) -> None:
    message = failure(
        tmp_path,
        "mkdir outputs; echo 'no bottom levels' > Errfile; : > Errfile-002; "
        "seq 100 | sed 's/^/ABORT: line /' > outputs/fatal.error; exit 1",
        success={"error_files": ["Errfile*", "outputs/fatal.error"]},
    )
    assert "\nErrfile:\n  no bottom levels\n" in message
    assert "Errfile-002" not in message
    assert "\noutputs/fatal.error:\n  ABORT: line 1\n" in message
    assert "  ABORT: line 5\n  ...\n  ABORT: line 96\n" in message
    # Without checks, the file that is never right is quoted.
    assert "\nErrfile:\n  no bottom" in failure(tmp_path, "echo 'no bottom' > Errfile; exit 1", run_id="c")
    # A file that must not exist says what went wrong as well.
    message = failure(
        tmp_path,
        "echo 'wrong depth' > XBerror.txt",
        success={"must_not_exist": ["XBerror.txt"]},
        run_id="b",
    )
    assert "\nXBerror.txt:\n  wrong depth\n" in message


def test_the_first_and_the_last_lines_that_look_like_errors_are_shown_of_a_long_log(tmp_path: Path) -> None:
    message = failure(
        tmp_path,
        "echo 'ERROR: cannot open bathy.nc'; seq 3000; echo 'late: fatal NaN'; seq 1000; "
        "echo '0 errors'; seq 20 | sed 's/^/backtrace /'; exit 1",
    )
    shown = "  ERROR: cannot open bathy.nc\n  late: fatal NaN\nLast lines"
    assert f"\nLines of run.log that look like errors:\n{shown}" in message
    # What the end of the log shows is not shown twice.
    assert failure(tmp_path, "echo error; exit 1", run_id="b").count("error") == 1


def test_an_error_file_that_is_a_pipe_or_leads_out_of_the_run_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "host").write_text("of the host\n")
    message = failure(
        tmp_path,
        f"mkfifo Errfile-1; ln -s {tmp_path}/host Errfile-2; exit 1",
        success={"error_files": ["Errfile*"]},
    )
    assert "of the host" not in message


def test_a_full_disk_is_called_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    message = failure(small_disk, "cat /dev/zero > field.nc 2>/dev/null; exit 139")
    assert "\nThe disk is full: no space is left for " in message
    # The model removed what it wrote, but its log says it.
    said = failure(tmp_path, "echo 'write: No space left on device' >&2; exit 1")
    assert "\nThe disk is full" in said
    assert "The disk is full" not in failure(tmp_path, "exit 1", run_id="b")


def test_a_run_that_completes_on_a_full_disk_has_a_warning(small_disk: Path) -> None:
    model = BaseConfig(commands=["echo data > a.nc; cat /dev/zero > b.nc 2>/dev/null; exit 0"])
    run = ModelRun(run_id="a", output_dir=small_disk, config=model)
    record = execute(plan_of(run, "generate", "run"))
    assert record.state == "completed"
    assert record.warnings == ["the disk is full: the outputs may be incomplete"]


def test_the_number_of_the_command_is_not_an_output(tmp_path: Path) -> None:
    model = BaseConfig(commands=["echo a > a.txt", "echo b > b.txt"])
    record = execute(plan_of(ModelRun(run_id="a", output_dir=tmp_path, config=model), "generate", "run"))
    assert [fact.path for fact in record.outputs] == ["a.txt", "b.txt"]
    assert os.path.exists(tmp_path / "a" / "run.step")
