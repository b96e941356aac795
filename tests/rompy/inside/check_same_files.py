"""The configurations of rompy's packages: rompy's `ModelRun` and that of this package write the same files."""

from __future__ import annotations

import re
import warnings

import pytest
from rompy.core.time import TimeRange as RompyTimeRange
from rompy.model import ModelRun as RompyModelRun

from rompy_hydra import ModelRun, TimeRange
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord
from tests.rompy.inside.configurations import CONFIGURATIONS

PERIOD = {"start": "2023-01-01", "duration": "1d", "interval": "1h"}
# The lines with the time of the generation, in the words of the templates.
WHEN = re.compile(rb"(?mi)^.*(?:generated|date:|created).*$")


def files_in(directory):
    workspace = Workspace(directory)
    names = [name for name in workspace.names() if not workspace.is_own(name)]
    return {name: WHEN.sub(b"", (directory / name).read_bytes()) for name in names}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_this_package_and_rompy_generate_the_same_files(name, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # what rompy's packages warn about is theirs
        data = CONFIGURATIONS[name](tmp_path)
        theirs = RompyModelRun(
            run_id="deep", output_dir=tmp_path / "theirs", period=RompyTimeRange(**PERIOD), config=data
        )
        theirs.generate()
        data = CONFIGURATIONS[name](tmp_path)
        ours = ModelRun(
            run_id="deep", output_dir=tmp_path / "ours", period=TimeRange(**PERIOD), config=data
        )
        assert type(ours.config) is type(theirs.config)
        ours.generate()
    expected = files_in(tmp_path / "theirs" / "deep")
    found = files_in(tmp_path / "ours" / "deep")
    assert expected
    assert found.keys() == expected.keys()
    assert [file for file in expected if found[file] != expected[file]] == []
    assert {fact.path for fact in RunRecord.load(ours.workspace).inputs} == found.keys()
