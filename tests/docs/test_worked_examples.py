"""The model configurations in docs/models.md, with programs that fail in the same ways as the real ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from rompy_hydra import LocalConfig, ModelRun, RunRecord, TemplateModel
from rompy_hydra.compose import app
from rompy_hydra.compose.build import build_run
from rompy_hydra.compose.composer import parser

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
sys.path.insert(0, str(PAGE.parent))
from sessions import blocks  # noqa: E402

# What each program does if nothing fails: a shell line, executed in the run directory.
GOOD = {
    "swan.exe": "test -s INPUT && echo hs >hsig.nc && touch norm_end && echo done >PRINT",
    "xbeach": "test -s params.txt && echo zb >xboutput.nc",
    "mpirun": 'shift 2; exec "$@"',
    "pschism": ": >outputs/fatal.error; echo elev >outputs/out2d_1.nc; "
    "echo 'Run completed successfully at 2024' >outputs/mirror.out",
    "ww3_grid": "echo g >mod_def.ww3",
    "ww3_strt": "echo r >restart.ww3",
    "ww3_shel": "echo o >out_grd.ww3",
    "ww3_ounf": "echo n >ww3.202401.nc",
}
TEMPLATES = {"swan": "INPUT.j2", "xbeach": "params.txt", "schism": "param.nml", "ww3": "ww3_grid.nml"}
# A fault, the model, the program that fails, its shell line, and a part of the recorded error.
FAULTS = [
    ("no bathymetry", "swan", "swan.exe", "echo 'no bottom' >Errfile; touch norm_end", "Errfile"),
    ("no output", "swan", "swan.exe", "touch norm_end; echo ok >PRINT", "hsig.nc was not written"),
    (
        "a severe error",
        "swan",
        "swan.exe",
        "echo hs >hsig.nc; echo '** Severe error: no wave' >PRINT-001",
        "Severe error",
    ),
    ("half an output", "swan", "swan.exe", "echo h >hsig.nc; exit 1", "exited with 1"),
    ("an error", "xbeach", "xbeach", "echo zb >xboutput.nc; echo e >XBerror.txt; exit 1", "XBerror.txt"),
    ("an error", "schism", "pschism", "echo 'ABORT: dt' >outputs/fatal.error; exit 2", "fatal.error"),
    (
        "an early end",
        "schism",
        "pschism",
        ": >outputs/fatal.error; echo e >outputs/out2d_1.nc; echo step 7 >outputs/mirror.out",
        "Run completed successfully",
    ),
    ("a fault in the grid", "ww3", "ww3_grid", "exit 3", "exited with 3"),
    ("a fault in the start", "ww3", "ww3_strt", "exit 50", "exited with 50"),
    ("a fault on the way", "ww3", "ww3_shel", "echo o >out_grd.ww3; exit 60", "exited with 60"),
]


def _model(name: str, directory: Path) -> TemplateModel:
    """The configuration on the page, with placeholders for the template and mesh files."""
    text = next(b for b in blocks(PAGE) if b.note == f"conf/model/{name}.yaml")
    fields = yaml.safe_load("\n".join(text.lines))
    assert fields.pop("defaults") == ["template"]
    template = directory / fields["template"]
    template.mkdir()
    shown = [b.lines for b in blocks(PAGE) if b.note == f"{name}/{TEMPLATES[name]}"]
    (template / TEMPLATES[name]).write_text("\n".join([*(shown[0] if shown else ["x"]), ""]))
    for staged in fields.get("files", []):
        staged["source"] = str(directory / staged["source"])
        Path(staged["source"]).parent.mkdir(exist_ok=True)
        Path(staged["source"]).write_text("mesh\n")
    return TemplateModel(**fields | {"template": str(template)})


def _run(name: str, directory: Path, faults: Mapping[str, str]) -> tuple[bool, RunRecord]:
    programs = directory / "bin"
    programs.mkdir()
    for program, line in (GOOD | faults).items():
        (programs / program).write_text(f"#!/bin/sh\n{line}\n")
        (programs / program).chmod(0o755)
    run = ModelRun(run_id=name, output_dir=directory / "runs", config=_model(name, directory))
    path = f"{programs}:{os.environ['PATH']}"
    success = run.run(LocalConfig(env_vars={"PATH": path}, timeout=60))
    record = RunRecord.load(run.workspace)
    assert record is not None
    return success, record


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_example_completes_if_nothing_fails(name: str, tmp_path: Path) -> None:
    success, record = _run(name, tmp_path, {})
    assert success, record.error
    assert record.stages["run"].state == "completed"


@pytest.mark.parametrize(
    ("name", "program", "does", "expected"),
    [fault[1:] for fault in FAULTS],
    ids=[f"{fault[1]}-{fault[0].replace(' ', '-')}" for fault in FAULTS],
)
def test_an_example_detects_each_failure_of_its_program(
    name: str, program: str, does: str, expected: str, tmp_path: Path
) -> None:
    success, record = _run(name, tmp_path, {program: does})
    assert not success
    assert record.state == "failed"
    assert record.error is not None and expected in str(record.error["message"])


def test_the_swan_example_renders_its_parameters(tmp_path: Path) -> None:
    _success, record = _run("swan", tmp_path, {})
    text = (tmp_path / "runs" / "swan" / "INPUT").read_text()
    assert "CONSTANT PAR 2.0 9.0 270.0 20." in text
    assert record.exit_code == 0


def test_the_examples_compose_with_hydra(tmp_path: Path) -> None:
    for block in blocks(PAGE):
        if block.note.startswith("conf/model/"):
            path = tmp_path / block.note
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(block.lines) + "\n")
    for name in TEMPLATES:
        arguments = parser().parse_args(["--config-dir", str(tmp_path / "conf"), f"model={name}"])
        with app.opened(arguments) as composer:
            built = build_run(composer.compose(arguments.overrides))
        assert isinstance(built.plan.spec.config, TemplateModel)
