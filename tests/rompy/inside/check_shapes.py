"""Plugins written for rompy, in twelve shapes: each does the same with a run of rompy and with one of ours."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
from rompy.backends import LocalConfig as RompyLocalConfig
from rompy.backends.config import BaseBackendConfig
from rompy.core.config import BaseConfig
from rompy.model import ModelRun as RompyModelRun
from rompy.pipeline import LocalPipelineBackend as RompyPipeline
from rompy.postprocess.config import BasePostprocessorConfig, NoopPostprocessorConfig
from rompy.run import LocalRunBackend as RompyLocal

from rompy_hydra import ModelRun, SuccessChecks
from rompy_hydra.workspace.record import RunRecord

# --- run backends: a configuration names its class ------------------------------------------------


class Positional:
    def run(self, model_run, config, workspace_dir=None):
        directory = Path(workspace_dir or model_run.generate())
        (directory / "out.txt").write_text(f"{config.nodes} nodes for {model_run.run_id}")
        return True


class KeywordOnly:
    def run(self, model_run, *, config, workspace_dir=None):
        return Positional().run(model_run, config, workspace_dir)


class Everything:
    def run(self, *args, **kwargs):
        assert set(kwargs) == {"config", "workspace_dir"}
        return Positional().run(*args, **kwargs)


class OwnDirectory:
    """Asks the run for its directory."""

    def run(self, model_run, config, workspace_dir=None):
        model_run.generate()
        directory = Path(model_run.output_dir) / model_run.run_id
        assert directory.samefile(model_run.staging_dir)
        return Positional().run(model_run, config, directory)


class Derived(RompyLocal):
    """rompy's local backend with another command."""

    def run(self, model_run, config, workspace_dir=None):
        local = RompyLocalConfig(command=f"echo {config.nodes} nodes for {model_run.run_id} > out.txt")
        return super().run(model_run, local, workspace_dir)


class Process:
    """Constructed by a factory, with settings of its own; starts a process and answers with its result."""

    def __init__(self, shell):
        self.shell = shell

    def run(self, model_run, config, workspace_dir=None):
        directory = workspace_dir or model_run.generate()
        line = f"echo {config.nodes} nodes for {model_run.run_id} > out.txt"
        return subprocess.run([self.shell, "-c", line], cwd=directory).returncode == 0


def config_of(backend: Any) -> BaseBackendConfig:
    class Config(BaseBackendConfig):
        nodes: int = 1

        def get_backend_class(self):
            return backend

    return Config(nodes=4)


BACKENDS = {
    "positional arguments": Positional,
    "keywords only": KeywordOnly,
    "any arguments": Everything,
    "the directory of the run": OwnDirectory,
    "derived from rompy's": Derived,
    "a factory": functools.partial(Process, "sh"),
}

# --- postprocessors ------------------------------------------------------------------------------


class Sizes:
    def process(self, model_run, threshold: float = 0.0, **kwargs):
        directory = Path(model_run.output_dir) / model_run.run_id
        sizes = {path.name: path.stat().st_size for path in directory.glob("out.*")}
        hours = (model_run.period.end - model_run.period.start).total_seconds() / 3600
        return {"success": True, "message": f"{threshold}", "metrics": sizes, "hours": hours, **kwargs}


class WithConfig(Sizes):
    """Constructed without a configuration, as rompy constructs all of them."""

    def __init__(self, config: dict | None = None):
        assert config is None


class SizesConfig(BasePostprocessorConfig):
    type: Literal["sizes"] = "sizes"
    threshold: float = 0.5

    def get_postprocessor_class(self):
        return Sizes


class WithConfigConfig(SizesConfig):
    def get_postprocessor_class(self):
        return WithConfig


# --- pipelines -----------------------------------------------------------------------------------


class Cloud:
    """As in the reference."""

    def execute(self, model_run, **kwargs):
        results = {"success": False, "run_id": model_run.run_id, "stages_completed": []}
        model_run.generate()
        results["stages_completed"].append("generate")
        (Path(model_run.output_dir) / model_run.run_id / "out.txt").write_text("from afar")
        results["job_id"] = f"job-{kwargs.get('region')}"
        results["stages_completed"].append("execute")
        results["success"] = True
        return results


class Twice:
    """Runs the model with the configuration that it is given, and again if that fails."""

    def execute(self, model_run, backend_config, processor, attempts: int = 2):
        done = any(model_run.run(backend_config) for _ in range(attempts))
        results = model_run.postprocess(processor)
        return {
            "success": done and results["success"],
            "run_id": model_run.run_id,
            "stages_completed": ["generate", "run", "postprocess"],
            "validated": results["validated"],
        }


class Announcing(RompyPipeline):
    """rompy's own, with one more key."""

    def execute(self, model_run, **kwargs):
        return {**super().execute(model_run, **kwargs), "announced": True}


@pytest.fixture
def runs(tmp_path):
    """A run of rompy and one of this package, of the same name and with the same configuration."""
    both = {"run_id": "deep", "config": BaseConfig()}
    wanted = SuccessChecks(must_exist=("out.txt",))
    ours = ModelRun(**both, output_dir=tmp_path / "ours", success=wanted)
    return RompyModelRun(**both, output_dir=tmp_path / "theirs"), ours


def results_of(runs, call):
    """What a call returns for both, which must be the same apart from paths."""
    theirs, ours = (call(run) for run in runs)
    assert as_text(theirs, runs[0]) == as_text(ours, runs[1])
    return ours


def as_text(results, run):
    common = {key: value for key, value in results.items() if key != "run_backend"}
    return json.dumps(common, sort_keys=True).replace(str(run.output_dir), "DIRECTORY")


@pytest.mark.parametrize("shape", BACKENDS)
def test_a_run_backend_with_this_shape_runs_the_model(shape, runs):
    config = config_of(BACKENDS[shape])
    assert [run.run(config) for run in runs] == [True, True]
    texts = [(run.output_dir / "deep" / "out.txt").read_text().strip() for run in runs]
    assert texts == ["4 nodes for deep"] * 2
    assert RunRecord.load(runs[1].workspace).state == "completed"


@pytest.mark.parametrize("shape", [SizesConfig, WithConfigConfig])
def test_a_postprocessor_with_this_shape_gets_its_settings(shape, runs):
    for run in runs:
        run.run(config_of(Positional))
    results = results_of(runs, lambda run: run.postprocess(shape(threshold=0.25), region="south"))
    assert (results["message"], results["metrics"], results["hours"]) == ("0.25", {"out.txt": 16}, 72.0)
    assert results["region"] == "south"
    assert RunRecord.load(runs[1].workspace).metrics == {"out.txt": 16}


PIPELINES = {
    "reference": (Cloud, {"region": "north"}),
    "configurations": (Twice, {"backend_config": config_of(Positional), "processor": NoopPostprocessorConfig()}),
    "settings": (
        Twice,
        {
            "backend_config": RompyLocalConfig(command="echo done > out.txt"),
            "processor": NoopPostprocessorConfig(validate_outputs=False),
            "attempts": 1,
        },
    ),
    "derived from rompy's": (
        Announcing,
        {"backend_config": config_of(Derived), "processor": NoopPostprocessorConfig()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", PIPELINES)
def test_a_pipeline_with_this_shape_carries_out_the_run(shape, runs):
    kind, settings = PIPELINES[shape]
    theirs, ours = runs
    # rompy itself calls pipelines in this way, once it has found them by their entry points.
    expected = kind().execute(theirs, **settings)
    results = ours.pipeline(kind, **settings)
    assert expected["success"] is True
    assert as_text(results, ours) == as_text(expected, theirs)
    assert RunRecord.load(ours.workspace).state == "completed"
