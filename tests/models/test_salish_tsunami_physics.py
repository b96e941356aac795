"""The tsunami model on a coarse mesh: expected behaviour of long waves, and files of the script."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

anuga = pytest.importorskip("anuga", reason="the tsunami model needs ANUGA: install rompy-hydra[anuga]")

import numpy as np  # noqa: E402 - comes with ANUGA

TEMPLATE = Path(__file__).parents[2] / "rompy_hydra" / "models" / "templates" / "salish_tsunami"
SCRIPT = TEMPLATE / "tsunami.py"
COARSE = 8000.0  # m; a run takes about a second

# This project cannot fix the deprecation warnings that ANUGA itself causes.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("salish_tsunami_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tsunami = load_script()


@cache
def gauge_levels(**parameters: float) -> np.ndarray:
    """Time (s) and the level (m) at Port Renfrew, Victoria and Port Angeles, in columns."""
    given = tsunami.Parameters(**({"mesh_size": COARSE, "duration": 9000.0} | parameters))
    with TemporaryDirectory() as directory:
        return tsunami.simulate(given, Path(directory), say=lambda line: None)[1]


def highest(levels: np.ndarray) -> np.ndarray:
    return levels[:, 1:].max(axis=0)


def arrivals(levels: np.ndarray) -> np.ndarray:
    """When (s) each gauge first reaches a tenth of its highest level."""
    reached = np.abs(levels[:, 1:]) > 0.1 * highest(levels)
    return levels[reached.argmax(axis=0), 0]


def run_script(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    (directory / "parameters.json").write_text(text)
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=directory,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_still_water_stays_still_without_waves() -> None:
    levels = gauge_levels(source_amplitude=0.0, duration=3600.0)
    assert np.abs(levels[:, 1:]).max() < 1e-9


def test_the_wave_reaches_the_places_from_west_to_east() -> None:
    levels = gauge_levels()
    assert np.isfinite(levels).all()
    outer, victoria, port_angeles = arrivals(levels)
    assert 1800.0 < outer < port_angeles <= victoria < 7200.0
    assert (highest(levels) > 0.1).all() and (highest(levels) < 2.0).all()


def test_the_wave_travels_up_the_strait_at_the_speed_of_long_waves() -> None:
    """From Port Renfrew to Victoria, compared to the root of g h along the middle of the strait."""
    topography = tsunami.load_topography()
    course = [(-124.42, 48.5), (-124.1, 48.32), (-123.8, 48.24), (-123.5, 48.24), (-123.35, 48.38)]
    turns = np.array([topography.to_metres(*point) for point in course])
    expected = 0.0
    for start, end in pairwise(turns):
        path = np.linspace(start, end, 100)
        speeds = np.sqrt(9.8 * -topography.elevation(*path.T))
        expected += float(np.hypot(*(end - start)) * np.mean(1.0 / speeds))
    outer, victoria, _ = arrivals(gauge_levels())
    assert victoria - outer == pytest.approx(expected, rel=0.15)


def test_doubling_the_amplitude_raises_the_highest_water_level_everywhere() -> None:
    low = highest(gauge_levels())
    high = highest(gauge_levels(source_amplitude=2.0))
    # Nearly proportional, because the waves are low compared to the depth.
    assert (high > 1.5 * low).all() and (high < 2.2 * low).all()


def test_a_rougher_bed_lowers_the_highest_water_level_at_the_inner_gauges() -> None:
    smooth, rough, rougher = (
        highest(gauge_levels(source_amplitude=2.0, friction=friction)) for friction in (0.0, 0.05, 0.1)
    )
    assert (rough[1:] < smooth[1:]).all() and (rougher[1:] < rough[1:]).all()
    assert (rougher[1:] < 0.98 * smooth[1:]).all()


def test_a_finer_mesh_hardly_changes_the_arrival_times() -> None:
    fine = gauge_levels(mesh_size=5000.0)
    assert np.abs(arrivals(fine) - arrivals(gauge_levels())).max() <= 600.0


def test_the_incoming_wave_train_has_no_net_volume() -> None:
    times = np.linspace(0.0, 5400.0, 5401)
    levels = np.array([tsunami.incoming_wave(time, 1.5, 1800.0) for time in times])
    assert levels.max() == pytest.approx(1.5, rel=1e-3)
    assert levels.sum() == pytest.approx(0.0, abs=1e-6)
    assert tsunami.incoming_wave(5400.0, 1.5, 1800.0) == 0.0
    assert tsunami.incoming_wave(9999.0, 1.5, 1800.0) == 0.0


def test_the_projection_is_invertible_and_matches_the_topography() -> None:
    topography = tsunami.load_topography()
    assert topography.to_degrees(*topography.to_metres(-123.4, 48.4)) == pytest.approx((-123.4, 48.4))
    x, y = topography.to_metres(float(topography.longitudes[40]), float(topography.latitudes[20]))
    assert topography.elevation(np.array([x]), np.array([y]))[0] == pytest.approx(
        topography.elevations[20, 40], abs=1e-6
    )
    # A degree of latitude is about 111 km anywhere, a degree of longitude 73 km at 49 N.
    assert topography.metres_per_degree == pytest.approx((73e3, 111e3), rel=0.01)


def test_an_impossible_water_level_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsunami, "MOST_AMPLIFIED", 0.01)
    given = tsunami.Parameters(mesh_size=COARSE, duration=3600.0)
    with pytest.raises(tsunami.UnsoundRun, match="above or below rest"):
        tsunami.simulate(given, tmp_path, say=lambda line: None)


def test_the_script_writes_its_files_and_reports_completion(tmp_path: Path) -> None:
    given = tsunami.Parameters(mesh_size=COARSE, duration=3600.0)
    run = run_script(tmp_path, json.dumps(given._asdict()))
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1] == "salish_tsunami completed"
    assert all(line.startswith("salish_tsunami") for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {
        "parameters.json",
        "salish_tsunami.sww",
        "gauges.csv",
        "gauges_places.csv",
        "grid.json",
        "anuga.log",
    }
    with (tmp_path / "gauges.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "time_s",
        "port_renfrew_stage_m",
        "victoria_stage_m",
        "port_angeles_stage_m",
    ]
    assert [float(row["time_s"]) for row in rows] == [60.0 * i for i in range(61)]
    with (tmp_path / "gauges_places.csv").open(newline="") as file:
        places = list(csv.DictReader(file))
    grid = json.loads((tmp_path / "grid.json").read_text())
    for place in places:
        assert float(place["depth_m"]) >= 20.0
        assert float(place["distance_m"]) < 10e3
        longitude = (
            grid["origin_longitude_degrees_east"]
            + float(place["x_m"]) / grid["metres_per_degree_longitude"]
        )
        assert longitude == pytest.approx(float(place["used_longitude_degrees_east"]), abs=1e-4)


def test_the_sww_contains_the_water_level_on_triangles(tmp_path: Path) -> None:
    netcdf = pytest.importorskip("netCDF4", reason="ANUGA writes netCDF")
    given = tsunami.Parameters(mesh_size=COARSE, duration=1200.0)
    tsunami.simulate(given, tmp_path, say=lambda line: None)
    with netcdf.Dataset(tmp_path / "salish_tsunami.sww") as file:
        assert file["time"][:].tolist() == [0.0, 300.0, 600.0, 900.0, 1200.0]
        times, triangles = file["stage_c"].shape
        assert file["volumes"].shape == (triangles, 3)
        assert file["stage"].shape == (times, *file["x"].shape)
        assert float(file["elevation_c"][:].max()) <= -tsunami.SHALLOWEST_WATER
        assert (file.xllcorner, file.yllcorner) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"friction": -0.1}, "friction must be between"),
        ({"source_period": 0}, "source_period must be between"),
        ({"source_amplitude": float("nan")}, "source_amplitude must be between"),
        ({"mesh_size": "fine"}, "mesh_size must be a number"),
        ({"duration": None}, "duration must be a number"),
    ],
)
def test_invalid_parameters_stop_the_run_with_a_one_line_message(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    run = run_script(tmp_path, json.dumps(tsunami.Parameters()._asdict() | change))
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and words in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"parameters.json"}


def test_rendering_leaves_the_script_unchanged_and_fills_in_the_parameters() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="the template engine is not installed")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    source = SCRIPT.read_text()
    defaults = tsunami.Parameters()._asdict()
    assert environment.from_string(source).render() == source
    rendered = environment.from_string((TEMPLATE / "parameters.json").read_text())
    assert json.loads(rendered.render(model=defaults)) == defaults
