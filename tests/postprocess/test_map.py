from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
import yaml
from matplotlib.text import Text
from PIL import Image

import rompy_hydra
from rompy_hydra import MapPostprocessor, ModelRun, TemplateModel
from rompy_hydra.errors import ConfigError, PostprocessError
from rompy_hydra.postprocess.colours import colour_limits, default_colours, hue_circle
from rompy_hydra.postprocess.figure import (
    ProjectedField,
    Style,
    draw_figure,
    project,
    render_png,
    thin,
)
from rompy_hydra.postprocess.map import superscripts
from rompy_hydra.postprocess.netcdf import Statistic, conventions
from rompy_hydra.postprocess.netcdf.field import Field, mean_at_nodes
from rompy_hydra.postprocess.netcdf.mapping import load_field, locate, mappable_variables
from rompy_hydra.postprocess.rim import rim_path
from rompy_hydra.reading.netcdf import open_groups
from tests.postprocess.conftest import netcdf

LAND = (0xD9, 0xD6, 0xCF)
FORMATS = ["NETCDF4", "NETCDF3_CLASSIC"]
BareRun = Callable[[str], subprocess.CompletedProcess[str]]


def put(
    dataset: netCDF4.Dataset,
    name: str,
    dims: tuple[str, ...],
    values: Any,
    type: str = "f8",
    fill: float | None = None,
    **attrs: object,
) -> None:
    variable = dataset.createVariable(name, type, dims, fill_value=fill)
    variable.setncatts(attrs)
    variable[:] = values


def draw(run: ModelRun, **settings: object) -> tuple[dict[str, object], Image.Image]:
    results = MapPostprocessor(dpi=50).process(run, **settings)
    assert results["success"] is True, results
    plots = results["plots"]
    assert isinstance(plots, list)
    image = Image.open(plots[0])
    image.load()
    return results, image


def share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    """The share of a picture that has exactly this colour."""
    pixels = np.asarray(image.convert("RGB"))
    return float((pixels == colour).all(axis=-1).mean())


def projected(
    run: ModelRun, name: str, variable: str, statistic: Statistic = "max", dry_depth: float | None = 0.01
) -> ProjectedField:
    with open_groups(run.workspace.path / name) as groups:
        location = locate(groups[""], variable)
        assert location is not None
        field = load_field(groups[""], variable, location, statistic, dry_depth)
        return project(groups[""], location, field, run.workspace.path)


def field_of(
    run: ModelRun, name: str, variable: str, statistic: Statistic = "max", dry_depth: float | None = 0.01
) -> Field:
    return projected(run, name, variable, statistic, dry_depth).field


def waves(run: ModelRun, name: str = "waves.nc", format: str = "NETCDF4", order: str = "tyx") -> np.ndarray:
    """Write packed wave heights on longitudes and latitudes, with land in the west; returns (t, y, x)."""
    sizes = {"t": 4, "y": 30, "x": 50}
    names = {"t": "time", "y": "latitude", "x": "longitude"}
    dataset = netcdf(run, name, format, **{names[k]: n for k, n in sizes.items()})
    put(dataset, "time", ("time",), np.arange(4) * 3600.0, units="seconds since 2020-01-01")
    put(dataset, "latitude", ("latitude",), np.linspace(-33, -34, 30), units="degrees_north")
    put(dataset, "longitude", ("longitude",), np.linspace(150, 152, 50), units="degrees_east")
    x, t = np.arange(50.0), np.arange(4.0)
    heights = np.broadcast_to(0.05 * x * (1 + 0.1 * t[:, None, None]), (4, 30, 50)).copy()
    heights[:, :, :10] = np.nan
    dims = tuple(names[letter] for letter in order)
    packed = np.where(np.isnan(heights), -32767, np.round(np.nan_to_num(heights) * 1000)).astype("i2")
    variable = dataset.createVariable("hs", "i2", dims, fill_value=-32767)
    variable.setncatts({"scale_factor": 0.001, "units": "m", "long_name": "significant wave height"})
    variable.set_auto_maskandscale(False)
    variable[:] = packed.transpose([("tyx").index(letter) for letter in order])
    depth = np.broadcast_to((x - 9.5) * 4, (30, 50))
    put(dataset, "depth", ("latitude", "longitude"), depth, units="m", positive="down")
    dataset.close()
    return heights


def anuga(run: ModelRun, name: str = "tsunami.sww", n: int = 12) -> None:
    """A sea of 10 m depth and, in the eastern third, hills of 500 m, on squares of two triangles."""
    dataset = netcdf(run, name, "NETCDF3_64BIT_OFFSET", number_of_timesteps=3, number_of_points=n * n)
    x, y = (each.ravel() for each in np.meshgrid(np.arange(n) * 4000.0, np.arange(n) * 4000.0))
    number = np.arange(n * n).reshape(n, n)
    a, b, c, d = (
        part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    )
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    dataset.createDimension("number_of_volumes", len(triangles))
    dataset.createDimension("number_of_vertices", 3)
    put(dataset, "volumes", ("number_of_volumes", "number_of_vertices"), triangles, "i4")
    put(dataset, "time", ("number_of_timesteps",), [0, 300, 600])
    bed = np.where(x > 0.66 * x.max(), 500.0, -10.0)
    for key, values in (("x", x), ("y", y), ("elevation", bed)):
        put(dataset, key, ("number_of_points",), values, "f4")
    wave = np.sin(np.arange(3)[:, None] + x / 8000.0)
    put(dataset, "stage", ("number_of_timesteps", "number_of_points"), np.maximum(bed, wave), "f4")
    put(dataset, "xmomentum", ("number_of_timesteps", "number_of_points"), wave * 10, "f4")
    dataset.xllcorner, dataset.yllcorner = 500_000.0, 0.0
    dataset.close()


def schism(run: ModelRun, name: str = "out2d_1.nc") -> None:
    """UGRID: a square with nodes numbered from 1, and an adjacent triangle; levels, depths, flags."""
    dataset = netcdf(run, name, time=2, nSCHISM_hgrid_node=5, nSCHISM_hgrid_face=2, four=4)
    mesh = dataset.createVariable("SCHISM_hgrid", "S1", ())
    mesh.cf_role = "mesh_topology"
    mesh.node_coordinates = "SCHISM_hgrid_node_x SCHISM_hgrid_node_y"
    mesh.face_node_connectivity = "SCHISM_hgrid_face_nodes"
    faces = dataset.createVariable(
        "SCHISM_hgrid_face_nodes", "i4", ("nSCHISM_hgrid_face", "four"), fill_value=-1
    )
    faces.start_index = np.int32(1)
    faces[:] = np.ma.masked_equal([[1, 2, 3, 4], [2, 5, 3, -1]], -1)
    node = ("nSCHISM_hgrid_node",)
    for letter, values, units in (
        ("x", [0, 1, 1, 0, 2], "degrees_east"),
        ("y", [50, 50, 51, 51, 50.5], "degrees_north"),
    ):
        put(dataset, f"SCHISM_hgrid_node_{letter}", node, values, units=units)
    put(dataset, "depth", node, [10, 10, 10, 10, -5])
    put(dataset, "elevation", ("time", *node), [[0, 1, 2, 3, 5], [1, 0, 1, 0, 5]])
    put(dataset, "dryFlagElement", ("time", "nSCHISM_hgrid_face"), [[0, 1], [0, 1]])
    dataset.close()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("order", ["tyx", "yxt", "xty"])
@pytest.mark.parametrize("statistic", ["max", "min", "mean", "first", "last"])
def test_a_variable_is_reduced_over_time_for_any_order_of_dimensions(
    model_run: ModelRun, format: str, order: str, statistic: Statistic
) -> None:
    heights = waves(model_run, format=format, order=order)
    expected = {
        "max": heights.max(axis=0),
        "min": heights.min(axis=0),
        "mean": heights.mean(axis=0),
        "first": heights[0],
        "last": heights[-1],
    }
    field = field_of(model_run, "waves.nc", "hs", statistic)
    np.testing.assert_allclose(field.values, expected[statistic], atol=6e-4)
    assert (field.x.shape, field.y.shape) == ((50,), (30,))


def test_missing_values_are_ignored_in_a_reduction(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "a.nc", time=3, y=2, x=2)
    values = np.array([[[1, 5], [9, 9]], [[3, 9], [9, 9]], [[9, 1], [9, 9]]], dtype=float)
    put(dataset, "v", ("time", "y", "x"), values, fill=9.0)
    dataset.close()
    np.testing.assert_equal(field_of(model_run, "a.nc", "v").values, [[3, 5], [np.nan, np.nan]])
    np.testing.assert_equal(field_of(model_run, "a.nc", "v", "mean").values, [[2, 3], [np.nan, np.nan]])


def test_a_grid_is_drawn_with_grey_land(model_run: ModelRun) -> None:
    waves(model_run, "out put/wéllen.nc")
    results, image = draw(model_run, width=6)
    assert results["plots"] == [str(model_run.workspace.path / "map-hs.png")]
    assert (results["variable"], results["statistic"], results["units"]) == ("hs", "max", "m")
    assert image.format == "PNG"
    assert image.width == 6 * 50
    assert 0.4 < image.height / image.width < 0.8
    assert 0.05 < share(image, LAND) < 0.2
    assert share(image, (255, 255, 255)) > 0.2


def test_the_metadata_of_a_map_describe_it(model_run: ModelRun) -> None:
    waves(model_run)
    _, image = draw(model_run, statistic="mean")
    metadata: dict[str, str] = image.text  # type: ignore[attr-defined]
    assert metadata == {
        "Title": f"hs of {model_run.run_id}",
        "Description": "2020-01-01 00:00 to 03:00; waves.nc: mean hs over 4 time steps; "
        "mean significant wave height (m)",
        "Software": "rompy_hydra",
        "Source": "waves.nc",
        "run_id": model_run.run_id,
        "variable": "hs",
        "statistic": "mean",
        "units": "m",
    }


def test_each_statistic_has_its_own_file(model_run: ModelRun) -> None:
    waves(model_run)
    draw(model_run)
    results, _ = draw(model_run, statistic="min")
    assert results["message"] == "map-hs-min.png: waves.nc: minimum hs over 4 time steps"
    names = sorted(path.name for path in model_run.workspace.path.glob("*.png"))
    assert names == ["map-hs-min.png", "map-hs.png"]


def test_equal_outputs_give_equal_bytes(model_run: ModelRun) -> None:
    waves(model_run)
    path = model_run.workspace.path / "map-hs.png"
    draw(model_run)
    first = path.read_bytes()
    draw(model_run)
    assert path.read_bytes() == first


def test_maps_can_be_drawn_in_parallel_threads(tmp_path: Path) -> None:
    runs = [ModelRun(run_id=f"run {number}", output_dir=tmp_path) for number in range(3)]
    for number, run in enumerate(runs):
        run.workspace.path.mkdir()
        (anuga if number % 2 else waves)(run)

    def draw_bytes(run: ModelRun) -> bytes:
        draw(run)
        return next(run.workspace.path.glob("*.png")).read_bytes()

    alone = [draw_bytes(run) for run in runs]
    with ThreadPoolExecutor(len(runs)) as pool:
        together = list(pool.map(draw_bytes, runs))
    assert together == alone
    assert len(set(alone)) == len(runs)


def test_drawing_uses_neither_pyplot_nor_a_window_system(model_run: ModelRun) -> None:
    waves(model_run)
    code = (
        "import sys\n"
        "from rompy_hydra import MapPostprocessor, ModelRun\n"
        f"run = ModelRun(run_id={model_run.run_id!r}, output_dir={str(model_run.output_dir)!r})\n"
        "processor = MapPostprocessor(dpi=40)\n"
        "assert not {'numpy', 'xarray', 'matplotlib'} & set(sys.modules)\n"
        "assert processor.process(run)['success']\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_dry_land_of_anuga_is_grey_and_not_the_highest_water_level(model_run: ModelRun) -> None:
    anuga(model_run)
    field = field_of(model_run, "tsunami.sww", "stage")
    assert np.nanmax(field.values) < 1.01
    assert np.isnan(field.values).sum() == 12 * 4
    np.testing.assert_allclose(
        [field.x.min(), field.x.max()], [500.0, 544.0]
    )  # km, including the lower left corner
    results, image = draw(model_run)
    assert (results["variable"], results["units"]) == ("stage", "m")
    assert 0.1 < share(image, LAND) < 0.4
    assert np.nanmax(field_of(model_run, "tsunami.sww", "stage", dry_depth=None).values) == 500.0


def test_other_variables_are_dry_where_the_water_level_is(model_run: ModelRun) -> None:
    anuga(model_run)
    values = field_of(model_run, "tsunami.sww", "xmomentum").values
    assert np.isnan(values).sum() == 12 * 4
    assert draw(model_run, variable="xmomentum")[0]["units"] == "m2 s-1"


def test_centroid_values_of_anuga_are_preferred(model_run: ModelRun) -> None:
    anuga(model_run)
    with netCDF4.Dataset(model_run.workspace.path / "tsunami.sww", "a") as dataset:
        faces = len(dataset.dimensions["number_of_volumes"])
        put(dataset, "elevation_c", ("number_of_volumes",), np.full(faces, -10.0))
        put(dataset, "stage_c", ("number_of_timesteps", "number_of_volumes"), np.full((3, faces), 0.5))
    results, image = draw(model_run)
    assert results["variable"] == "stage"
    assert share(image, LAND) < 0.01  # every triangle is wet, although some nodes are dry
    assert field_of(model_run, "tsunami.sww", "stage_c").on_triangles


def test_a_mesh_of_squares_and_triangles_is_divided_into_triangles(model_run: ModelRun) -> None:
    schism(model_run)
    field = field_of(model_run, "out2d_1.nc", "elevation")
    assert field.triangles is not None
    assert sorted(map(tuple, field.triangles.tolist())) == [(0, 1, 2), (0, 2, 3), (1, 4, 2)]
    np.testing.assert_equal(field.values, [1, 1, 2, 3, np.nan])  # the last node is on land
    np.testing.assert_equal(field.bed, [10, 10, 10, 10, -5])
    flags = field_of(model_run, "out2d_1.nc", "dryFlagElement")
    assert flags.on_triangles
    assert sorted(flags.values) == [0, 0, 1]
    assert draw(model_run)[0]["variable"] == "elevation"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_mesh_without_attributes_is_recognised_by_its_variable_names(
    model_run: ModelRun, swapped: bool
) -> None:
    dataset = netcdf(model_run, "ww3.nc", node=6, element=12, noel=3, time=2)
    put(dataset, "longitude", ("node",), [0, 1, 2, 0, 1, 2], units="degrees_east")
    put(dataset, "latitude", ("node",), [0, 0, 0, 1, 1, 1], units="degrees_north")
    corners = np.array([[1, 2, 5], [1, 5, 4], [2, 3, 6], [2, 6, 5]] * 3)
    dims = ("noel", "element") if swapped else ("element", "noel")
    put(dataset, "tri", dims, corners.T if swapped else corners, "i4")
    put(dataset, "hs", ("time", "node"), [[1, 2, 3, 4, 5, 6], [0] * 6], units="m")
    dataset.close()
    field = field_of(model_run, "ww3.nc", "hs")
    assert field.triangles is not None
    np.testing.assert_equal(field.triangles, corners - 1)
    draw(model_run)


def test_holes_in_a_curvilinear_grid_are_not_drawn(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "d3d.nc", m=5, n=4)
    x, y = np.meshgrid(np.arange(5.0), np.arange(4.0))
    hole = (x == 0) & (y == 0)
    x, y = np.where(hole, -999, x + 0.2 * y), np.where(hole, -999, y)
    put(dataset, "x", ("n", "m"), x, fill=-999.0, units="m")
    put(dataset, "y", ("n", "m"), y, fill=-999.0, units="m")
    put(dataset, "zs", ("m", "n"), x.T)
    dataset.close()
    field = field_of(model_run, "d3d.nc", "zs")
    assert field.triangles is not None
    assert len(field.triangles) == 2 * (4 * 3 - 1)
    draw(model_run)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["u", "hs", "zs", "zb"], "zs"),
        (["u", "swh"], "swh"),
        (["zb", "u"], "zb"),
        (["Hsig", "eta"], "eta"),
    ],
)
def test_the_water_level_ranks_before_the_wave_height_and_other_variables(
    model_run: ModelRun, names: list[str], expected: str
) -> None:
    dataset = netcdf(model_run, "out.nc", time=2, y=3, x=4, frequency=5, direction=6)
    put(dataset, "x", ("x",), np.arange(4.0), units="m")
    put(dataset, "y", ("y",), np.arange(3.0), units="m")
    put(dataset, "spectrum", ("time", "frequency", "direction"), np.ones((2, 5, 6)))
    put(dataset, "series", ("time", "x"), np.ones((2, 4)))
    for name in names:
        put(dataset, name, ("time", "y", "x"), np.arange(24.0).reshape(2, 3, 4))
    dataset.close()
    with open_groups(model_run.workspace.path / "out.nc") as groups:
        assert next(iter(mappable_variables(groups[""]))) == expected


def test_the_first_mappable_file_is_drawn_unless_a_glob_selects_another(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "a points.nc", time=3, station=2)
    put(dataset, "hs", ("time", "station"), np.ones((3, 2)))
    dataset.close()
    waves(model_run, "b.nc")
    anuga(model_run, "c/d.sww")
    assert draw(model_run)[0]["variable"] == "hs"
    assert draw(model_run, file="c/*")[0]["variable"] == "stage"
    assert draw(model_run, variable="xmomentum")[0]["success"]


def test_a_misspelt_variable_is_an_error_with_the_closest_name(model_run: ModelRun) -> None:
    anuga(model_run)
    with pytest.raises(PostprocessError, match=r"variable 'stge' .*Did you mean 'stage'\?.*xmomentum"):
        draw(model_run, variable="stge")


def test_a_variable_that_cannot_be_mapped_is_an_error_with_the_reason(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", time=2, level=3, y=4, x=5)
    put(dataset, "salt", ("time", "level", "y", "x"), np.ones((2, 3, 4, 5)))
    put(dataset, "zs", ("time", "y", "x"), np.ones((2, 4, 5)))
    dataset.close()
    with pytest.raises(
        PostprocessError, match=r"'salt' of out\.nc \(time: 2, level: 3, .*Mappable variables: zs"
    ):
        draw(model_run, variable="salt")


def test_dimensions_of_size_one_are_ignored(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", time=2, surface=1, y=4, x=5)
    put(dataset, "salt", ("time", "surface", "y", "x"), np.arange(40.0).reshape(2, 1, 4, 5))
    dataset.close()
    np.testing.assert_equal(field_of(model_run, "out.nc", "salt").values, np.arange(20, 40).reshape(4, 5))
    draw(model_run)


def test_a_run_with_only_tables_has_nothing_to_map(tmp_path: Path) -> None:
    model = TemplateModel(
        template=str(tmp_path), commands=["echo x,hs > profile.csv; echo 1,2 >> profile.csv"]
    )
    run = ModelRun(run_id="beach", output_dir=tmp_path / "runs", config=model)
    results = run.pipeline(processor=["summary", "map"])
    assert results["success"] is False
    assert results["stage"] == "postprocess"
    assert "nothing to map" in str(results["message"])
    assert "profile.csv" in str(results["message"])
    record = json.loads((run.workspace.path / "run.json").read_text())
    assert (record["state"], record["error"]["type"]) == ("failed", "PostprocessError")


def test_netcdf_without_a_grid_or_mesh_has_nothing_to_map(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "points.nc", time=3, station=2)
    put(dataset, "hs", ("time", "station"), np.ones((3, 2)))
    dataset.close()
    with pytest.raises(PostprocessError, match=r"nothing to map in .*points\.nc"):
        draw(model_run)


def test_inputs_are_not_drawn(tmp_path: Path) -> None:
    source = ModelRun(run_id="source", output_dir=tmp_path)
    waves(source, "bathymetry.nc")
    template = tmp_path / "template"
    template.mkdir()
    model = TemplateModel(
        template=str(template), files=[str(source.workspace.path / "bathymetry.nc")], commands=["true"]
    )
    run = ModelRun(run_id="run", output_dir=tmp_path, config=model)
    assert "nothing to map" in str(run.pipeline(processor="map")["message"])


def test_metrics_and_map_of_a_pipeline_are_in_the_record(tmp_path: Path) -> None:
    source = ModelRun(run_id="source", output_dir=tmp_path)
    waves(source)
    template = tmp_path / "template"
    template.mkdir()
    (template / "input.txt").write_text("x")
    copy = ["cp", str(source.workspace.path / "waves.nc"), "out.nc"]
    model = TemplateModel(template=str(template), commands=[copy])
    run = ModelRun(run_id="run", output_dir=tmp_path, config=model)
    assert run.pipeline(processor=["summary", "map"])["success"]
    record = json.loads((run.workspace.path / "run.json").read_text())
    assert sorted(fact["path"] for fact in record["products"]) == ["map-hs.png", "metrics.json"]
    assert record["metrics"]["out.hs.max"] == pytest.approx(2.45 * 1.3, abs=1e-3)
    assert record["metrics"]["out.hs.missing_share"] == pytest.approx(0.2)


def test_a_missing_run_directory_is_a_failure(tmp_path: Path) -> None:
    results = MapPostprocessor().process(ModelRun(run_id="never", output_dir=tmp_path))
    assert results["success"] is False


@pytest.mark.parametrize("values", [np.nan, -20.0])
def test_a_variable_without_values_is_an_error(model_run: ModelRun, values: float) -> None:
    dataset = netcdf(model_run, "out.nc", y=4, x=5)
    put(dataset, "zs", ("y", "x"), np.full((4, 5), values))
    put(dataset, "zb", ("y", "x"), np.full((4, 5), -10.0))
    dataset.close()
    with pytest.raises(PostprocessError, match=r"'zs' of out\.nc .* has no values to draw"):
        draw(model_run)


@pytest.mark.parametrize("name", ["depth", "bathymetry", "zb"])
def test_a_bed_can_be_a_depth_or_an_elevation(model_run: ModelRun, name: str) -> None:
    bed = np.where(np.arange(20).reshape(4, 5) < 15, -10.0, 5.0)
    dataset = netcdf(model_run, "out.nc", y=4, x=5)
    put(dataset, "zeta", ("y", "x"), np.maximum(bed, 0.5))
    put(dataset, name, ("y", "x"), bed if name == "zb" else -bed)
    dataset.close()
    assert np.isnan(field_of(model_run, "out.nc", "zeta").values).sum() == 5


def test_a_constant_is_drawn(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", y=2, x=2)
    put(dataset, "q", ("y", "x"), np.zeros((2, 2)))
    dataset.close()
    draw(model_run)


@pytest.mark.parametrize(
    "run_id", ["$x_1^2 frac{1$ 50% #", "潮汐 🌊", "friction=0.03,source=2.5 " + "long " * 25 + "."]
)
def test_any_run_id_is_drawn_literally(tmp_path: Path, run_id: str) -> None:
    run = ModelRun(run_id=run_id, output_dir=tmp_path)
    waves(run)
    draw(run)


def test_settings_change_the_map(model_run: ModelRun) -> None:
    waves(model_run)
    small = {"dpi": 30, "width": 4}
    plain = np.asarray(draw(model_run, **small)[1])
    assert plain.shape[1] == 120
    for settings in ({"vmax": 1.0}, {"vmin": 1.0}, {"colormap": "magma"}):
        results, image = draw(model_run, **small, **settings)
        assert not np.array_equal(plain, np.asarray(image)), settings
        assert results["units"] == "m"


def test_units_name_what_the_file_does_not_say_but_convert_nothing(model_run: ModelRun) -> None:
    waves(model_run)
    assert draw(model_run, units="m")[0]["units"] == "m"
    with pytest.raises(PostprocessError, match=r"'hs' is in 'm', and a map does not convert .* to 'ft'"):
        draw(model_run, units="ft")
    with netCDF4.Dataset(model_run.workspace.path / "waves.nc", "a") as dataset:
        dataset["hs"].delncattr("units")
    assert draw(model_run, units="ft")[0]["units"] == "ft"


def test_a_layer_of_a_variable_without_layers_is_refused(model_run: ModelRun) -> None:
    waves(model_run)
    with pytest.raises(PostprocessError, match=r"'hs' of waves\.nc has no layers: leave processor\.layer"):
        draw(model_run, layer=3)


def test_an_unknown_colormap_is_an_error_with_similar_names(model_run: ModelRun) -> None:
    waves(model_run)
    with pytest.raises(PostprocessError, match=r"no colormap 'virids'.*Did you mean viridis"):
        draw(model_run, colormap="virids")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vmin": 2.0, "vmax": 1.0}, r"vmin \(2\) must be less than vmax \(1\)"),
        ({"statistic": "median"}, "statistic"),
        ({"width": 0}, "width"),
        ({"dpi": 5000}, "dpi"),
        ({"vmin": float("nan")}, "vmin"),
        ({"file": "/etc/a.nc"}, "inside the run directory"),
        ({"colourmap": "magma"}, "Did you mean 'colormap'"),
    ],
)
def test_invalid_settings_are_reported_by_name(
    model_run: ModelRun, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        MapPostprocessor().process(model_run, **settings)


@pytest.mark.parametrize(
    ("values", "vmin", "vmax", "expected"),
    [
        ([0.1, 1.0, 2.0], None, None, (0.0, 2.0)),  # close to 0: starts there
        ([5.0, 6.0], None, None, (5.0, 6.0)),
        ([-1.0, 3.0], None, None, (-3.0, 3.0)),  # both signs: symmetric
        ([-0.1, 3.0], None, None, (-0.1, 3.0)),  # almost one sign
        ([-1.0, 3.0], None, 2.0, (-2.0, 2.0)),
        ([-1.0, 3.0], -0.5, 4.0, (-0.5, 4.0)),
        ([*range(100), 1e6], None, None, (0.0, 98.0)),  # one outlier
        ([2.0, 2.0, np.nan], None, None, (1.9, 2.1)),
        ([0.0, 0.0], None, None, (-1.0, 1.0)),
        ([-2.0, -2.0], None, None, (-2.1, -1.9)),
        ([1.0, 2.0], 5.0, None, (5.0, 5.25)),
    ],
)
def test_the_colour_scale_covers_most_values(
    values: list[float], vmin: float | None, vmax: float | None, expected: tuple[float, float]
) -> None:
    assert colour_limits(np.array(values, dtype=float), vmin, vmax) == pytest.approx(expected)


def test_metres_become_degrees_and_places_are_marked_if_a_model_provides_them(model_run: ModelRun) -> None:
    anuga(model_run)
    plain = draw(model_run)[1]
    grid = {
        "origin_longitude_degrees_east": -130.0,
        "origin_latitude_degrees_north": 48.0,
        "metres_per_degree_longitude": 100_000.0,
        "metres_per_degree_latitude": 100_000.0,
    }
    directory = model_run.workspace.path
    (directory / "grid.json").write_text(json.dumps(grid))
    (directory / "gauges_places.csv").write_text("place,x_m,y_m\nport_renfrew,520000,20000\n")
    result = projected(model_run, "tsunami.sww", "stage")
    np.testing.assert_allclose([result.field.x.min(), result.field.y.max()], [-125.0, 48.44])
    assert result.degrees
    assert [(name, round(x, 6), round(y, 6)) for name, x, y in result.markers] == [
        ("Port Renfrew", -124.8, 48.2)
    ]
    assert not np.array_equal(np.asarray(draw(model_run)[1]), np.asarray(plain))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"origin_longitude_degrees_east": "x"}', "\x00"])
def test_unrelated_files_with_these_names_are_ignored(model_run: ModelRun, text: str) -> None:
    anuga(model_run)
    (model_run.workspace.path / "grid.json").write_text(text)
    (model_run.workspace.path / "my_places.csv").write_text(text)
    result = projected(model_run, "tsunami.sww", "stage")
    assert (result.degrees, result.x_label, list(result.markers)) == (False, "x (km)", [])


def test_longitudes_across_the_date_line_are_continuous(model_run: ModelRun) -> None:
    dataset = netcdf(model_run, "out.nc", lat=3, lon=4)
    put(dataset, "lon", ("lon",), [178, 179, -180, -179], units="degrees_east")
    put(dataset, "lat", ("lat",), [-1, 0, 1], units="degrees_north")
    put(dataset, "swh", ("lat", "lon"), np.arange(12.0).reshape(3, 4))
    dataset.close()
    np.testing.assert_equal(field_of(model_run, "out.nc", "swh").x, [178, 179, 180, 181])
    draw(model_run)


def test_very_fine_and_very_narrow_grids_are_drawn() -> None:
    style = Style("run", "file", "height (m)", None, None, None, 6.0, 50)
    fine = np.add.outer(np.arange(500.0), np.arange(3300.0))
    field = Field(np.arange(3300.0), np.arange(500.0), fine, bed=fine - 2000.0)
    assert thin(field, 1600).values.shape == (500, 1100)
    assert render_png(ProjectedField(field, "x (m)", "y (m)"), style, {}).startswith(b"\x89PNG")
    narrow = Field(np.arange(400.0), np.arange(3.0), np.zeros((3, 400)))
    assert render_png(ProjectedField(narrow, "x (m)", "y (m)"), style, {}).startswith(b"\x89PNG")


def test_exponents_become_superscripts() -> None:
    assert [superscripts(units) for units in ("m", "m2 s-1", "W/m2", "s m-1/3", "degC", "10-3 kg")] == [
        "m",
        "m² s⁻¹",
        "W/m²",
        "s m-1/3",
        "degC",
        "10-3 kg",
    ]


def test_the_yaml_lists_every_field_with_its_default() -> None:
    path = Path(rompy_hydra.__file__).parents[1] / "conf" / "processor" / "map.yaml"
    data = yaml.safe_load(path.read_text())
    assert data.pop("_target_") == "rompy_hydra.postprocess.MapPostprocessor"
    assert data == MapPostprocessor().model_dump(mode="json")


def test_a_minimal_installation_reports_what_to_install(
    minimal_python: BareRun, model_run: ModelRun
) -> None:
    waves(model_run)
    result = minimal_python(
        "from rompy_hydra import MapPostprocessor, ModelRun\n"
        "from rompy_hydra.errors import PostprocessError\n"
        f"run = ModelRun(run_id={model_run.run_id!r}, output_dir={str(model_run.output_dir)!r})\n"
        "try: MapPostprocessor().process(run)\n"
        "except PostprocessError as error: print(error)\n"
    )
    assert "pip install 'rompy-hydra[analysis]'" in result.stdout, result.stderr


def steps(n: int = 14) -> Field:
    """A mesh of squares of two triangles below a diagonal: its boundary is a staircase."""
    x, y = (each.ravel() for each in np.meshgrid(np.arange(float(n)), np.arange(float(n))))
    number = np.arange(n * n).reshape(n, n)
    a, b, c, d = (
        part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    )
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    sea = (x[c] + y[c]) <= n
    return Field(x, y, x + y, triangles=triangles[np.concatenate([sea, sea])])


def test_the_boundary_of_a_mesh_is_a_smooth_line_without_its_steps() -> None:
    path = rim_path(steps())
    assert path is not None
    points = path.vertices[:-1]
    inner = points[(points.min(axis=1) > 1.5)]  # along the staircase
    assert len(inner) > 20
    turns = np.diff(np.unwrap(np.arctan2(*np.diff(inner, axis=0).T)))
    assert np.abs(turns).max() < np.radians(60)  # the steps turn by 90 degrees
    assert np.ptp(inner.sum(axis=1)) < 0.8  # and leave the diagonal by a full side
    assert {(0.0, 0.0), (12.0, 0.0), (0.0, 12.0)} <= {tuple(point) for point in points.tolist()}


def test_an_island_in_a_mesh_stays_land() -> None:
    field = steps(16)
    assert field.triangles is not None
    x, y = field.x[field.triangles].mean(axis=1), field.y[field.triangles].mean(axis=1)
    field = replace(field, triangles=field.triangles[np.hypot(x - 4, y - 4) > 2])
    path = rim_path(field)
    assert path is not None
    assert len([code for code in path.codes if code == path.MOVETO]) == 2
    style = Style("run", "file", "height (m)", None, None, None, 6.0, 50)
    image = Image.open(io.BytesIO(render_png(ProjectedField(field, "x (m)", "y (m)"), style, {})))
    assert 0.25 < share(image, LAND) < 0.6


def test_directions_have_cyclic_colours_unlike_land() -> None:
    colours = hue_circle()(np.linspace(0.0, 1.0, 361))[:, :3]
    np.testing.assert_allclose(colours[0], colours[-1], atol=0.02)
    steps = np.linalg.norm(np.diff(colours, axis=0), axis=1)
    assert steps.max() < 4.0 * np.median(steps)  # no jumps
    assert np.linalg.norm(colours - np.array(LAND) / 255.0, axis=1).min() > 0.2
    x = np.arange(20.0)
    north = Field(x, x, np.where(x % 2 == 0, 359.0, 1.0) + np.zeros((20, 1)), circle=360.0)
    style = Style("run", "file", "direction", 0.0, 360.0, None, 6.0, 50)
    image = np.asarray(
        Image.open(io.BytesIO(render_png(ProjectedField(north, "", ""), style, {}))).convert("RGB")
    )
    inside = image[100:200, 80:200].reshape(-1, 3).astype(int)
    assert np.ptp(inside, axis=0).max() < 20  # 359° looks like 1°


def test_the_colours_of_triangles_around_north_are_those_of_north() -> None:
    field = replace(steps(), values=np.where(np.arange(14 * 14) % 2 == 0, 350.0, 10.0), circle=360.0)
    assert field.triangles is not None
    on_faces = np.where(np.arange(len(field.triangles)) % 2 == 0, 350.0, 10.0)
    nodes = mean_at_nodes(on_faces, field.triangles, len(field.x), 360.0)
    assert np.nanmax(np.minimum(nodes, 360.0 - nodes)) < 10.001


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("depth", {}, "cividis_r"),
        ("temp", {"units": "degC"}, "inferno"),
        ("so", {"standard_name": "sea_water_salinity"}, "cividis"),
        ("v", {"standard_name": "wind_speed"}, "plasma"),
        ("hs", {}, "viridis"),
    ],
)
def test_each_kind_of_variable_has_its_colours(name: str, attrs: dict[str, str], expected: str) -> None:
    dataset = xr.Dataset({name: (("y", "x"), np.ones((2, 2)), attrs)})
    assert default_colours(False, False, conventions.kind(dataset, name)) == expected


def texts_of(projected: ProjectedField, style: Style) -> list[str]:
    """All texts in a figure."""
    figure = draw_figure(projected, style)
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_title_has_the_dates_of_the_period_and_the_label_the_long_name(model_run: ModelRun) -> None:
    waves(model_run)
    _, image = draw(model_run)
    metadata: dict[str, str] = image.text  # type: ignore[attr-defined]
    assert metadata["Description"] == (
        "2020-01-01 00:00 to 03:00; waves.nc: maximum hs over 4 time steps; "
        "maximum significant wave height (m)"
    )


@pytest.mark.parametrize(
    ("width", "km_per_unit", "degrees", "expected"),
    [
        (2.0, None, True, "20 km"),
        (50.0, 1.0, False, "10 km"),
        (900.0, 0.001, False, "200 m"),
        (9.0, None, False, ""),
    ],
)
def test_a_map_has_a_scale_if_its_units_are_known(
    width: float, km_per_unit: float | None, degrees: bool, expected: str
) -> None:
    x = np.linspace(0.0, width, 30)
    field = Field(x, x - 34.0 if degrees else x, np.add.outer(x, x))
    style = Style("run", "file", "height", None, None, None, 6.0, 50)
    texts = texts_of(ProjectedField(field, "x", "y", degrees, km_per_unit), style)
    assert [text for text in texts if re.fullmatch(r"\d+ k?m", text)] == ([expected] if expected else [])
