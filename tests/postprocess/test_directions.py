from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from rompy_hydra import ModelRun, SummaryPostprocessor
from rompy_hydra.postprocess.directions import full_circle
from tests.postprocess.conftest import netcdf


def metrics(run: ModelRun, **settings: object) -> dict[str, float]:
    results = SummaryPostprocessor().process(run, **settings)
    assert results["success"] is True
    found = results["metrics"]
    assert isinstance(found, dict)
    return {name.split(".", 1)[1]: value for name, value in found.items()}


def write(run: ModelRun, values: np.ndarray, name: str = "dir", **attrs: object) -> None:
    dataset = netcdf(run, "out.nc", time=values.shape[0], x=values.shape[1])
    variable = dataset.createVariable(name, "f8", ("time", "x"), fill_value=-9.0)
    variable.setncatts(attrs)
    variable[:] = np.where(np.isnan(values), -9.0, values)
    dataset.close()


def test_the_mean_of_350_and_10_degrees_is_north(model_run: ModelRun) -> None:
    write(model_run, np.array([[350.0, 10.0]]), units="degrees")
    assert metrics(model_run) == {
        "dir.min": 350.0,  # the ends of the shortest arc that contains both
        "dir.mean": 0.0,
        "dir.max": 10.0,
        "dir.missing_share": 0.0,
    }


def test_the_mean_of_350_and_10_degrees_in_a_table_is_north(model_run: ModelRun) -> None:
    (model_run.workspace.path / "a.csv").write_text(
        "t,wave_direction_deg,Dp_deg\n0,350,1\n1,10,359\n2,,nan\n"
    )
    found = metrics(model_run)
    assert (found["wave_direction_deg.mean"], found["Dp_deg.mean"]) == (0.0, 0.0)
    assert (found["Dp_deg.min"], found["Dp_deg.max"]) == (359.0, 1.0)
    assert found["Dp_deg.missing_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("units", "circle"), [("degrees", 360.0), ("degree", 360.0), ("rad", math.tau)])
def test_the_mean_is_that_of_scipy_with_missing_values_left_out(
    model_run: ModelRun, units: str, circle: float
) -> None:
    values = np.random.default_rng(1).vonmises(3.0, 2.0, (40, 500)) * circle / math.tau
    values[values > 0.9 * circle] = np.nan
    write(model_run, values, standard_name="sea_surface_wave_from_direction", units=units, name="v")
    expected = scipy.stats.circmean(values, high=circle, nan_policy="omit")
    assert metrics(model_run)["v.mean"] == pytest.approx(expected, abs=1e-8)
    assert metrics(model_run)["v.missing_share"] == pytest.approx(np.isnan(values).mean())


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([90.0, 180.0], (90.0, 180.0)),
        ([355.0, 5.0, 20.0], (355.0, 20.0)),
        ([-10.0, 10.0], (350.0, 10.0)),
        ([200.0, 200.0], (200.0, 200.0)),
        ([300.0, 0.0, 45.0, 90.0], (300.0, 90.0)),
        (list(np.arange(0.0, 360.0, 0.05)), (0.0, 360.0)),
    ],
)
def test_minimum_and_maximum_are_the_ends_of_the_shortest_arc(
    model_run: ModelRun, values: list[float], ends: tuple[float, float]
) -> None:
    write(model_run, np.array([values]), units="degrees")
    found = metrics(model_run)
    assert (found["dir.min"], found["dir.max"]) == pytest.approx(ends)


def test_directions_that_cancel_out_have_no_mean(model_run: ModelRun) -> None:
    write(model_run, np.array([[0.0, 90.0, 180.0, 270.0]]), units="degrees")
    assert "dir.mean" not in metrics(model_run)


def test_directions_are_read_in_blocks(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "big.nc", time=24, y=1000, x=1000)
    variable = dataset.createVariable(
        "dir", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 1000, 1000)
    )
    variable.units = "degrees"
    for step in range(24):
        variable[step] = np.full((1000, 1000), 350.0 if step % 2 else 10.0, dtype="f4")
    dataset.close()
    tracemalloc.start()
    found = metrics(model_run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
    assert (found["dir.min"], found["dir.mean"], found["dir.max"]) == (350.0, 0.0, 10.0)


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("dir", {"units": "degree", "standard_name": "sea_surface_wave_from_direction"}),  # SWAN, WW3
        ("theta0", {"units": "degrees", "standard_name": "sea_surface_wave_from_direction"}),  # SWAN
        ("thetap", {"units": "degrees"}),
        ("dp", {"units": "degree", "long_name": "peak direction"}),  # WW3
        ("th1m", {"units": "degree"}),
        ("mwd", {"units": "Degree true", "standard_name": "sea_surface_wave_from_direction"}),  # ERA5
        ("VMDR", {"units": "degree"}),  # CMEMS
        ("wnd_dir", {"units": "degrees_true"}),
        ("pdir0", {"units": "degrees"}),
        ("meanWaveDirection", {}),  # SCHISM
        ("dominant_direction", {}),
        ("peakDir", {}),
        ("thetamean", {"units": "rad"}),  # XBeach
        ("v", {"units": "degrees", "long_name": "mean wave direction"}),
        ("M2_pha", {"units": "degrees"}),
        ("wave_dir_deg", {}),
        ("PkDir", {"units": "degr"}),
        ("DIR", {"units": "degr", "long_name": "average wave direction"}),
        ("wave_direction", {"units": "deg N"}),
        ("cdir", {"units": "degrees clockwise from north"}),
        ("cdir", {"units": "Nautical degrees"}),
        ("v", {"units": "degree (true north)", "long_name": "wind direction"}),
        ("Dir", {"units": "1"}),
    ],
)
def test_directions_are_recognised(name: str, attrs: dict[str, str]) -> None:
    assert full_circle(name, **attrs) in (360.0, math.tau)


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("dspr", {"units": "degrees"}),
        ("spr", {"units": "degree", "standard_name": "sea_surface_wave_directional_spread"}),
        ("sth1m", {"units": "degree", "long_name": "directional spread"}),
        ("dirspr", {}),
        ("lat", {"units": "degrees"}),
        ("latitude", {"units": "degrees_north"}),
        ("direction_latitude", {"units": "degrees"}),
        ("lon_deg", {}),
        ("slope", {"units": "degrees"}),
        ("dp", {"units": "m"}),
        ("dp", {}),
        ("theta", {"units": "degC", "standard_name": "sea_water_potential_temperature"}),
        ("thetao", {"units": "degrees_C"}),
        ("temp", {"units": "degree_Celsius"}),
        ("phase_speed", {"units": "m s-1"}),
        ("hs", {"units": "m"}),
        ("direct_radiation", {"units": "W m-2"}),
        ("wind_dir_change", {"units": "degrees per hour"}),
        ("wave_dir", {"units": "gon"}),
        ("mean_dir", {"units": "degrees2"}),
        ("v", {"units": "degC", "long_name": "temperature in wind direction"}),
    ],
)
def test_other_variables_are_not_directions(name: str, attrs: dict[str, str]) -> None:
    assert full_circle(name, **attrs) is None


def test_a_direction_in_unknown_units_is_mentioned(model_run: ModelRun) -> None:
    write(model_run, np.array([[390.0, 10.0]]), units="gon")
    results = SummaryPostprocessor().process(model_run)
    assert "dir may be a direction, but its units 'gon' are unknown: its mean is not circ" in str(results)
    write(model_run, np.array([[350.0, 10.0]]), units="degr")
    assert "unknown" not in str(SummaryPostprocessor().process(model_run))
    write(model_run, np.array([[350.0, 10.0]]), units="m", name="hs")
    assert "unknown" not in str(SummaryPostprocessor().process(model_run))


def test_longitudes_that_cross_the_date_line_stay_longitudes(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", n=2)
    for name, units in (("buoy_longitude", "degrees_east"), ("drifter_lat", "degrees_north")):
        variable = dataset.createVariable(name, "f8", ("n",))
        variable.units = units
        variable[:] = [-10.0, 20.0]
    dataset.close()
    assert metrics(model_run, variables=["buoy_longitude"])["buoy_longitude.min"] == -10.0


def test_directions_that_are_all_missing_have_only_a_missing_share(model_run: ModelRun) -> None:
    write(model_run, np.full((2, 2), np.nan), units="degrees")
    assert metrics(model_run) == {"dir.missing_share": 1.0}
