"""The model configurations in docs/models.md, with programs that fail in the same ways as the real ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from rompy_hydra import LocalConfig, ModelRun, RunRecord, TemplateModel, TimeRange
from rompy_hydra.compose import app
from rompy_hydra.compose.build import build_run
from rompy_hydra.compose.composer import parser

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
sys.path.insert(0, str(PAGE.parent))
from sessions import blocks  # noqa: E402

# Writes a netCDF file with a time axis: `mknc FILE HOURS NAME=VALUES...`. The values of `NAME=` are
# repeated at each hour, those of `NAME@` are constant.
MKNC = """\
import sys, netCDF4
with netCDF4.Dataset(sys.argv[1], "w") as file:
    hours = int(sys.argv[2])
    name = "globaltime" if "xb" in sys.argv[1] else "time"
    file.createDimension(name, hours + 1)
    time = file.createVariable(name, "f8", (name,))
    time.units = "s" if name != "time" else "seconds since 2024-01-01 00:00:00"
    time[:] = [3600.0 * hour for hour in range(hours + 1)]
    for argument in sys.argv[3:]:
        steady = "@" in argument
        variable, values = argument.split("@" if steady else "=")
        numbers = [float(value) for value in values.split(",")]
        if "x" not in file.dimensions:
            file.createDimension("x", len(numbers))
        dims = ("x",) if steady else (name, "x")
        file.createVariable(variable, "f4", dims)[:] = numbers if steady else [numbers] * (hours + 1)
"""
SWAN = "mknc hsig.nc 0 hs={hs} depth@5,4,3; touch norm_end; echo ' accuracy OK in  99.60 % of wet' >PRINT"
XBEACH = "mknc xboutput.nc {hours} H={h} zs={zs} zb={zb}; echo 'End of program xbeach' >XBlog.txt; "
SCHISM = ": >outputs/fatal.error; mknc outputs/out2d_1.nc {hours} elevation={level} depth@9,5,0; "
SCHISM += "echo 'Run completed successfully at 2024' >outputs/mirror.out"
OUNF = "mknc ww3.202401.nc 3 hs={hs} uwnd={wind} vwnd=1,1,1"
SFINCS = "mknc sfincs_map.nc {hours} zs={zs} zb@-3,-2,4"
# What each program does if nothing fails: a shell line, executed in the run directory.
GOOD = {
    "swan.exe": "test -s INPUT && " + SWAN.format(hs="1.9,2.0,1.2"),
    "xbeach": "test -s params.txt && " + XBEACH.format(hours=3, h="0,1,2", zs="0,.1,.2", zb="-9,-2,1"),
    "mpirun": 'shift 2; exec "$@"',
    "pschism": SCHISM.format(hours=3, level=".1,.2,nan"),
    "ww3_grid": "echo g >mod_def.ww3",
    "ww3_strt": "echo r >restart.ww3",
    "ww3_shel": "echo o >out_grd.ww3",
    "ww3_ounf": OUNF.format(hs="1,2,nan", wind="9,9,nan"),
    "sfincs": "test -s sfincs.inp && " + SFINCS.format(hours=3, zs=".1,.2,nan"),
}
PERIOD = TimeRange(start="2024-01-01", end="2024-01-01T03:00:00")
TEMPLATES = {
    "swan": "INPUT.j2",
    "xbeach": "params.txt",
    "schism": "param.nml",
    "ww3": "ww3_grid.nml",
    "sfincs": "sfincs.inp",
}
# Inputs that are checked as well.
INPUTS = {
    "swan": ("bottom.bot", "5 4 3\n" * 21),
    "sfincs": ("sfincs.bzs", "0 0.1\n10800 0.2\n"),
}
# A fault, the model, the program that fails, its shell line, and a part of the recorded error.
FAULTS = [
    ("no bathymetry", "swan", "swan.exe", "echo 'no bottom' >Errfile; touch norm_end", "  no bottom"),
    ("no output", "swan", "swan.exe", "touch norm_end; echo ok >PRINT", "hsig.nc was not written"),
    (
        "a severe error",
        "swan",
        "swan.exe",
        "echo hs >hsig.nc; echo '** Severe error: no wave' >PRINT-001",
        "Severe error",
    ),
    ("half an output", "swan", "swan.exe", "echo h >hsig.nc; exit 1", "exited with 1"),
    (
        "no convergence",
        "swan",
        "swan.exe",
        SWAN.format(hs="1,2,1").replace("99.60", "49.00"),
        "reaches 49, below the minimum of 95",
    ),
    ("all land", "swan", "swan.exe", SWAN.format(hs="nan,nan,nan").replace("5,4,3", "-1,-1,-1"), "mask"),
    ("garbage", "swan", "swan.exe", SWAN.format(hs="1,5e8,1"), "above the maximum of 20"),
    ("no waves", "swan", "swan.exe", SWAN.format(hs="0,0,0"), "hs in hsig.nc is 0 everywhere"),
    ("an error", "xbeach", "xbeach", "echo zb >xboutput.nc; echo e >XBerror.txt; exit 1", "XBerror.txt"),
    (
        "a lost bed",
        "xbeach",
        "xbeach",
        XBEACH.format(hours=3, h="0,1,2", zs="0,0,0", zb="nan,nan,1"),
        "zb in xboutput.nc lacks 67 % of its values",
    ),
    (
        "a dry sea",
        "xbeach",
        "xbeach",
        XBEACH.format(hours=3, h="0,0,0", zs="-20,-20,-20", zb="-9,-2,1"),
        "reaches -20, below the minimum of -5",
    ),
    (
        "an early end",
        "xbeach",
        "xbeach",
        XBEACH.format(hours=2, h="0,1,2", zs="0,0,0", zb="-9,-2,1"),
        "ends at 2024-01-01T02:00:00, before 2024-01-01T03:00:00",
    ),
    ("an error", "schism", "pschism", "echo 'ABORT: dt' >outputs/fatal.error; exit 2", "  ABORT: dt"),
    (
        "an abort with exit code 0",
        "schism",
        "pschism",
        SCHISM.format(hours=3, level="0,1,0") + "; echo 'ABORT: NaN amplitude' >outputs/fatal.error",
        "  ABORT: NaN amplitude",
    ),
    (
        "an early end",
        "schism",
        "pschism",
        SCHISM.format(hours=3, level="0,1,0") + "; echo step 7 >outputs/mirror.out",
        "Run completed successfully",
    ),
    ("high levels", "schism", "pschism", SCHISM.format(hours=3, level="0,99,0"), "reaches 99"),
    ("a fault in the grid", "ww3", "ww3_grid", "exit 3", "command 1 of 4, `ww3_grid`, exited with 3"),
    ("a fault in the start", "ww3", "ww3_strt", "exit 50", "command 2 of 4, `ww3_strt`, exited with 50"),
    ("a fault on the way", "ww3", "ww3_shel", "echo o >out_grd.ww3; exit 60", "exited with 60"),
    ("a strong wind", "ww3", "ww3_ounf", OUNF.format(hs="1,2,1", wind="200,9,9"), "uwnd"),
    ("a lost wind", "ww3", "ww3_ounf", OUNF.format(hs="1,2,1", wind="nan,nan,nan"), "uwnd"),
    ("an error", "sfincs", "sfincs", "exit 2", "exited with 2"),
    ("a flood", "sfincs", "sfincs", SFINCS.format(hours=3, zs="994,1,1"), "reaches 994"),
    ("no time", "sfincs", "sfincs", SFINCS.format(hours=0, zs="0,.1,.2"), "before 2024-01-01T03:00:00"),
]
# A fault in an input, the model, the content of the input, and a part of the recorded error.
INPUT_FAULTS = [
    ("a truncated bathymetry", "swan", "5 4 3\n" * 9, "bottom.bot has 9, fewer than the 21 expected"),
    ("a missing depth", "swan", "5 4 3\n" * 20 + "5 nan 3\n", "a column in bottom.bot lacks"),
    ("a missing level", "sfincs", "0 0.1\n10800 NaN\n", "column 2 in sfincs.bzs lacks 50 %"),
    ("a high level", "sfincs", "0 0.1\n10800 200\n", "reaches 200"),
    ("a short forcing", "sfincs", "0 0.1\n3600 0.2\n", "sfincs.bzs ends at 2024-01-01T01:00:00"),
]
# Values outside the limits of the examples' parameters.
REFUSED = [
    ("swan", "wave_height", -2),
    ("swan", "friction", -0.02),
    ("xbeach", "d50", -0.0003),
    ("xbeach", "d50", "abc"),
    ("xbeach", "significant_height", -1),
    ("xbeach", "manning", -0.02),
    ("xbeach", "cfl", 5),
    ("xbeach", "initial_level", -20),
    ("schism", "thetai", 0),
    ("schism", "tide", 500),
    ("schism", "tide", float("nan")),
    ("schism", "drag", -0.1),
    ("sfincs", "alpha", 5),
    ("sfincs", "manning", -0.04),
    ("ww3", "growth", -1),
]


def _model(
    name: str, directory: Path, given: str | None = None, parameters: Mapping[str, object] | None = None
) -> TemplateModel:
    """The configuration on the page, with placeholders for the template and mesh files.

    `given` is the content of the input that is checked; `parameters` replace declared ones.
    """
    text = next(b for b in blocks(PAGE) if b.note == f"conf/model/{name}.yaml")
    fields = yaml.safe_load("\n".join(text.lines))
    assert fields.pop("defaults") == ["template"]
    template = directory / fields["template"]
    template.mkdir()
    shown = [b.lines for b in blocks(PAGE) if b.note == f"{name}/{TEMPLATES[name]}"]
    (template / TEMPLATES[name]).write_text("\n".join([*(shown[0] if shown else ["x"]), ""]))
    if name in INPUTS:
        (template / INPUTS[name][0]).write_text(INPUTS[name][1] if given is None else given)
    fields["parameters"] |= parameters or {}
    for staged in fields.get("files", []):
        staged["source"] = str(directory / staged["source"])
        Path(staged["source"]).parent.mkdir(exist_ok=True)
        Path(staged["source"]).write_text("mesh\n")
    return TemplateModel(**fields | {"template": str(template)})


def _run(
    name: str, directory: Path, faults: Mapping[str, str], given: str | None = None
) -> tuple[bool, RunRecord]:
    programs = directory / "bin"
    programs.mkdir()
    for program, line in (GOOD | faults).items():
        (programs / program).write_text(f"#!/bin/sh\n{line}\n")
        (programs / program).chmod(0o755)
    (programs / "mknc").write_text(f"#!{sys.executable}\n{MKNC}")
    (programs / "mknc").chmod(0o755)
    model = _model(name, directory, given)
    run = ModelRun(run_id=name, output_dir=directory / "runs", config=model, period=PERIOD)
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
    assert record.warnings == []


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


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [fault[1:] for fault in INPUT_FAULTS],
    ids=[f"{fault[1]}-{fault[0].replace(' ', '-')}" for fault in INPUT_FAULTS],
)
def test_an_example_detects_a_damaged_input(name: str, given: str, expected: str, tmp_path: Path) -> None:
    success, record = _run(name, tmp_path, {}, given)
    assert not success
    assert record.error is not None and expected in str(record.error["message"])


@pytest.mark.parametrize(("name", "parameter", "value"), REFUSED)
def test_an_example_refuses_an_implausible_parameter(
    name: str, parameter: str, value: object, tmp_path: Path
) -> None:
    limits = _model(name, tmp_path).parameter_limits
    assert limits[parameter].wrong(value)  # type: ignore[arg-type]


def test_an_unknown_keyword_of_xbeach_is_a_warning(tmp_path: Path) -> None:
    line = "Unknown, unused or multiple statements of parameter TYPO_KEYWORD in params.txt"
    does = GOOD["xbeach"] + f"echo '{line}' >>XBlog.txt"
    success, record = _run("xbeach", tmp_path, {"xbeach": does})
    assert success
    assert record.warnings == [f"XBlog.txt: {line}"]


def test_at_most_five_of_the_faults_in_the_table_may_pass() -> None:
    table = PAGE.read_text().partition("<!-- faults -->")[2].partition("\n\n")[0].splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("| ")
    ]
    results = [row[2] for row in rows[1:]]
    assert len(results) >= 28
    assert set(results) == {"stopped", "fails", "warns", "may pass"}
    assert results.count("may pass") == 3
    assert {row[0] for row in rows[1:]} == {"SWAN", "XBeach", "SCHISM", "SFINCS", "WAVEWATCH III"}


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
