from __future__ import annotations

import json
import math
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray  # noqa: F401 - imported before memory is measured
import yaml

import rompy_hydra
from rompy_hydra import ModelRun, SummaryPostprocessor, TemplateModel
from rompy_hydra.errors import ConfigError, PostprocessError
from tests.postprocess.conftest import netcdf

FORMATS = ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]
BareRun = Callable[[str], subprocess.CompletedProcess[str]]


def write(run: ModelRun, name: str, text: str, encoding: str = "utf-8") -> None:
    path = run.workspace.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def metrics(run: ModelRun, **settings: object) -> dict[str, float]:
    results = SummaryPostprocessor().process(run, **settings)
    assert results["success"] is True
    found = results["metrics"]
    assert isinstance(found, dict)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    return found


def test_each_numeric_column_of_a_table_gets_its_minimum_mean_maximum_and_missing_share(
    model_run: ModelRun,
) -> None:
    write(model_run, "profile.csv", "x_m,height_m\n0,1.5\n10,0.5\n20,\n30,1\n")
    assert metrics(model_run) == {
        "profile.x_m.min": 0.0,
        "profile.x_m.mean": 15.0,
        "profile.x_m.max": 30.0,
        "profile.x_m.missing_share": 0.0,
        "profile.height_m.min": 0.5,
        "profile.height_m.mean": 1.0,
        "profile.height_m.max": 1.5,
        "profile.height_m.missing_share": 0.25,
    }


def test_all_common_markers_of_missing_values_are_recognised(model_run: ModelRun) -> None:
    cells = ["1", "", " ", "nan", "NaN", "inf", "-inf", "NA", "n/a", "null", "None", "--", "*****", "3"]
    write(model_run, "a.csv", "t,v\n" + "".join(f"0,{cell}\n" for cell in cells))
    found = metrics(model_run, variables=["v"])
    assert found["a.v.missing_share"] == pytest.approx(12 / 14)
    assert (found["a.v.min"], found["a.v.mean"], found["a.v.max"]) == (1.0, 2.0, 3.0)


def test_columns_with_text_and_nameless_empty_columns_are_left_out(model_run: ModelRun) -> None:
    write(model_run, "a.csv", "place,date,code,v,\nVictoria,2020-01-01,2020_01,1,\n7,8,9,2,\n")
    assert {name.split(".")[1] for name in metrics(model_run)} == {"v"}


def test_a_column_without_numbers_has_only_a_missing_share(model_run: ModelRun) -> None:
    write(model_run, "a.csv", "v,w\n1,nan\n2,\n")
    assert {k: v for k, v in metrics(model_run).items() if ".w." in k} == {"a.w.missing_share": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "\ufefftime,level\n0,1\n1,3\n",
        "# by a model\n\n# in metres\ntime,level\n0,1\n# halfway\n1,3\n\n",
        "time;level\r\n0;1\r\n1;3\r\n",
        "time\tlevel\n0\t1\n1\t3\n",
        '"time","level"\n"0","1"\n"1","3"\n',
        "# time, level\n0.0,1.0\n1.0,3.0\n",
        "time , level\n 0 , 1 \n 1 , 3 ",
    ],
)
def test_tables_are_read_in_the_formats_of_models_and_spreadsheets(model_run: ModelRun, text: str) -> None:
    write(model_run, "gauge.csv", text)
    found = metrics(model_run)
    assert (found["gauge.level.mean"], found["gauge.time.max"]) == (2.0, 1.0)


def test_nameless_columns_are_numbered_and_equal_names_distinguished(model_run: ModelRun) -> None:
    write(model_run, "a.csv", "1,2\n3,4\n")
    write(model_run, "b.csv", ",v,v\n0,1,2\n")
    found = metrics(model_run, statistics=["max"])
    assert found == {
        "a.column_1.max": 3.0,
        "a.column_2.max": 4.0,
        "b.column_1.max": 0.0,
        "b.v.max": 1.0,
        "b.v_3.max": 2.0,
    }


def test_the_last_values_of_a_short_row_are_missing(model_run: ModelRun) -> None:
    write(model_run, "a.csv", "a,b\n1,2\n3\n")
    assert metrics(model_run)["a.b.missing_share"] == 0.5


def test_a_row_with_too_many_cells_is_an_error_with_file_and_line(
    model_run: ModelRun,
) -> None:
    write(model_run, "notes.csv", "# a note\na,b\n1,2\n1,2,3\n")
    with pytest.raises(PostprocessError, match=r"notes\.csv as a table: line 4 has 3 cells.*2.*files"):
        SummaryPostprocessor().process(model_run)


def test_a_long_table_requires_little_memory(model_run: ModelRun) -> None:
    rows = 60_000
    with (model_run.workspace.path / "long.csv").open("w") as file:
        file.write("t,v\n")
        file.writelines(f"{i},{i % 7}.5\n" for i in range(rows))
    tracemalloc.start()
    found = metrics(model_run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6
    assert found["long.t.mean"] == pytest.approx((rows - 1) / 2, rel=1e-12)


def test_huge_numbers_do_not_overflow_the_mean(model_run: ModelRun) -> None:
    write(model_run, "a.csv", "v\n1.5e308\n1.5e308\n1.5e308\n")
    dataset = netcdf(model_run, "b.nc", n=3)
    dataset.createVariable("v", "f8", ("n",))[:] = 1.5e308
    dataset.close()
    found = metrics(model_run)
    assert found["a.v.mean"] == found["b.v.mean"] == pytest.approx(1.5e308)


@pytest.mark.parametrize("format", FORMATS)
def test_fill_values_and_non_finite_values_are_missing_in_every_format(
    model_run: ModelRun, format: str
) -> None:
    dataset = netcdf(model_run, "out.nc", format, t=2, x=4)
    filled = dataset.createVariable("filled", "f4", ("t", "x"), fill_value=-99.0)
    filled[:] = [[1, 2, -99, 4], [np.nan, np.inf, -np.inf, 8]]
    named = dataset.createVariable("named", "i4", ("x",))
    named.missing_value = np.int32(-1)
    named[:] = [-1, 5, 7, -1]
    dataset.createVariable("half_written", "f8", ("t", "x"))[0] = [0, 1, 2, 3]
    dataset.createVariable("never_written", "f4", ("x",))
    dataset.close()
    found = metrics(model_run)
    assert found.pop("out.never_written.missing_share") == 1.0
    for name, expected in {
        "filled": (1.0, 3.75, 8.0, 0.5),
        "named": (5.0, 6.0, 7.0, 0.5),
        "half_written": (0.0, 1.5, 3.0, 0.5),
    }.items():
        keys = [f"out.{name}.{statistic}" for statistic in ("min", "mean", "max", "missing_share")]
        assert tuple(found.pop(key) for key in keys) == expected
    assert not found


def test_packed_numbers_are_unpacked(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", "NETCDF3_CLASSIC", n=3)
    packed = dataset.createVariable("t", "i2", ("n",), fill_value=-1)
    packed.set_auto_maskandscale(False)
    packed.setncatts({"scale_factor": 0.1, "add_offset": 10.0})
    packed[:] = [0, 20, -1]
    unsigned = dataset.createVariable("u", "i1", ("n",))
    unsigned.set_auto_maskandscale(False)
    unsigned._Unsigned = "true"
    unsigned[:] = np.array([0, 100, 200], dtype=np.uint8).view(np.int8)
    dataset.close()
    found = metrics(model_run)
    assert (found["out.t.min"], found["out.t.max"]) == (10.0, 12.0)
    assert found["out.t.missing_share"] == pytest.approx(1 / 3)
    assert (found["out.u.max"], found["out.u.missing_share"]) == (200.0, 0.0)


def test_integers_booleans_scalars_and_groups_are_summarised(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", n=2)
    dataset.createVariable("count", "i8", ("n",))[:] = [3, 4]
    dataset.createVariable("level", "f8", ())[...] = 2.5
    dataset.createGroup("nest/inner").createVariable("v", "f4", ("n",))[:] = [1, 2]
    dataset.close()
    found = metrics(model_run, statistics=["max"])
    assert found == {"out.count.max": 4.0, "out.level.max": 2.5, "out.nest.inner.v.max": 2.0}


def test_an_unlimited_dimension_of_length_zero_has_no_metrics(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", x=2)
    dataset.createDimension("time", None)
    dataset.createVariable("v", "f4", ("time", "x"))
    dataset.close()
    assert metrics(model_run) == {}


def write_with_coordinates(run: ModelRun) -> None:
    dataset = netcdf(run, "out.nc", time=2, lat=3, lon=4, two=2, text=5)
    for name, dims, units in (
        ("time", ("time",), "seconds since 2020-01-01"),
        ("lat", ("lat",), "degrees_north"),
        ("lon", ("lon",), "degrees_east"),
        ("lat_bnds", ("lat", "two"), None),
        ("distance", ("lat",), "m"),
        ("forecast", ("time",), "hours since 2020-01-01"),
        ("period", ("time", "lat", "lon"), "s"),
        ("hs", ("time", "lat", "lon"), "m"),
    ):
        variable = dataset.createVariable(name, "f8", dims)
        variable[:] = 1.0
        if units:
            variable.units = units
    dataset["lat"].bounds = "lat_bnds"
    dataset["hs"].coordinates = "distance"
    dataset.createVariable("name", "S1", ("text",))[:] = np.array(list("abcde"), dtype="S1")
    dataset.createVariable("crs", "i4", ()).grid_mapping_name = "latitude_longitude"
    dataset.close()


def test_coordinates_times_bounds_and_text_are_left_out(model_run: ModelRun) -> None:
    write_with_coordinates(model_run)
    found = metrics(model_run, statistics=["max"])
    assert found == {"out.hs.max": 1.0, "out.period.max": 1.0}


def test_a_selected_coordinate_is_summarised(model_run: ModelRun) -> None:
    write_with_coordinates(model_run)
    found = metrics(model_run, variables=["lat", "hs"], statistics=["mean", "missing_share"])
    assert sorted(found) == ["out.hs.mean", "out.hs.missing_share", "out.lat.mean", "out.lat.missing_share"]


@pytest.mark.parametrize("chunks", [(1, 1000, 1000), (24, 100, 100), None])
def test_a_large_variable_is_read_in_blocks(
    model_run: ModelRun, chunks: tuple[int, int, int] | None
) -> None:
    dataset = netcdf(model_run, "big.nc", time=24, y=1000, x=1000)
    storage = {"zlib": True, "complevel": 1, "chunksizes": chunks} if chunks else {"contiguous": True}
    variable = dataset.createVariable("v", "f4", ("time", "y", "x"), **storage)
    for step in range(0, 24, 8):
        variable[step : step + 8] = np.full((8, 1000, 1000), step, dtype="f4")
    variable[23, 999, 999] = 1000.0
    dataset.close()
    tracemalloc.start()
    found = metrics(model_run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 130e6  # the entire variable takes 192 MB as float64
    assert (found["big.v.min"], found["big.v.max"], found["big.v.missing_share"]) == (0.0, 1000.0, 0.0)
    assert found["big.v.mean"] == pytest.approx(8.0 + 984.0 / 24e6, rel=1e-12)


def anuga(run: ModelRun, *, centroids: bool) -> None:
    """Two triangles: the left one is sea, the right one a hill of 50 m."""
    dataset = netcdf(run, "tsunami.sww", "NETCDF3_64BIT_OFFSET", number_of_timesteps=2, number_of_points=4)
    for dim, size in (("number_of_volumes", 2), ("number_of_vertices", 3), ("numbers_in_range", 2)):
        dataset.createDimension(dim, size)
    for name, values in (("x", [0, 1, 0, 1]), ("y", [0, 0, 1, 1]), ("elevation", [-10, -10, -10, 50])):
        dataset.createVariable(name, "f4", ("number_of_points",))[:] = values
    dataset.createVariable("volumes", "i4", ("number_of_volumes", "number_of_vertices"))[:] = [
        [0, 1, 2],
        [1, 3, 2],
    ]
    dataset.createVariable("time", "f8", ("number_of_timesteps",))[:] = [0, 60]
    dataset.createVariable("stage_range", "f4", ("numbers_in_range",))[:] = [-1, 50]
    stage = dataset.createVariable("stage", "f4", ("number_of_timesteps", "number_of_points"))
    stage[:] = [[0, 0, 0, 50], [1, 2, 3, 50]]
    if centroids:
        dataset.createVariable("elevation_c", "f4", ("number_of_volumes",))[:] = [-10, 50]
        stage = dataset.createVariable("stage_c", "f4", ("number_of_timesteps", "number_of_volumes"))
        stage[:] = [[0, 50], [0.5, 50]]
    dataset.close()


@pytest.mark.parametrize(("centroids", "highest", "missing"), [(False, 3.0, 0.25), (True, 0.5, 0.5)])
def test_the_level_of_dry_land_is_not_a_water_level(
    model_run: ModelRun, centroids: bool, highest: float, missing: float
) -> None:
    anuga(model_run, centroids=centroids)
    found = metrics(model_run)
    assert (found["tsunami.stage.max"], found["tsunami.stage.missing_share"]) == (highest, missing)
    assert found["tsunami.elevation.max"] == 50.0
    assert {name.split(".")[1] for name in found} == {"stage", "elevation"}


def test_without_a_dry_depth_values_are_used_as_stored(model_run: ModelRun) -> None:
    anuga(model_run, centroids=True)
    found = metrics(model_run, dry_depth=None)
    assert (found["tsunami.stage.max"], found["tsunami.stage.missing_share"]) == (50.0, 0.0)
    assert found["tsunami.stage_c.mean"] == pytest.approx(25.125)


def test_files_with_the_same_name_are_distinguished_by_their_paths(model_run: ModelRun) -> None:
    for name in ("gauge.csv", "north/gauge.csv", "sea.csv", "deep/sea.csv", "deep/sea.tsv", "deep/b é.csv"):
        write(model_run, name, "v\n1\n")
    found = metrics(model_run, statistics=["max"])
    assert {name.removesuffix(".v.max") for name in found} == {
        "gauge",
        "north/gauge",
        "sea",
        "deep/sea.csv",
        "deep/sea.tsv",
        "b é",
    }


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (["a.csv"], ["a", "b/a"]),
        (["*.csv"], ["a", "b/a", "c [1]", "d"]),
        (["b/*.csv"], ["a"]),
        (["b/**/*.csv"], ["a", "c [1]", "d"]),
        (["**/d.csv", "b/x/c [1].csv"], ["c [1]", "d"]),
    ],
)
def test_files_are_selected_by_path_or_glob(
    model_run: ModelRun, globs: list[str], expected: list[str]
) -> None:
    for name in ("a.csv", "b/a.csv", "b/x/c [1].csv", "b/x/d.csv"):
        write(model_run, name, "v\n1\n")
    found = metrics(model_run, files=globs, statistics=["max"])
    assert sorted(name.removesuffix(".v.max") for name in found) == expected


def test_file_names_may_contain_special_characters(model_run: ModelRun) -> None:
    odd = "höhe #1?=2, 50% [a] http%3A&x.nc"
    dataset = netcdf(model_run, f"out put/{odd}", n=1)
    dataset.createVariable("v", "f4", ("n",))[:] = 1.0
    dataset.close()
    assert metrics(model_run)[f"{odd.removesuffix('.nc')}.v.max"] == 1.0


def test_inputs_are_not_summarised_and_the_record_contains_the_metrics(tmp_path: Path) -> None:
    template = tmp_path / "a template"
    template.mkdir()
    (template / "forcing.csv").write_text("wind\n10\n")
    linked = netCDF4.Dataset(tmp_path / "bathymetry.nc", "w")
    linked.createDimension("n", 1)
    linked.createVariable("depth", "f4", ("n",))[:] = 5.0
    linked.close()
    model = TemplateModel(
        template=str(template),
        files=[{"source": str(tmp_path / "bathymetry.nc"), "link": True}],
        commands=["mkdir out && printf 'level\\n1\\n2\\n' > out/gauge.csv"],
    )
    run = ModelRun(run_id="first", output_dir=tmp_path / "runs", config=model)
    results = run.pipeline(processor="summary")
    assert results["success"], results
    expected = {
        "gauge.level.min": 1.0,
        "gauge.level.mean": 1.5,
        "gauge.level.max": 2.0,
        "gauge.level.missing_share": 0.0,
    }
    record = json.loads((run.workspace.path / "run.json").read_text())
    assert record["metrics"] == expected
    assert json.loads((run.workspace.path / "metrics.json").read_text()) == expected
    again = run.postprocess(processor="summary")
    assert again["metrics"] == expected


def test_a_run_without_tables_and_netcdf_succeeds_with_nothing_to_summarise(
    model_run: ModelRun,
) -> None:
    write(model_run, "result.bin", "x")
    write(model_run, "empty.csv", "")
    results = SummaryPostprocessor().process(model_run)
    assert (results["success"], results["metrics"]) == (True, {})
    assert "nothing to summarise" in str(results["message"])
    assert "result.bin" in str(results["message"])


def test_a_missing_run_directory_is_a_failure(tmp_path: Path) -> None:
    results = SummaryPostprocessor().process(ModelRun(run_id="never", output_dir=tmp_path))
    assert results["success"] is False
    assert str(tmp_path / "never") in str(results["message"])


def test_missing_files_are_an_error_that_lists_the_outputs(model_run: ModelRun) -> None:
    write(model_run, "gauge.csv", "v\n1\n")
    write(model_run, "log.txt", "")
    with pytest.raises(PostprocessError, match=r"matches \*\.nc\. Outputs: gauge\.csv, log\.txt"):
        SummaryPostprocessor().process(model_run, files=["*.nc"])
    with pytest.raises(PostprocessError, match=r"log\.txt is neither netCDF nor CSV"):
        SummaryPostprocessor().process(model_run, files=["*.txt"])


def test_a_misspelt_variable_is_an_error_with_the_closest_name(model_run: ModelRun) -> None:
    write(model_run, "gauge.csv", "stage,speed\n1,2\n")
    with pytest.raises(PostprocessError, match=r"numeric variable 'stge'.*Did you mean 'stage'"):
        SummaryPostprocessor().process(model_run, variables=["speed", "stge"])


def test_a_truncated_netcdf_file_is_an_error_with_its_name(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "truncated.nc", n=100_000)
    dataset.createVariable("v", "f4", ("n",))[:] = 1.0
    dataset.close()
    path = model_run.workspace.path / "truncated.nc"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PostprocessError, match=r"truncated\.nc as netCDF: .*incomplete"):
        SummaryPostprocessor().process(model_run)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variable": "hs"}, "no setting 'variable'. Did you mean 'variables'"),
        ({"statistics": ["median"]}, "statistics.0"),
        ({"statistics": []}, "statistics"),
        ({"files": ["../other/*.csv"]}, "inside the run directory"),
        ({"dry_depth": -1.0}, "dry_depth"),
    ],
)
def test_invalid_settings_are_reported_by_name(
    model_run: ModelRun, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        SummaryPostprocessor().process(model_run, **settings)


def test_none_instead_of_a_model_run_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="model_run cannot be None"):
        SummaryPostprocessor().process(None)  # type: ignore[arg-type]


def test_the_yaml_lists_every_field_with_its_default() -> None:
    path = Path(rompy_hydra.__file__).parents[1] / "conf" / "processor" / "summary.yaml"
    data = yaml.safe_load(path.read_text())
    assert data.pop("_target_") == "rompy_hydra.postprocess.SummaryPostprocessor"
    assert data == SummaryPostprocessor().model_dump(mode="json")


def test_a_minimal_installation_summarises_the_default_run(minimal_python: BareRun, tmp_path: Path) -> None:
    result = minimal_python(
        "import sys, rompy_hydra\n"
        "from rompy_hydra.models import Beach\n"
        "run = rompy_hydra.ModelRun(run_id='beach', config=Beach())\n"
        "results = run.pipeline(processor='summary')\n"
        "assert results['success'], results\n"
        "assert not {'numpy', 'xarray', 'netCDF4', 'matplotlib'} & set(sys.modules)\n"
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "runs" / "beach" / "metrics.json").read_text())
    assert 1.0 < found["profile.significant_wave_height_m.max"] < 4.0
    assert found["profile.setup_m.missing_share"] == 0.0


def test_a_minimal_installation_reports_what_to_install_for_netcdf(
    minimal_python: BareRun, model_run: ModelRun
) -> None:
    netcdf(model_run, "waves.nc").close()
    result = minimal_python(
        "from rompy_hydra import ModelRun, SummaryPostprocessor\n"
        "from rompy_hydra.errors import PostprocessError\n"
        f"run = ModelRun(run_id={model_run.run_id!r}, output_dir={str(model_run.output_dir)!r})\n"
        "try: SummaryPostprocessor().process(run)\n"
        "except PostprocessError as error: print(error)\n"
    )
    assert "waves.nc" in result.stdout, result.stderr
    assert "pip install 'rompy-hydra[analysis]'" in result.stdout
