"""Outputs in several files: months, the tiles of a decomposition, nested grids, members of an ensemble."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from rompy_hydra import MapPostprocessor, ModelRun, SummaryPostprocessor, TemplateModel
from rompy_hydra.errors import PostprocessError
from rompy_hydra.postprocess.netcdf import Statistic
from rompy_hydra.postprocess.netcdf.field import Field
from rompy_hydra.postprocess.netcdf.mapping import mappable_variables
from rompy_hydra.postprocess.netcdf.parts import NO_DATE, group_parts, load_output, part_of, period_text
from rompy_hydra.reading.netcdf import open_groups
from tests.postprocess.outputs import mesh, schism, swan


def draw(run: ModelRun, **settings: object) -> list[dict[str, object]]:
    results = MapPostprocessor(dpi=50).process(run, **settings)
    assert results["success"] is True, results
    maps = results["maps"]
    assert isinstance(maps, list)
    assert results["plots"] == [each["plot"] for each in maps]
    return maps


def drawn_files(run: ModelRun, **settings: object) -> dict[str, list[str]]:
    return {Path(str(each["plot"])).name: each["files"] for each in draw(run, **settings)}  # type: ignore[misc]


def joined_field(run: ModelRun, variable: str, statistic: Statistic = "max") -> Field:
    parts = []
    for path in sorted(run.workspace.path.glob("*.nc")):
        with open_groups(path) as groups:
            location = mappable_variables(groups[""])[variable]
            parts.append(part_of(path, path.name, "", groups[""], variable, location))
    (output,) = group_parts(parts)
    return load_output(output, statistic, 0.01)


def pixels(each: dict[str, object]) -> np.ndarray:
    return np.asarray(Image.open(str(each["plot"])).convert("RGB"))


@pytest.fixture
def months(model_run: ModelRun) -> ModelRun:
    for month in (1, 2, 10):  # as text, 10 comes before 2
        swan(model_run.workspace.path / f"out_{month}.nc", f"2020-{month:02d}-01", raised=month)
    return model_run


@pytest.mark.parametrize("statistic", ["max", "min", "mean", "first", "last"])
def test_months_are_joined_along_time(months: ModelRun, statistic: Statistic) -> None:
    files = [months.workspace.path / f"out_{month}.nc" for month in (1, 2, 10)]
    heights = np.concatenate([xr.load_dataset(file)["hs"].values for file in files])
    expected = {
        "max": heights.max(axis=0),
        "min": heights.min(axis=0),
        "mean": heights.mean(axis=0),
        "first": heights[0],
        "last": heights[-1],
    }[statistic]
    np.testing.assert_allclose(joined_field(months, "hs", statistic).values, expected)
    (only,) = draw(months, statistic=statistic)
    assert (only["files"], only["joined"]) == (["out_1.nc", "out_2.nc", "out_10.nc"], "time")


def test_the_result_and_the_picture_say_which_files_were_joined(months: ModelRun) -> None:
    results = MapPostprocessor(dpi=50).process(months)
    assert results["message"] == (
        "map-hs.png: out_1.nc and 2 more, joined in time: maximum hs over 18 time steps"
    )
    image = Image.open(months.workspace.path / "map-hs.png")
    assert image.text["Source"] == "out_1.nc, out_2.nc, out_10.nc"  # type: ignore[attr-defined]


def test_a_time_step_that_two_files_share_counts_once_in_a_mean(model_run: ModelRun) -> None:
    one = swan(model_run.workspace.path / "a.nc", "2020-01-01", hours=4)
    two = swan(model_run.workspace.path / "b.nc", "2020-01-01 03:00", hours=2)
    expected = np.concatenate([one["hs"].values, two["hs"].values[1:]]).mean(axis=0)
    np.testing.assert_allclose(joined_field(model_run, "hs", "mean").values, expected)


def test_the_mean_direction_of_several_months_is_circular(months: ModelRun) -> None:
    values = joined_field(months, "theta0", "mean").values
    assert np.nanmin(np.abs(values - 180.0)) > 100.0  # everywhere near north
    assert {Path(p).name for p in map(str, [each["plot"] for each in draw(months, variable="theta0")])} == {
        "map-theta0-mean.png"
    }


@pytest.mark.parametrize("halo", [0, 2])
def test_tiles_of_a_regular_grid_are_joined_in_space(model_run: ModelRun, halo: int) -> None:
    whole = swan(model_run.workspace.path.parent / "whole.nc")
    for rank in range(3):
        columns = slice(rank * 34, (rank + 1) * 34 + halo)
        swan(model_run.workspace.path / f"out_{rank:04d}.nc", columns=columns)
    field = joined_field(model_run, "hs")
    np.testing.assert_allclose(field.values, whole["hs"].max("time").values)
    np.testing.assert_allclose(field.x, whole["longitude"].values)
    (only,) = draw(model_run)
    assert (len(only["files"]), only["joined"]) == (3, "space")  # type: ignore[arg-type]


def test_tiles_of_a_curvilinear_grid_are_joined_in_space(model_run: ModelRun) -> None:
    x, y = np.meshgrid(np.arange(30.0), np.arange(20.0))
    x, y = 1000.0 * (x + 0.15 * y), 1000.0 * (y + 0.1 * np.sin(x / 5.0))
    for rank, columns in enumerate((slice(0, 15), slice(15, 30))):
        data = xr.Dataset(
            {"zs": (("eta", "xi"), (x + y)[:, columns])},
            coords={
                "x": (("eta", "xi"), x[:, columns], {"units": "m"}),
                "y": (("eta", "xi"), y[:, columns], {"units": "m"}),
            },
        )
        data.to_netcdf(model_run.workspace.path / f"his_{rank}.nc")
    field = joined_field(model_run, "zs")
    assert field.triangles is not None
    assert len(field.triangles) == 2 * 30 * 20
    assert len(field.x) == 31 * 21  # the corners between the tiles are common
    draw(model_run)


@pytest.fixture
def ranks() -> np.ndarray:
    """The process of each element of the mesh, with winding borders."""
    x, y, triangles = mesh()
    east, north = x[triangles].mean(axis=1), y[triangles].mean(axis=1)
    return np.digitize(east + 0.3 * np.sin(9.0 * north), [150.6, 151.3])


def test_the_elements_of_all_processes_are_one_mesh(model_run: ModelRun, ranks: np.ndarray) -> None:
    whole = schism(model_run.workspace.path.parent / "whole.nc")
    for rank in range(3):
        schism(model_run.workspace.path / f"schout_{rank:04d}_1.nc", faces=ranks == rank)
    field = joined_field(model_run, "elevation")
    assert field.triangles is not None
    assert len(field.triangles) == whole.sizes["nSCHISM_hgrid_face"]
    assert len(field.x) == whole.sizes["nSCHISM_hgrid_node"]
    assert np.nanmax(field.values) == pytest.approx(float(whole["elevation"].max()))
    assert len(draw(model_run)) == 1


def test_ghost_elements_that_two_processes_store_are_drawn_once(
    model_run: ModelRun, ranks: np.ndarray
) -> None:
    whole = schism(model_run.workspace.path.parent / "whole.nc")
    ghosts = np.zeros(len(ranks), dtype=bool)
    ghosts[np.flatnonzero(ranks == 1)[:40]] = True
    for rank in range(3):
        schism(model_run.workspace.path / f"s_{rank}.nc", faces=(ranks == rank) | (ghosts & (rank == 0)))
    field = joined_field(model_run, "elevation")
    assert field.triangles is not None
    assert len(field.triangles) == whole.sizes["nSCHISM_hgrid_face"]


def test_months_of_several_processes_are_joined_in_time_and_space(
    model_run: ModelRun, ranks: np.ndarray
) -> None:
    for rank in range(3):
        for day in (1, 2):
            name = f"schout_{rank:04d}_{day}.nc"
            schism(model_run.workspace.path / name, f"2020-01-0{day}", 24, faces=ranks == rank)
    (only,) = draw(model_run)
    assert (len(only["files"]), only["joined"]) == (6, "time and space")  # type: ignore[arg-type]


def test_a_nested_grid_gets_a_map_of_its_own(model_run: ModelRun) -> None:
    swan(model_run.workspace.path / "coarse.nc", step=0.05)
    swan(model_run.workspace.path / "fine.nc", columns=slice(40, 60))
    assert drawn_files(model_run) == {"map-hs.png": ["coarse.nc"], "map-hs-fine.png": ["fine.nc"]}
    assert drawn_files(model_run, file="fine.nc") == {"map-hs.png": ["fine.nc"]}


def test_members_of_an_ensemble_are_drawn_with_equal_axes_and_colours(model_run: ModelRun) -> None:
    for member in range(3):
        swan(model_run.workspace.path / f"member{member}.nc", raised=float(member))
    maps = draw(model_run)
    assert [each["joined"] for each in maps] == ["", "", ""]
    first, second, _ = map(pixels, maps)
    assert first.shape == second.shape
    changed = (first != second).any(axis=-1)
    # The axes, their labels and the colour bar are the same; the map and the name of the file are not.
    height, width = changed.shape
    assert not changed[:, int(0.9 * width) :].any()
    assert not changed[int(0.93 * height) :].any()
    assert changed[int(0.3 * height) : int(0.8 * height), int(0.2 * width) : int(0.7 * width)].mean() > 0.4


def test_an_unreadable_file_beside_the_outputs_is_named(model_run: ModelRun) -> None:
    swan(model_run.workspace.path / "a.nc")
    (model_run.workspace.path / "b.nc").write_bytes(b"not netCDF")
    results = MapPostprocessor(dpi=50).process(model_run)
    assert results["success"] is True
    assert str(results["message"]).endswith("not drawn, unreadable: b.nc")


def test_a_file_without_values_is_named(model_run: ModelRun) -> None:
    swan(model_run.workspace.path / "a.nc", step=0.05)
    data = swan(model_run.workspace.path / "b.nc")
    (data * np.nan).to_netcdf(model_run.workspace.path / "b.nc")
    results = MapPostprocessor(dpi=50).process(model_run)
    assert str(results["message"]).endswith("not drawn, without values: b.nc")


def test_a_variable_in_layers_of_a_mesh_is_no_picture(model_run: ModelRun) -> None:
    schism(model_run.workspace.path / "schout_1.nc", layers=5)
    with pytest.raises(
        PostprocessError, match=r"processor\.layer, 0 to 4 along nSCHISM_vgrid_layers, or -1"
    ):
        draw(model_run, variable="salinity")
    assert drawn_files(model_run) == {"map-elevation.png": ["schout_1.nc"]}


@pytest.mark.parametrize(("layer", "expected"), [(0, 30.0), (3, 33.0), (-1, 34.0)])
def test_one_layer_is_drawn(model_run: ModelRun, layer: int, expected: float) -> None:
    schism(model_run.workspace.path / "schout_1.nc", layers=5)
    with open_groups(model_run.workspace.path / "schout_1.nc") as groups:
        from rompy_hydra.postprocess.netcdf.mapping import at_layer, load_field, locate

        dataset = at_layer(groups[""], layer)
        location = locate(dataset, "salinity")
        assert location is not None
        np.testing.assert_equal(
            np.unique(load_field(dataset, "salinity", location, "max", None).values), expected
        )
    assert drawn_files(model_run, variable="salinity", layer=layer) == {"map-salinity.png": ["schout_1.nc"]}


def test_a_layer_that_does_not_exist_is_an_error_with_the_choices(model_run: ModelRun) -> None:
    schism(model_run.workspace.path / "schout_1.nc", layers=5)
    with pytest.raises(PostprocessError, match=r"nSCHISM_vgrid_layers has 5 layers, 0 to 4"):
        draw(model_run, variable="salinity", layer=5)


def test_a_spectrum_is_no_picture(model_run: ModelRun) -> None:
    data = xr.Dataset({"efth": (("time", "frequency", "direction"), np.ones((2, 5, 6)))})
    data.to_netcdf(model_run.workspace.path / "spec.nc")
    with pytest.raises(PostprocessError, match="nothing to map"):
        draw(model_run)


def summarise(run: ModelRun, **settings: object) -> dict[str, object]:
    results = SummaryPostprocessor().process(run, **settings)
    assert results["success"] is True
    return results


def test_the_summary_of_months_has_the_statistics_of_all_together(months: ModelRun) -> None:
    results = summarise(months)
    found = results["metrics"]
    assert isinstance(found, dict)
    files = [months.workspace.path / f"out_{month}.nc" for month in (1, 2, 10)]
    heights = np.concatenate([xr.load_dataset(file)["hs"].values for file in files])
    assert found["out.hs.max"] == pytest.approx(np.nanmax(heights))
    assert found["out.hs.mean"] == pytest.approx(np.nanmean(heights))
    assert found["out_1.hs.max"] < found["out_10.hs.max"] == found["out.hs.max"]
    assert min(found["out.theta0.mean"], 360.0 - found["out.theta0.mean"]) < 45.0
    assert str(results["message"]).endswith("; out: out_1.nc and 2 more, joined in time")


def test_the_summary_of_all_processes_has_the_statistics_of_the_whole_mesh(
    model_run: ModelRun, ranks: np.ndarray
) -> None:
    whole = schism(model_run.workspace.path.parent / "whole.nc")
    for rank in range(3):
        schism(model_run.workspace.path / f"schout_{rank:04d}_1.nc", faces=ranks == rank)
    found = summarise(model_run, variables=["elevation"], statistics=["min", "max"])["metrics"]
    assert isinstance(found, dict)
    expected = {"min": float(whole["elevation"].min()), "max": float(whole["elevation"].max())}
    assert {key: found[f"schout.elevation.{key}"] for key in ("min", "max")} == pytest.approx(expected)


def test_the_summary_does_not_join_a_nested_grid(model_run: ModelRun) -> None:
    swan(model_run.workspace.path / "waves_1.nc", step=0.05)
    swan(model_run.workspace.path / "waves_2.nc", columns=slice(40, 60))
    found = summarise(model_run, variables=["hs"], statistics=["max"])["metrics"]
    assert sorted(found) == ["waves_1.hs.max", "waves_2.hs.max"]  # type: ignore[call-overload]


def test_the_summary_joins_the_files_of_stations_along_time(model_run: ModelRun) -> None:
    for day in (1, 2):
        times = np.arange(24) + 24 * (day - 1)
        hours = ("time", times, {"units": "hours since 2020-01-01"})
        data = xr.Dataset(
            {"hs": (("time", "station"), np.full((24, 3), float(day)))}, coords={"time": hours}
        )
        data.to_netcdf(model_run.workspace.path / f"buoys.{day}.nc")
    found = summarise(model_run, statistics=["mean"])["metrics"]
    assert found == {"buoys.hs.mean": 1.5, "buoys.1.hs.mean": 1.0, "buoys.2.hs.mean": 2.0}


@pytest.mark.parametrize(
    ("first", "last", "calendar", "expected"),
    [
        (0.0, 3600.0, "standard", "1970-01-01 00:00 to 01:00"),
        (0.0, 86400.0, "standard", "1970-01-01 00:00 to 1970-01-02 00:00"),
        (30.0, 30.0, "standard", "1970-01-01 00:00:30"),
        (0.0, 86400.0 * 59, "360_day", "1970-01-01 00:00 to 1970-02-30 00:00"),
        (0.0, 10800.0, NO_DATE, "0 to 3 h"),
        (60.0, 90.0, NO_DATE, "1 to 1.5 min"),
    ],
)
def test_periods_are_written_in_plain_units(
    first: float, last: float, calendar: str, expected: str
) -> None:
    assert period_text(first, last, calendar) == expected


def test_the_record_says_which_files_a_map_shows(tmp_path: Path) -> None:
    for month in (1, 2):
        swan(tmp_path / "source" / f"out_{month}.nc", f"2020-{month:02d}-01")
    (tmp_path / "template").mkdir()
    model = TemplateModel(
        template=str(tmp_path / "template"), commands=[f"cp '{tmp_path}'/source/out_*.nc ."]
    )
    run = ModelRun(run_id="run", output_dir=tmp_path / "runs", config=model)
    assert run.pipeline(processor=["summary", "map"])["success"]
    record = json.loads((run.workspace.path / "run.json").read_text())
    assert record["messages"][1] == {
        "processor": "map",
        "message": "map-hs.png: out_1.nc and 1 more, joined in time: maximum hs over 12 time steps",
    }
