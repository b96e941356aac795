"""The table of plausibility checks: what each of them accepts and rejects, in every kind of output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from rompy_hydra import SuccessChecks, TimeRange
from rompy_hydra.workspace import Workspace

NAN = float("nan")
PERIOD = TimeRange(start="2024-01-01", end="2024-01-01T03:00:00")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A run directory with one output of each kind: waves over a bed that is dry at one end."""
    run = Workspace(tmp_path / "run")
    run.path.mkdir()
    hours = np.arange(4)
    waves = np.array([[NAN, 0.5, 1.0], [NAN, 0.6, 1.5], [NAN, 0.7, 2.0], [NAN, 0.8, 2.5]], dtype="f4")
    xr.Dataset(
        {
            "hs": (("time", "x"), waves, {"units": "m"}),
            "bed": (("x",), np.array([1.0, -2.0, -9.0])),
            "flat": (("time", "x"), np.full((4, 3), 3.0)),
            "still": (("time", "x"), np.zeros((4, 3))),
            "lost": (("time", "x"), np.full((4, 3), NAN)),
            "packed": (("time",), np.array([1.0, 2.0, 3.0, NAN]), {}, {"scale_factor": 0.5, "dtype": "i2"}),
        },
        {"time": ("time", hours, {"units": "hours since 2024-01-01", "calendar": "standard"})},
    ).to_netcdf(run.path / "out.nc", encoding={"packed": {"_FillValue": -999}})
    undated = xr.Dataset({"zs": (("globaltime",), [0.1, 0.2])}, {"globaltime": [0.0, 7200.0]})
    undated.to_netcdf(run.path / "undated.nc")
    (run.path / "gauge.csv").write_text(
        "time,level_m,quality\n2024-01-01T00:00,0.1,ok\n2024-01-01T02:00,-0.4,ok\n2024-01-01T03:00,NaN,bad\n"
    )
    (run.path / "point.tab").write_text(
        "% Run:x\n%    Time        Hsig    Depth\n%    [s]   [m]   [m]\n"
        "   0.0  0.100D+01   5.0\n 3600.0  0.250D+01   5.0\n 7200.0  -9.0   0.0\n"
    )
    (run.path / "grid.bot").write_text("5 6 7\n 8 nan 9\n")
    (run.path / "fixed.txt").write_text("  1.00-12.50\n  2.00******\n  3.00 -8.25\n")
    (run.path / "wild.csv").write_text("inf,stars,large,small\n1,****,1.5+103,1.5-103\n-inf,1,1,1\n")
    write_times(run.path)
    (run.path / "run.log").write_text(
        "step 1 Courant 0.3\nstep 2 Courant 0.9\nstep 3 Courant 0.5\naccuracy OK in 49.00 %\n"
        "accuracy OK in 98.20 %\nmass 1.0D+03\n"
    )
    return run


def timed(
    path: Path, units: str, times: list[float], x: tuple[float, ...] = (0.0, 1.0), **attrs: str
) -> None:
    """A file with these times and places."""
    values = np.arange(float(len(times) * len(x))).reshape(len(times), len(x))
    xr.Dataset(
        {"h": (("time", "x"), values)},
        {"time": ("time", np.array(times, dtype=float), {"units": units, **attrs}), "x": list(x)},
    ).to_netcdf(path)


def write_times(path: Path) -> None:
    """Files with times in all forms."""
    hours = "hours since 2024-01-01"
    timed(path / "y2031.nc", "hours since 2031-01-01", [0, 1])
    timed(path / "jump.nc", hours, [0, 1, 2, 99999])
    timed(path / "step.nc", hours, [0, 2, 4])
    timed(path / "c360.nc", "days since 1900-01-30", [0, 15, 30], calendar="360_day")
    timed(path / "c365.nc", "days since 2024-01-01", [0, 1], calendar="noleap")
    (path / "huge.csv").write_text("time,h\n0,1\n1e300,2\n")
    timed(path / "noday.nc", "hours since 2024-13-77", [0, 3])
    timed(path / "start.nc", "hours since the start", [0, 3])
    timed(path / "rank_0.nc", hours, [0, 1, 2, 3])
    timed(path / "rank_1.nc", hours, [0, 1], x=(2.0, 3.0))
    timed(path / "tile_0.nc", hours, [0, 1, 2, 3])
    timed(path / "tile_1.nc", hours, [0, 1, 2, 3], x=(2.0, 3.0))
    timed(path / "month_1.nc", hours, [0, 1])
    timed(path / "month_2.nc", "hours since 2024-01-01T02:00", [0, 1])
    timed(path / "empty.nc", hours, [])
    timed(path / "empty_not.nc", hours, [3])
    infinite = xr.Dataset({"h": (("x",), np.array([1.0, np.inf, -np.inf, NAN]))})
    infinite.to_netcdf(path / "wild.nc")
    (path / "swan.tab").write_text(
        "%\n%       Time            Hsig\n%       [ ]             [m]\n%\n"
        "20240101.000000    1.0\n20240101.020000   1.5\n"
    )
    (path / "pair.tab").write_text("20240101 000000 1.0\n20240101 023000 1.5\n")
    (path / "days.csv").write_text("date,h\n20231231,1\n20240101,2\n")
    (path / "epoch.csv").write_text("time,h\n1704067200,1\n1704067260,2\n")
    for number in (1, 2):
        (path / f"gauge_{number}.csv").write_text("time,h\n0,1\n1,2\n")
        (path / f"part_{number}.csv").write_text(f"time,h\n{2 * number},1\n{2 * number + 1},2\n")


def outcome(workspace: Workspace, checks: Mapping[str, Any]) -> list[str]:
    """The messages of the failed checks."""
    results = SuccessChecks(**checks).judge(workspace, PERIOD)
    assert results
    return [check.message for check in results if not check.ok]


HS = {"file": "out.nc", "variable": "hs"}
FIXED = {"file": "fixed.txt", "variable": 2, "widths": [6, 6]}
# The check, its settings, and a part of the message if it fails; '' if it passes.
TABLE: list[tuple[str, dict[str, Any], str]] = [
    # range
    ("range", HS | {"min": 0, "max": 3}, ""),
    ("range", HS | {"max": 2}, "hs in out.nc reaches 2.5, above the maximum of 2"),
    ("range", HS | {"min": 0.55}, "hs in out.nc reaches 0.5, below the minimum of 0.55"),
    ("range", HS | {"max": 1, "mask": {"variable": "bed", "min": -5, "max": 0}}, ""),
    ("range", HS | {"max": 1, "mask": {"variable": "bed", "max": -5}}, "reaches 2.5"),
    ("range", HS | {"max": 1, "mask": {"variable": "bed", "min": 50}}, "no values where the mask applies"),
    ("range", HS | {"max": 1, "mask": {"variable": "flat", "min": 0}}, "reaches 2.5"),
    ("range", {"file": "out.nc", "variable": "lost", "max": 1}, "has only missing values"),
    ("range", {"file": "out.nc", "variable": "packed", "min": 1, "max": 3}, ""),
    ("range", {"file": "out.nc", "variable": "packed", "max": 2.9}, "reaches 3"),
    ("range", {"file": "out.nc", "variable": "hsig", "max": 1}, "out.nc has no variable 'hsig'. Did you"),
    ("range", {"file": "none.nc", "variable": "hs", "max": 1}, "none.nc was not written"),
    ("range", {"file": "gauge.csv", "variable": "level_m", "min": -1, "max": 1}, ""),
    ("range", {"file": "gauge.csv", "variable": "level_m", "min": -0.3}, "reaches -0.4"),
    ("range", {"file": "gauge.csv", "variable": 2, "min": -0.3}, "reaches -0.4"),
    ("range", {"file": "gauge.csv", "variable": "level", "min": 0}, "gauge.csv has no column 'level'"),
    ("range", {"file": "point.tab", "variable": "Hsig", "min": 0}, "reaches -9"),
    ("range", {"file": "point.tab", "variable": "Hsig", "min": 0, "missing": [-9]}, ""),
    ("range", {"file": "point.tab", "variable": 2, "min": 0, "mask": {"variable": 3, "min": 1}}, ""),
    ("range", FIXED | {"min": -10, "mask": {"variable": 1, "max": 1}}, "reaches -12.5"),
    ("range", FIXED | {"min": -20, "max": 0, "mask": {"variable": 1, "min": 3}}, ""),
    ("range", FIXED | {"min": -20, "max": 0}, "has 1 value infinite or too large"),
    ("range", {"file": "wild.nc", "variable": "h", "min": 0}, "wild.nc has 2 values infinite"),
    ("range", {"file": "wild.nc", "variable": "h", "max": 5}, "wild.nc has 2 values infinite"),
    ("range", {"file": "wild.csv", "variable": "inf", "max": 5}, "has 1 value infinite"),
    ("range", {"file": "wild.csv", "variable": "stars", "max": 5}, "has 1 value infinite"),
    ("range", {"file": "wild.csv", "variable": "large", "max": 5}, "reaches 1.5e+103"),
    ("range", {"file": "wild.csv", "variable": "small", "min": 0, "max": 5}, ""),
    ("range", {"file": "grid.bot", "variable": "*", "min": 0, "max": 9}, ""),
    ("range", {"file": "grid.bot", "variable": "*", "max": 8}, "reaches 9"),
    # finite
    ("finite", {"file": "grid.bot", "variable": "*"}, "lacks 17 %"),
    ("finite", HS, "hs in out.nc lacks 33 % of its values, more than 0 %"),
    ("finite", HS | {"max_missing": 0.34}, ""),
    ("finite", HS | {"mask": {"variable": "bed", "max": 0}}, ""),
    ("finite", {"file": "out.nc", "variable": "packed"}, "lacks 25 %"),
    ("finite", {"file": "gauge.csv", "variable": "level_m"}, "lacks 33 %"),
    ("finite", {"file": "gauge.csv", "variable": "level_m", "max_missing": 0.5}, ""),
    ("finite", {"file": "fixed.txt", "variable": 2, "widths": [6, 6]}, "lacks 33 %"),
    # not_constant, not_all_zero
    ("not_constant", HS, ""),
    ("not_constant", HS | {"spread": 2.5}, "everywhere"),
    ("not_constant", {"file": "out.nc", "variable": "flat"}, "flat in out.nc is 3 everywhere"),
    ("not_constant", {"file": "out.nc", "variable": "lost"}, "only missing values"),
    ("not_all_zero", HS, ""),
    ("not_all_zero", {"file": "out.nc", "variable": "flat"}, ""),
    ("not_all_zero", {"file": "out.nc", "variable": "still"}, "still in out.nc is zero everywhere"),
    # last_time
    ("last_time", {"file": "out.nc"}, ""),
    ("last_time", {"file": "out.nc", "reaches": "2024-01-01T03:00"}, ""),
    ("last_time", {"file": "out.nc", "reaches": "2024-01-02"}, "ends at 2024-01-01T03:00:00, before"),
    ("last_time", {"file": "out.nc", "reaches": 3}, ""),
    ("last_time", {"file": "out.nc", "reaches": 24}, "ends at 3, before 24"),
    ("last_time", {"file": "undated.nc"}, "ends at 2024-01-01T02:00:00, before 2024-01-01T03:00:00"),
    ("last_time", {"file": "undated.nc", "tolerance": "1h"}, ""),
    ("last_time", {"file": "undated.nc", "reaches": 7200}, ""),
    ("last_time", {"file": "undated.nc", "unit": "min"}, "long after 2024-01-01T03:00:00"),
    ("last_time", {"file": "undated.nc", "unit": "min", "beyond": "any"}, ""),
    ("last_time", {"file": "undated.nc", "unit": "min", "beyond": "10d"}, ""),
    ("last_time", {"file": "out.nc", "reaches": "2024-01-01T02:00"}, ""),
    # calendar numbers, which are no seconds
    ("last_time", {"file": "swan.tab"}, "swan.tab ends at 2024-01-01T02:00:00, before"),
    ("last_time", {"file": "swan.tab", "tolerance": "1h"}, ""),
    ("last_time", {"file": "pair.tab"}, "pair.tab ends at 2024-01-01T02:30:00, before"),
    ("last_time", {"file": "pair.tab", "tolerance": "30M"}, ""),
    ("last_time", {"file": "days.csv"}, "days.csv ends at 2024-01-01T00:00:00, before"),
    ("last_time", {"file": "days.csv", "reaches": "2024-01-01"}, ""),
    ("last_time", {"file": "epoch.csv"}, "epoch.csv ends at 2077-12-31T"),
    ("last_time", {"file": "epoch.csv", "reaches": 1704067260}, ""),
    # far beyond the end of the period
    ("last_time", {"file": "y2031.nc"}, "y2031.nc ends at 2031-01-01T01:00:00, long after 2024-01-01T03"),
    ("last_time", {"file": "jump.nc"}, "jump.nc ends at 2035-05-"),
    ("last_time", {"file": "jump.nc", "reaches": 2}, "jump.nc ends at 99999, long after 2"),
    ("last_time", {"file": "step.nc"}, ""),
    ("last_time", {"file": "step.nc", "beyond": 60}, "ends at 2024-01-01T04:00:00, long after"),
    # other calendars, and units that are no dates
    ("last_time", {"file": "c360.nc"}, "c360.nc ends at 1900-02-30T00:00:00, before 2024-01-01T03:00:00"),
    ("last_time", {"file": "c360.nc", "reaches": "1900-02-28"}, ""),
    (
        "last_time",
        {"file": "c365.nc", "reaches": "2024-02-29"},
        "c365.nc ends at 2024-01-02T00:00:00, before 2024-02-28T00:00:00",
    ),
    ("last_time", {"file": "huge.csv"}, "huge.csv ends at 1e+300 s since 1970, long after"),
    ("last_time", {"file": "noday.nc"}, "has times in 'hours since 2024-13-77', which are no dates"),
    ("last_time", {"file": "start.nc"}, ""),
    # parts in space, each of which has to reach the end, and parts in time
    ("last_time", {"file": "rank_?.nc"}, "rank_1.nc ends at 2024-01-01T01:00:00, before 2024-01-01T03"),
    ("last_time", {"file": "tile_?.nc"}, ""),
    ("last_time", {"file": "month_?.nc"}, ""),
    ("last_time", {"file": "empty*.nc"}, "empty.nc has no time"),
    ("count", {"file": "rank_?.nc", "min": 4}, "rank_1.nc has 2, fewer than the 4 expected"),
    ("count", {"file": "tile_?.nc", "min": 4, "max": 4}, ""),
    ("count", {"file": "month_?.nc", "min": 4, "max": 4}, ""),
    ("count", {"file": "month_?.nc", "min": 5}, "month_1.nc to month_2.nc has 4, fewer than the 5"),
    ("count", {"file": "gauge_?.csv", "min": 2, "max": 2}, ""),
    ("count", {"file": "part_?.csv", "min": 4, "max": 4}, ""),
    ("last_time", {"file": "gauge.csv"}, ""),
    ("last_time", {"file": "gauge.csv", "reaches": "2024-01-01T04:00"}, "before 2024-01-01T04:00"),
    ("last_time", {"file": "point.tab"}, "ends at 2024-01-01T02:00:00"),
    ("last_time", {"file": "point.tab", "variable": 1, "reaches": 7200}, ""),
    # count
    ("count", {"file": "out.nc", "min": 4, "max": 4}, ""),
    ("count", {"file": "out.nc", "min": 5}, "out.nc has 4, fewer than the 5 expected"),
    ("count", {"file": "out.nc", "dimension": "x", "max": 2}, "out.nc has 3, more than the 2 expected"),
    ("count", {"file": "out.nc", "dimension": "y"}, "has no dimension 'y'"),
    ("count", {"file": "[ou][un]*.nc", "min": 4}, "undated.nc has 2, fewer than the 4 expected"),
    ("count", {"file": "gauge.csv", "min": 3, "max": 3}, ""),
    ("count", {"file": "point.tab", "min": 4}, "has 3, fewer"),
    # log_value
    ("log_value", {"pattern": r"Courant\s+(\S+)", "max": 1}, ""),
    ("log_value", {"pattern": r"Courant\s+(\S+)", "max": 0.7}, "reaches 0.9, above the maximum of 0.7"),
    ("log_value", {"pattern": r"Courant\s+(\S+)", "max": 0.7, "which": "last"}, ""),
    ("log_value", {"pattern": r"Courant\s+(\S+)", "max": 0.7, "which": "first"}, ""),
    ("log_value", {"pattern": r"accuracy OK in\s+([\d.]+)", "min": 97}, "reaches 49"),
    ("log_value", {"pattern": r"accuracy OK in\s+([\d.]+)", "min": 97, "which": "last"}, ""),
    ("log_value", {"pattern": r"mass (\S+)", "min": 999, "max": 1001}, ""),
    ("log_value", {"pattern": r"step \d+ (\w+)", "min": 1}, "is 'Courant', which is not a number"),
    ("log_value", {"pattern": r"salt (\S+)", "min": 1}, "run.log has no line with 'salt"),
    ("log_value", {"pattern": r"x(\S+)", "min": 1, "file": "PRINT"}, "PRINT was not written"),
]


@pytest.mark.parametrize(("check", "settings", "message"), TABLE)
def test_each_check_accepts_and_rejects(
    check: str, settings: dict[str, Any], message: str, workspace: Workspace
) -> None:
    failed = outcome(workspace, {check: [settings]})
    if not message:
        assert failed == []
    else:
        assert len(failed) == 1
        assert message in failed[0]


def test_an_infinite_or_never_written_value_is_missing(workspace: Workspace) -> None:
    import netCDF4

    with netCDF4.Dataset(workspace.path / "part.nc", "w") as file:
        file.createDimension("x", 4)
        file.createVariable("a", "f4", ("x",))[:2] = [1.0, np.inf]
    part = {"file": "part.nc", "variable": "a"}
    assert "lacks 75 %" in outcome(workspace, {"finite": [part]})[0]
    assert "infinite" in outcome(workspace, {"range": [part | {"min": 1, "max": 1}]})[0]
    assert outcome(workspace, {"not_all_zero": [part]}) == []


def test_the_files_of_a_glob_are_one_data_set(workspace: Workspace) -> None:
    for rank, level in enumerate([0.0, 0.0, 2.0]):
        xr.Dataset({"eta": (("x",), [level, level])}).to_netcdf(workspace.path / f"piece{rank}.nc")
    every = {"file": "piece*.nc", "variable": "eta"}
    assert outcome(workspace, {"not_all_zero": [every], "not_constant": [every]}) == []
    assert "reaches 2" in outcome(workspace, {"range": [every | {"max": 1}]})[0]


def test_a_truncated_netcdf_file_fails_the_check_with_the_reason(workspace: Workspace) -> None:
    whole = (workspace.path / "out.nc").read_bytes()
    (workspace.path / "out.nc").write_bytes(whole[: len(whole) // 3])
    assert "cannot read" in outcome(workspace, {"range": [HS | {"max": 9}]})[0]


def test_a_variable_is_read_once_for_all_its_checks_and_in_blocks(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rompy_hydra.reading import netcdf

    shapes = []
    decode = netcdf.decode

    def counting(raw: Any, *arguments: Any) -> Any:
        shapes.append(raw.shape)
        return decode(raw, *arguments)

    monkeypatch.setattr(netcdf, "decode", counting)
    monkeypatch.setattr(netcdf, "BLOCK_VALUES", 3)
    checks = {"range": [HS | {"max": 3}], "finite": [HS | {"max_missing": 1}], "not_constant": [HS]}
    assert outcome(workspace, checks) == []
    assert shapes == [(1, 3)] * 4


def test_several_logs_have_patterns_of_their_own(workspace: Workspace) -> None:
    (workspace.path / "XBwarning.txt").write_text("  Unknown keyword: typo_keyword\n")
    (workspace.path / "PRINT").write_text(" ** Severe error: x\n normal end\n")
    logs = [
        {"file": "PRINT", "must_contain": ["normal end"], "must_not_contain": ["Severe error"]},
        {"file": "XBwarning.txt", "warnings": ["Unknown keyword"]},
    ]
    results = SuccessChecks(logs=logs, log_must_contain=["step 3"]).judge(workspace)
    assert [c.message for c in results if not c.ok] == ["PRINT contains: ** Severe error: x"]
    assert [c.message for c in results if c.warning] == ["XBwarning.txt: Unknown keyword: typo_keyword"]


def test_a_log_that_was_not_written_fails_unless_it_is_optional(workspace: Workspace) -> None:
    logs = [{"file": "modle.log", "must_not_contain": ["ERROR"], "warnings": ["W"]}]
    assert outcome(workspace, {"logs": logs}) == [
        "modle.log was not written (if it need not be: logs with optional: true)"
    ]
    assert (
        "PRIMT was not written"
        in outcome(workspace, {"log_file": "PRIMT", "log_must_not_contain": ["ERROR"]})[0]
    )
    warnings = {"file": "XBwarning.txt", "warnings": ["."]}
    assert "XBwarning.txt was not written" in outcome(workspace, {"logs": [warnings], "warnings": ["W"]})[0]
    assert SuccessChecks(logs=[warnings | {"optional": True}]).judge(workspace) == []


def test_a_log_with_warnings_only_does_not_replace_the_safeguards() -> None:
    assert not SuccessChecks(logs=[{"file": "a.log", "warnings": ["W"]}]).declares_checks
    assert SuccessChecks(logs=[{"file": "a.log", "must_contain": ["W"]}]).declares_checks


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16"])
def test_a_log_is_searched_in_its_own_encoding(encoding: str, workspace: Workspace) -> None:
    (workspace.path / "run.log").write_bytes("Fehler: Größe überschritten\n".encode(encoding))
    failed = outcome(workspace, {"log_must_not_contain": ["Größe"], "log_must_contain": ["^Fehler: "]})
    assert failed == ["run.log contains: Fehler: Größe überschritten"]


def test_a_log_that_is_a_pipe_or_a_link_out_of_the_run_is_not_read(workspace: Workspace) -> None:
    (workspace.path.parent / "host").write_text("secret\n")
    (workspace.path / "PRINT").symlink_to(workspace.path.parent / "host")
    os.mkfifo(workspace.path / "pipe.log")
    for name, reason in (("PRINT", "link out of the run directory"), ("pipe.log", "it is a pipe")):
        results = SuccessChecks(logs=[{"file": name, "must_not_contain": ["secret"]}]).judge(workspace)
        assert [c.ok for c in results] == [False, True]
        assert reason in results[0].message
    values = SuccessChecks(range=[{"file": "pipe.log", "variable": 1, "min": 0}]).judge(workspace)
    assert "it is a pipe" in values[0].message


@pytest.mark.parametrize(
    ("check", "settings", "message"),
    [
        ("range", HS, "needs min, max or both"),
        ("range", HS | {"min": 3, "max": 1}, "min: 3 is above max, 1"),
        ("range", HS | {"max": NAN}, "finite"),
        ("range", {"file": "../x.nc", "variable": "a", "max": 1}, "inside the run directory"),
        ("finite", HS | {"max_missing": 2}, "less than or equal to 1"),
        ("finite", HS | {"max_mising": 0.1}, "max_mising"),
        ("log_value", {"pattern": r"Courant \S+", "max": 1}, "one group"),
        ("log_value", {"pattern": "(", "max": 1}, "not a valid regular expression"),
        ("last_time", {"file": "out.nc", "reaches": "soon"}, "is not a time"),
        ("last_time", {"file": "out.nc", "tolerance": "soon"}, "is not a duration"),
        ("last_time", {"file": "out.nc", "beyond": "soon"}, "is not a duration"),
        ("allow", "no_outputs", "no_output"),
    ],
)
def test_a_mistake_in_a_check_is_rejected(check: str, settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SuccessChecks.model_validate({check: [settings]})
