"""This package's plugins with rompy's `ModelRun`."""

from __future__ import annotations

import pytest
from rompy.core.config import BaseConfig as RompyBaseConfig
from rompy.model import ModelRun as RompyModelRun

from rompy_hydra import (
    LocalConfig,
    LocalPipelineBackend,
    LocalRunBackend,
    NoopPostprocessor,
    SummaryPostprocessor,
)
from rompy_hydra.adapters.rompy import as_rompy
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord

WRITES = "printf 'x,y\\n1,2\\n3,5\\n' > out.csv"


@pytest.fixture
def run(tmp_path):
    return RompyModelRun(run_id="theirs", output_dir=tmp_path, config=RompyBaseConfig())


def test_a_backend_runs_a_run_of_rompy(run, tmp_path):
    assert LocalRunBackend().run(run, LocalConfig(command=WRITES)) is True
    assert (tmp_path / "theirs" / "out.csv").exists()
    assert LocalRunBackend(command="exit 3").run(run, workspace_dir=run.generate()) is False
    assert LocalRunBackend().run(run) is False  # nothing to execute


def test_a_run_of_rompy_accepts_an_adapted_backend(run, tmp_path):
    assert run.run(as_rompy(LocalConfig(command=WRITES))) is True
    assert run.run(as_rompy(LocalRunBackend(command="exit 3"))) is False
    assert (tmp_path / "theirs" / "out.csv").exists()


def test_postprocessors_process_the_outputs_of_a_run_of_rompy(run):
    run.run(as_rompy(LocalConfig(command=WRITES)))
    assert NoopPostprocessor().process(run)["success"] is True
    assert SummaryPostprocessor().process(run)["metrics"]["out.y.max"] == 5
    assert run.postprocess(as_rompy(SummaryPostprocessor()))["metrics"]["out.y.max"] == 5


def test_the_pipeline_of_rompy_accepts_adapted_plugins(run):
    results = run.pipeline(
        "local",
        backend_config=as_rompy(LocalConfig(command=WRITES)),
        processor=as_rompy(SummaryPostprocessor()),
    )
    assert results["success"] is True
    assert (results["backend"], results["processor"]) == ("local", "summary")
    assert results["postprocess_results"]["metrics"]["out.x.min"] == 1


@pytest.mark.parametrize("subdirectory", [True, False])
def test_the_pipeline_executes_a_run_of_rompy_in_the_directory_of_that_run(tmp_path, subdirectory):
    output_dir = tmp_path / "runs" if subdirectory else tmp_path / "runs" / "mine"
    run = RompyModelRun(
        run_id="theirs", output_dir=output_dir, config=RompyBaseConfig(), run_id_subdir=subdirectory,
        period={"start": "2023-01-01", "end": "2023-01-03", "interval": "2h"},
    )  # fmt: skip
    results = LocalPipelineBackend().execute(
        run, run_backend=LocalConfig(command=WRITES), processor="summary"
    )
    assert results["success"] is True, results
    workspace = Workspace(output_dir / "theirs" if subdirectory else output_dir)
    assert "compute_stop: 20230103.000000" in (workspace.path / "INPUT").read_text()
    assert "compute_interval: 2.0 HR" in (workspace.path / "INPUT").read_text()
    assert RunRecord.load(workspace).metrics["out.y.max"] == 5


def test_a_directory_with_another_run_is_rejected_unless_delete_existing_is_set(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "run.log").write_text("of another\n")
    for given_up in (False, True):
        run = RompyModelRun(
            run_id="theirs", output_dir=tmp_path, config=RompyBaseConfig(), delete_existing=given_up
        )
        results = LocalPipelineBackend().execute(run, run_backend=LocalConfig(command=WRITES))
        assert results["success"] is given_up, results
    assert (tmp_path / "theirs.old-1" / "run.log").read_text() == "of another\n"
