"""A model's netCDF file never leads the driver to other files, nor round in circles."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int64, c_uint64
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from rompy_hydra.errors import PostprocessError
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.reading.netcdf import open_groups, read
from rompy_hydra.workspace import Workspace

SECRET = b"\x2a\x2b\x2c"


class Hdf5:
    """An HDF5 file that is written with what netCDF cannot express."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(netCDF4._netCDF4.__file__)
        self._call("H5open")
        self._file = self._call("H5Fcreate", os.fsencode(path), 2, 0, 0)

    def _call(self, name: str, *arguments: object) -> int:
        function = getattr(self._library, name)
        function.restype = c_int64
        types = {int: c_int64, bytes: c_char_p}
        result = function(*(types.get(type(each), lambda same: same)(each) for each in arguments))
        assert ctypes.c_int32(result).value >= 0, name
        return result

    def _known(self, name: str) -> int:
        return c_int64.in_dll(self._library, name).value

    def dataset(self, name: str, size: int = 3, external: Path | None = None, virtual: Path | None = None):
        shape = (c_uint64 * 1)(size)
        space = self._call("H5Screate_simple", 1, shape, None)
        settings = self._call("H5Pcreate", self._known("H5P_CLS_DATASET_CREATE_ID_g"))
        if external:
            self._call("H5Pset_external", settings, os.fsencode(external), 0, size)
        if virtual:
            self._call("H5Pset_virtual", settings, space, os.fsencode(virtual), b"v", space)
        kind = self._known("H5T_STD_U8LE_g")
        self._call("H5Dcreate2", self._file, name.encode(), kind, space, 0, settings, 0)

    def group(self, name: str) -> None:
        self._call("H5Gcreate2", self._file, name.encode(), 0, 0, 0)

    def external_link(self, name: str, target: Path) -> None:
        self._call("H5Lcreate_external", os.fsencode(target), b"v", self._file, name.encode(), 0, 0)

    def hard_link(self, target: str, name: str) -> None:
        self._call("H5Lcreate_hard", self._file, target.encode(), self._file, name.encode(), 0, 0)

    def soft_link(self, target: str, name: str) -> None:
        self._call("H5Lcreate_soft", target.encode(), self._file, name.encode(), 0, 0)

    def close(self) -> None:
        self._call("H5Fflush", self._file, 1)
        # With everything that is still open in it.
        self._call("H5Fclose", self._file)


def of_external_storage(file: Hdf5, outside: Path) -> None:
    file.dataset("v", external=outside)


def of_external_storage_in_a_group(file: Hdf5, outside: Path) -> None:
    file.group("a")
    file.group("a/b")
    file.dataset("a/b/v", external=outside)


def of_virtual_data(file: Hdf5, outside: Path) -> None:
    file.dataset("v", virtual=outside)


def of_a_link(file: Hdf5, outside: Path) -> None:
    file.external_link("v", outside)


def of_a_link_through_another(file: Hdf5, outside: Path) -> None:
    file.soft_link("/w", "v")
    file.external_link("w", outside)


WAYS_OUT = [of_external_storage, of_external_storage_in_a_group, of_virtual_data, of_a_link]
WAYS_OUT += [of_a_link_through_another]


def in_a_circle(file: Hdf5) -> None:
    file.group("g")
    file.hard_link("/", "g/loop")


def in_a_circle_of_soft_links(file: Hdf5) -> None:
    file.group("g")
    file.soft_link("/g", "g/loop")


def too_deep(file: Hdf5) -> None:
    for depth in range(1, 3000):
        file.group("/d" * depth)


def write(path: Path, fill, *arguments: object) -> None:
    file = Hdf5(path)
    fill(file, *arguments)
    file.close()


@pytest.fixture(params=["file", "pipe"])
def outside(request, tmp_path):
    """What the model must not make the driver open: a file of somebody else, or a pipe, which hangs."""
    path = tmp_path / "outside"
    if request.param == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(SECRET)
    return path


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path / "run")
    workspace.create()
    return workspace


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_variable_that_is_kept_in_another_file_is_not_read(workspace, outside, way):
    path = workspace.path / "out.nc"
    write(path, way, outside)
    refusal = pytest.raises(PostprocessError, match=r"out\.nc (keeps|has) '.*v|w'.*which is not followed")
    with refusal, open_groups(path):
        pass


@pytest.mark.parametrize("circle", [in_a_circle, in_a_circle_of_soft_links, too_deep])
def test_groups_that_never_end_are_refused(workspace, circle):
    path = workspace.path / "out.nc"
    write(path, circle)
    with pytest.raises(PostprocessError, match=r"inside of itself|levels deep"), open_groups(path):
        pass


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_success_check_does_not_follow_what_leads_elsewhere(workspace, outside, way):
    write(workspace.path / "out.nc", way, outside)
    name = "a.b.v" if way is of_external_storage_in_a_group else "v"
    checks = SuccessChecks.model_validate({"range": [{"file": "out.nc", "variable": name, "max": 1}]})
    [check] = checks.judge(workspace)
    assert not check.ok
    assert "which is not followed" in check.message
    assert "42" not in check.message


@pytest.mark.parametrize("content", [b"\x0e\x03\x13\x01" + b"\0" * 600, b"", b"PK\3\4 a zip file"])
def test_formats_in_which_nobody_has_looked_for_other_files_are_not_read(workspace, content):
    path = workspace.path / "out.nc"
    path.write_bytes(content)
    with pytest.raises(PostprocessError, match="neither netCDF-3 nor HDF5"), open_groups(path):
        pass


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_ordinary_files_with_links_between_their_variables_are_read(workspace, kind):
    path = workspace.path / "out.nc"
    with netCDF4.Dataset(path, "w", format=kind) as dataset:
        dataset.createDimension("x", 3)
        dataset.createVariable("x", "f8", ("x",))[:] = [1, 2, 3]
        dataset.createVariable("v", "f4", ("x",), zlib=kind.startswith("NETCDF4"))[:] = [4, 5, 6]
        if kind == "NETCDF4":
            dataset.createVariable("/deep/er/v", "f4", ("x",))[:] = 7
    with open_groups(path) as groups:
        np.testing.assert_equal(read(groups[""].variables["v"]), [4, 5, 6])


def test_variables_of_two_names_in_one_file_are_read(workspace):
    def fill(file):
        file.dataset("v")
        file.hard_link("v", "again")
        file.soft_link("/v", "soft")

    path = workspace.path / "out.nc"
    write(path, fill)
    with open_groups(path) as groups:
        assert {"v", "again", "soft"} <= set(groups[""].variables)


@pytest.mark.parametrize("processor", ["summary", "map"])
def test_no_reader_of_a_run_opens_what_the_outputs_lead_to(start_driver, tmp_path, outside, processor):
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "INPUT").write_text("an input\n")
    made = tmp_path / "made.nc"
    write(made, of_external_storage, outside)
    driver = start_driver(
        f"""
model = TemplateModel(template={str(tmp_path / "template")!r}, commands=['cp {made} out.nc'])
run = ModelRun(run_id="r", output_dir={str(tmp_path / "runs")!r}, config=model)
say(run.pipeline(processor={processor!r})["message"])
"""
    )
    assert driver.wait() == 0, driver.output
    assert "out.nc keeps 'v' in" in driver.output
