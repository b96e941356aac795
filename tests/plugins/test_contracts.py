"""The contract tests for plugin authors, applied to the built-in plugins and the reference's examples."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rompy_hydra import (
    Beach,
    LocalPipelineBackend,
    LocalRunBackend,
    NoopPostprocessor,
    SummaryPostprocessor,
    TemplateModel,
)
from rompy_hydra.testing import ModelContract, PipelineContract, PostprocessorContract, RunBackendContract


class TestTheLocalBackendKeepsTheContract(RunBackendContract):
    plugin = LocalRunBackend
    name = "local"


class TestTheNoopPostprocessorKeepsTheContract(PostprocessorContract):
    plugin = NoopPostprocessor
    name = "noop"


class TestTheSummaryKeepsTheContract(PostprocessorContract):
    plugin = SummaryPostprocessor
    name = "summary"


class TestTheLocalPipelineKeepsTheContract(PipelineContract):
    plugin = LocalPipelineBackend
    name = "local"


class TestTheBeachKeepsTheContract(ModelContract):
    plugin = Beach
    name = "beach"


class TestATemplateKeepsTheContract(ModelContract):
    plugin = TemplateModel
    name = "template"

    @pytest.fixture(autouse=True)
    def template(self, tmp_path_factory, monkeypatch):
        directory = tmp_path_factory.mktemp("template")
        (directory / "input.txt").write_text("depth {{ model.depth }}\n")
        settings = {"template": str(directory), "parameters": {"depth": 3}, "commands": ["cat input.txt"]}
        monkeypatch.setattr(type(self), "settings", settings)


# The examples of the reference, completed with the parts that it omits.


class CustomRunBackend:
    def run(self, model_run, **kwargs):
        try:
            model_run.generate()
            return self._execute_custom_logic(model_run, **kwargs)
        except Exception:  # noqa: BLE001 - as the reference has it
            return False

    def _execute_custom_logic(self, model_run, queue="short"):
        workspace = Path(model_run.output_dir) / model_run.run_id
        return subprocess.run(["sh", str(workspace / "run.sh")]).returncode == 0


class AnalysisPostprocessor:
    def process(self, model_run, **kwargs):
        try:
            output_dir = Path(model_run.output_dir) / model_run.run_id
            metrics = {"lines": len((output_dir / "out.csv").read_text().splitlines())}
            return {
                "success": True,
                "metrics": metrics,
                "plots": [],
                "message": "Analysis completed successfully",
            }
        except Exception as e:  # noqa: BLE001
            return {"success": False, "error": str(e), "message": f"Analysis failed: {e}"}


class CloudPipelineBackend:
    def execute(self, model_run, **kwargs):
        results = {"success": False, "run_id": model_run.run_id, "stages_completed": []}
        try:
            model_run.generate()
            results["stages_completed"].append("generate")
            job_id = self._submit_cloud_job(model_run, **kwargs)
            results["job_id"] = job_id
            results["stages_completed"].append("submit")
            results["stages_completed"].append("execute")
            results["outputs"] = model_run.postprocess("noop")
            results["stages_completed"].append("postprocess")
            results["success"] = True
            return results
        except Exception as e:  # noqa: BLE001
            results["error"] = str(e)
            return results

    def _submit_cloud_job(self, model_run, **kwargs):
        if not model_run.run("local"):
            raise RuntimeError("the job failed")
        return "job-1"


class TestTheReferencesRunBackendKeepsTheContract(RunBackendContract):
    plugin = CustomRunBackend
    settings = {"queue": "long"}


class TestTheReferencesPostprocessorKeepsTheContract(PostprocessorContract):
    plugin = AnalysisPostprocessor
    settings = {"create_plots": True}


class TestTheReferencesPipelineKeepsTheContract(PipelineContract):
    plugin = CloudPipelineBackend
