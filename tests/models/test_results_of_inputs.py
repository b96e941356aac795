"""What a model did not write is no result: inputs of the template, and outputs that match nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import ModelRun, RunRecord, TemplateModel, TimeRange
from rompy_hydra.postprocess.summary import SummaryPostprocessor
from tests.plans import plan_of

PERIOD = TimeRange(start="2024-01-01", end="2024-01-04")
TABLE = "time,h\\n0,1\\n72,2\\n"
COLUMN = {"file": "result.csv", "variable": "h"}
CHECKS: list[dict[str, Any]] = [
    {"must_exist": ["result.csv"]},
    {"must_exist": ["*.csv"]},
    {"range": [COLUMN | {"min": 0, "max": 5}]},
    {"finite": [COLUMN]},
    {"not_constant": [COLUMN]},
    {"not_all_zero": [COLUMN]},
    {"last_time": [{"file": "result.csv", "unit": "h"}]},
    {"count": [{"file": "result.csv"}]},
    {"log_must_contain": ["time"], "log_file": "result.csv"},
    {"logs": [{"file": "result.csv", "must_contain": ["time"]}]},
]


def ends(directory: Path, command: str, run_id: str = "a", **fields: Any) -> RunRecord:
    template = directory / "template"
    template.mkdir(exist_ok=True)
    (template / "result.csv").write_text("time,h\n0,1\n72,2\n")
    model = TemplateModel(template=str(template), commands=[command], **fields)
    run = ModelRun(run_id=run_id, output_dir=directory / "runs", config=model, period=PERIOD)
    run.run()
    record = RunRecord.load(run.workspace)
    assert record is not None
    return record


@pytest.mark.parametrize("success", CHECKS, ids=lambda each: str(next(iter(each))))
def test_an_input_that_the_model_did_not_write_is_no_result(
    success: dict[str, Any], tmp_path: Path
) -> None:
    record = ends(tmp_path, "echo nothing computed", success=success)
    assert record.error is not None
    assert "result.csv is an input, and the model did not write it" in str(record.error["message"])
    again = f"printf '{TABLE}' > result.csv"
    assert ends(tmp_path, again, "b", success=success).state == "completed", "with the same content"


def test_a_check_may_be_about_an_input(tmp_path: Path) -> None:
    fine = {"range": [COLUMN | {"min": 0, "input": True}], "count": [{"file": "result.csv", "input": True}]}
    assert ends(tmp_path, "echo done", success=fine).state == "completed"
    wrong = {"range": [COLUMN | {"min": 2, "input": True}]}
    assert "reaches 1" in str(ends(tmp_path, "echo done", "b", success=wrong).error)


def test_a_glob_that_also_matches_an_input_is_about_the_results(tmp_path: Path) -> None:
    success = {"range": [{"file": "*.csv", "variable": "h", "min": 5}], "must_exist": ["*.csv"]}
    command = "printf 'time,h\\n0,6\\n' > new.csv"
    assert ends(tmp_path, command, success=success).state == "completed"


def test_a_model_without_execution_is_checked_by_its_inputs(tmp_path: Path) -> None:
    record = ends(tmp_path, "true", needs_execution=False, success={"must_exist": ["result.csv"]})
    assert record.state == "completed"


def test_outputs_that_match_nothing_are_a_warning(tmp_path: Path) -> None:
    record = ends(tmp_path, "mkdir out; echo 1 > out/a.txt", outputs=["res/*.nc"])
    assert record.warnings == ["the model wrote nothing that matches 'res/*.nc' (model.outputs)"]
    found = ends(tmp_path, "mkdir out; echo 1 > out/a.txt", "b", outputs=["out/*.txt"])
    assert (found.state, found.warnings) == ("completed", [])


def test_the_summary_is_about_the_declared_outputs(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    write = "mkdir out; printf 'time,h\\n0,6\\n' | tee scratch.csv > out/good.csv"
    model = TemplateModel(template=str(template), commands=[write], outputs=["out"])
    run = ModelRun(run_id="a", output_dir=tmp_path / "runs", config=model)
    from rompy_hydra.core.execute import execute

    record = execute(plan_of(run, processors=(SummaryPostprocessor(),)))
    assert {key.partition(".")[0] for key in record.metrics} == {"good"}
    chosen = SummaryPostprocessor(files=("scratch.csv",)).process(run)
    assert any(key.startswith("scratch.") for key in chosen["metrics"]), "unless a file is asked for"
