"""The beach model against linear theory and the expected behaviour of waves on a beach."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType

import pytest

TEMPLATE = Path(__file__).parents[2] / "rompy_hydra" / "models" / "templates" / "beach"
SCRIPT = TEMPLATE / "beach.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("beach", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


beach = load_script()


def on_the_barred_beach(**parameters: float):
    """The stations of a run with these parameters and otherwise the defaults."""
    distances = beach.cross_shore_stations()
    beds = [beach.barred_bed(distance) for distance in distances]
    return beach.transform_waves(beach.Parameters(**parameters), distances, beds)


def on_a_plane_slope(slope: float, deepest: float, shallowest: float, **parameters: float):
    """The stations of a run over a plane bed, 1000 steps long."""
    depths = [deepest + (shallowest - deepest) * i / 1000 for i in range(1001)]
    distances = [depth / slope for depth in depths]
    return beach.transform_waves(beach.Parameters(**parameters), distances, [-depth for depth in depths])


def nearest(stations, distance: float):
    return min(stations, key=lambda station: abs(station.distance_m - distance))


def run_script(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    (directory / "parameters.json").write_text(text)
    command = [sys.executable, str(SCRIPT)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("period", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("depth", [0.05, 1.0, 10.0, 100.0, 5000.0])
def test_the_wave_number_satisfies_the_dispersion_relation(period: float, depth: float) -> None:
    wave = beach.linear_wave(period, depth)
    omega_squared = beach.GRAVITY * wave.wave_number * math.tanh(wave.wave_number * depth)
    assert omega_squared == pytest.approx((2 * math.pi / period) ** 2, rel=1e-10)


def test_deep_water_waves_have_the_deep_water_length_and_group_speed() -> None:
    wave = beach.linear_wave(8.0, 3000.0)
    deep_speed = beach.GRAVITY * 8.0 / (2 * math.pi)
    assert 2 * math.pi / wave.wave_number == pytest.approx(8.0 * deep_speed, rel=1e-9)
    assert wave.group_speed == pytest.approx(0.5 * deep_speed, rel=1e-9)


def test_shallow_water_waves_and_their_groups_travel_at_the_root_of_g_h() -> None:
    wave = beach.linear_wave(20.0, 0.1)
    speed = math.sqrt(beach.GRAVITY * 0.1)
    assert 2 * math.pi / wave.wave_number / 20.0 == pytest.approx(speed, rel=1e-3)
    assert wave.group_speed == pytest.approx(speed, rel=1e-3)


def test_waves_shoal_as_in_linear_theory_outside_the_surf_zone() -> None:
    period = 10.0
    stations = on_a_plane_slope(0.01, 60.0, 4.0, wave_height=0.2, wave_period=period, friction=0.0)
    for station in stations:
        # The textbook shoaling coefficient, with kh by bisection, independent of the code of the model.
        heights = []
        for depth in (stations[0].depth_m, station.depth_m):
            target = (2 * math.pi / period) ** 2 * depth / beach.GRAVITY
            low, high = 0.0, 50.0
            for _ in range(100):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if middle * math.tanh(middle) < target else (low, middle)
            ratio = 1 + 2 * low / math.sinh(2 * low)
            heights.append(1 / math.sqrt(math.tanh(low) * ratio))
        shoaling = heights[1] / heights[0]
        assert station.significant_wave_height_m == pytest.approx(0.2 * shoaling, rel=1e-6)
    assert stations[-1].significant_wave_height_m > stations[0].significant_wave_height_m


def test_the_energy_flux_is_conserved_without_dissipation() -> None:
    stations = on_a_plane_slope(0.02, 40.0, 3.0, wave_height=0.1, friction=0.0)
    for station in stations:
        assert station.energy_flux_w_m == pytest.approx(stations[0].energy_flux_w_m, rel=1e-9)


@pytest.mark.parametrize("wave_height", [0.5, 2.0, 8.0])
def test_the_waves_lose_the_energy_that_breaking_and_friction_dissipate(wave_height: float) -> None:
    stations = on_the_barred_beach(wave_height=wave_height, friction=0.05)
    dissipated = sum(
        (here.breaking_dissipation_w_m2 + here.friction_dissipation_w_m2)
        * (seaward.distance_m - here.distance_m)
        for seaward, here in pairwise(stations)
    )
    lost = stations[0].energy_flux_w_m - stations[-1].energy_flux_w_m
    assert dissipated == pytest.approx(lost, rel=1e-9)
    assert lost > 0.9 * stations[0].energy_flux_w_m


def test_the_dissipation_is_the_rayleigh_integral_over_the_breaking_waves() -> None:
    height, limit, depth, period = 1.1, 1.3, 2.0, 8.0
    steps = 200_000
    width = 8.0 * height / steps
    cubes = 0.0
    for i in range(steps):
        wave = limit + (i + 0.5) * width
        cubes += wave**3 * 2 * wave / height**2 * math.exp(-((wave / height) ** 2)) * width
    expected = beach.WATER_DENSITY * beach.GRAVITY / (4 * period * depth) * cubes
    assert beach.breaking_dissipation(height, limit, depth, period) == pytest.approx(expected, rel=1e-6)


def test_waves_in_the_inner_surf_zone_are_limited_by_the_depth() -> None:
    gamma = 0.6
    stations = on_a_plane_slope(0.02, 15.0, 0.1, wave_height=3.0, breaker_index=gamma)
    inner = [station for station in stations if station.depth_m < 1.5]
    assert len(inner) > 50
    for station in inner:
        ratio = station.significant_wave_height_m / math.sqrt(2) / station.depth_m
        assert 0.5 * gamma < ratio <= gamma * (1 + 1e-9)


def test_doubling_the_offshore_waves_hardly_raises_those_near_the_shore() -> None:
    low = nearest(on_the_barred_beach(wave_height=3.0), 5.0)
    high = nearest(on_the_barred_beach(wave_height=6.0), 5.0)
    # The remaining difference is due to set-up: the higher waves are in deeper water.
    relative_low = low.significant_wave_height_m / low.depth_m
    relative_high = high.significant_wave_height_m / high.depth_m
    assert relative_high == pytest.approx(relative_low, rel=0.1)


def test_the_mean_level_has_set_down_outside_the_breakers_and_set_up_at_the_shore() -> None:
    stations = on_a_plane_slope(0.02, 20.0, 0.1, wave_height=2.0, friction=0.0)
    lowest = min(stations, key=lambda station: station.setup_m)
    assert lowest.setup_m < 0.0 < stations[-1].setup_m
    assert lowest.depth_m > 2.0
    assert stations[-1].setup_m == max(station.setup_m for station in stations)
    # On beaches, it is between a twentieth and a third of the offshore height.
    assert 0.05 < stations[-1].setup_m / 2.0 < 0.33


def test_the_set_down_before_breaking_is_that_of_longuet_higgins_and_stewart() -> None:
    stations = on_a_plane_slope(0.005, 40.0, 3.0, wave_height=0.3, wave_period=10, friction=0.0)
    here = stations[-1]
    wave_number = 2 * math.pi / here.wavelength_m
    amplitude_squared = here.significant_wave_height_m**2 / 8  # of Hrms / 2
    expected = -0.5 * amplitude_squared * wave_number / math.sinh(2 * wave_number * here.depth_m)
    assert here.setup_m == pytest.approx(expected, rel=0.01)


def test_waves_break_on_the_bar_and_not_in_the_trough_behind_it() -> None:
    stations = on_the_barred_beach(wave_height=2.0)
    bar, trough = nearest(stations, 80.0), nearest(stations, 40.0)
    assert bar.depth_m < trough.depth_m
    assert bar.breaking_dissipation_w_m2 > 3 * trough.breaking_dissipation_w_m2


def test_friction_lowers_the_waves() -> None:
    heights = [
        nearest(on_the_barred_beach(wave_height=1.0, friction=friction), 250.0)
        for friction in (0.0, 0.02, 0.1, 0.5)
    ]
    for smoother, rougher in pairwise(heights):
        assert rougher.significant_wave_height_m < smoother.significant_wave_height_m


def test_a_larger_breaker_index_lets_larger_waves_into_the_surf_zone() -> None:
    for distance in (200.0, 80.0, 20.0, 5.0):
        heights = [
            nearest(on_the_barred_beach(breaker_index=gamma), distance).significant_wave_height_m
            for gamma in (0.3, 0.5, 0.7, 0.9)
        ]
        assert heights == sorted(heights) and heights[0] < 0.8 * heights[-1]


def test_higher_water_lets_higher_waves_over_the_bar() -> None:
    low, high = (
        nearest(on_the_barred_beach(water_level=level), 80.0).significant_wave_height_m
        for level in (-1.0, 1.0)
    )
    assert high > 1.3 * low


@pytest.mark.parametrize(
    "corner", list(product((0.1, 10.0), (3.0, 20.0), (0.3, 1.2), (0.0, 0.5), (-1.0, 3.0)))
)
def test_extreme_parameters_give_plausible_profiles(corner: tuple[float, ...]) -> None:
    stations = on_the_barred_beach(**dict(zip(beach.Parameters._fields, corner, strict=True)))
    assert stations[-1].depth_m < 0.3
    for station in stations:
        assert all(math.isfinite(value) for value in station)
        assert station.significant_wave_height_m > 0.0
        assert -0.4 < station.setup_m < 3.0
        assert station.breaking_dissipation_w_m2 > -1e-9 * stations[0].energy_flux_w_m
    for seaward, here in pairwise(stations):
        assert here.energy_flux_w_m <= seaward.energy_flux_w_m * (1 + 1e-12)
        assert abs(here.setup_m - seaward.setup_m) < 0.1


def test_halving_the_step_does_not_change_the_result() -> None:
    distances = beach.cross_shore_stations()
    halved = [x for a, b in pairwise(distances) for x in (a, 0.5 * (a + b))]
    given = beach.Parameters(wave_height=4.0, wave_period=10.0, friction=0.02)
    coarse = beach.transform_waves(given, distances, [beach.barred_bed(x) for x in distances])
    fine = beach.transform_waves(given, halved, [beach.barred_bed(x) for x in halved])
    for distance in (500.0, 150.0, 80.0, 40.0, 10.0):
        here = nearest(coarse, distance)
        there = nearest(fine, here.distance_m)
        assert here.significant_wave_height_m == pytest.approx(there.significant_wave_height_m, rel=2e-3)
        assert here.setup_m == pytest.approx(there.setup_m, abs=1e-3)


def test_the_script_writes_its_profile_and_reports_completion(tmp_path: Path) -> None:
    run = run_script(tmp_path, json.dumps(beach.Parameters()._asdict()))
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "beach completed"
    assert run.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} == {"parameters.json", "profile.csv"}
    with (tmp_path / "profile.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(beach.Station._fields)
    assert float(rows[0]["significant_wave_height_m"]) == pytest.approx(2.0)
    assert len(rows) > 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wave_height": -1.0}, "wave_height must be between"),
        ({"wave_period": 0}, "wave_period must be between"),
        ({"breaker_index": float("nan")}, "breaker_index must be between"),
        ({"friction": "rough"}, "friction must be a number"),
        ({"water_level": True}, "water_level must be a number"),
        ({"wave_height": None}, "wave_height must be a number"),
    ],
)
def test_invalid_parameters_stop_the_run_with_a_one_line_message(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    run = run_script(tmp_path, json.dumps(beach.Parameters()._asdict() | change))
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and words in run.stderr
    assert not (tmp_path / "profile.csv").exists()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "{}"])
def test_a_broken_parameter_file_stops_the_run_with_a_one_line_message(tmp_path: Path, text: str) -> None:
    run = run_script(tmp_path, text)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1


def test_rendering_leaves_the_script_unchanged_and_fills_in_the_parameters() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="the template engine is not installed")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    source = SCRIPT.read_text()
    defaults = beach.Parameters()._asdict()
    assert environment.from_string(source).render() == source
    rendered = environment.from_string((TEMPLATE / "parameters.json").read_text())
    assert json.loads(rendered.render(model=defaults)) == defaults
