"""Runs that complete with warnings: on the terminal, in the record and in the table."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model that warns of high waves in a log of its own."""
    (tmp_path / "tpl").mkdir()
    (tmp_path / "tpl" / "in.txt").write_text("{{ model.x }}\n")
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "wave.yaml").write_text(
        "defaults: [template]\ntemplate: tpl\nparameters: {x: 1}\n"
        "commands: ['cp in.txt out.txt; grep -q 2 in.txt && echo Warning: CFL 5 > PRINT || : > PRINT']\n"
        "success: {must_exist: [out.txt], logs: [{file: PRINT, warnings: ['(?i)warning']}]}\n"
    )
    return tmp_path


def rompy(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "rompy_hydra", "--config-dir", "conf", "model=wave", "processor=none"]
    answer = subprocess.run(
        [*command, *arguments], cwd=project, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return answer.stdout


def test_a_run_completes_with_warnings(project: Path) -> None:
    out = rompy(project, "run_id=a", "model.parameters.x=2")
    assert "completed  a in" in out and ", with 1 warning\n" in out
    assert "warning    PRINT: Warning: CFL 5" in out
    record = json.loads((project / "runs" / "a" / "run.json").read_text())
    assert record["state"] == "completed"
    assert {"check": "warnings", "target": "(?i)warning", "ok": True, "message": "PRINT: Warning: CFL 5",
            "warning": True} in record["checks"]  # fmt: skip
    assert "warning" not in rompy(project, "run_id=b", "model.parameters.x=3")


def test_the_warnings_of_a_sweep_are_in_its_summary_and_in_its_table(project: Path) -> None:
    out = rompy(project, "-m", "model.parameters.x=1,2,3")
    assert "completed  x=2  " in out and "with warnings: PRINT: Warning: CFL 5" in out
    assert "warnings   1 run completed with warnings, see the column warnings: x=2: PRINT" in out
    with (project / "sweeps" / "wave" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["warnings"]) for row in rows] == [
        ("completed", ""),
        ("completed", "PRINT: Warning: CFL 5"),
        ("completed", ""),
    ]
    # Also where the runs were done by an earlier command.
    rompy(project, "-m", "model.parameters.x=1,2,3,4")
    assert "PRINT: Warning: CFL 5" in (project / "sweeps" / "wave" / "results.csv").read_text()
