"""The distributions that are installed for these tests: good, slow, broken and conflicting."""

from __future__ import annotations

from tests.plugins.packaging import Package

# Creates a file when it is imported, so that a test can detect the import.
TRACE = """
import os
from pathlib import Path
if os.environ.get("TRACES"):
    Path(os.environ["TRACES"], __name__).touch()
"""

GOOD = Package(
    "good-plugins",
    {
        "good_plugins/__init__.py": TRACE
        + '''
import dataclasses
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GoodConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodes: int = Field(default=2, ge=1, description="how many nodes")
    queue: Literal["short", "long"] = "short"
    tags: list[str] = []


class WithConfig:
    """Takes a config of its own class, as rompy's backends do, and no workspace_dir."""

    def run(self, model_run, config: GoodConfig):
        workspace = Path(model_run.output_dir) / model_run.run_id
        (workspace / "nodes.txt").write_text(f"{config.nodes} {config.queue}")
        return subprocess.run("sh run.sh > run.log 2>&1", shell=True, cwd=workspace).returncode == 0


class WithSettings:
    """Takes its settings as the reference shows it."""

    def run(self, model_run, nodes: int = 1, queue: str = "short"):
        workspace = Path(model_run.output_dir) / model_run.run_id
        (workspace / "nodes.txt").write_text(f"{nodes} {queue}")
        return subprocess.run("sh run.sh > run.log 2>&1", shell=True, cwd=workspace).returncode == 0


@dataclasses.dataclass
class Counter:
    """A dataclass with fields as settings."""

    pattern: str = "*.csv"
    ignore: list[str] = dataclasses.field(default_factory=list)

    def process(self, model_run):
        found = list((Path(model_run.output_dir) / model_run.run_id).glob(self.pattern))
        return {"success": True, "message": "counted", "metrics": {"files": len(found)}}


class Stepwise:
    """A pipeline in the shape of the reference."""

    def execute(self, model_run, run_backend="local", run_kwargs=None, pause: float = 0.0):
        done = []
        model_run.generate()
        done.append("generate")
        success = model_run.run(run_backend, **(run_kwargs or {}))
        if success:
            done.append("run")
        return {"success": success, "run_id": model_run.run_id, "stages_completed": done, "pause": pause}
''',
        "good_plugins/models.py": '''
from rompy_hydra import BaseConfig, SuccessChecks

class Drip(BaseConfig):
    """Drips."""

    drops: int = 3
    commands: tuple[str, ...] = ("echo drip > drip.csv",)
    success: SuccessChecks = SuccessChecks(must_exist=("drip.csv",))

def make(drops: int, commands: list[str] = ["true"]):
    return Drip(drops=drops, commands=commands)
''',
        "good_plugins/conf/__init__.py": "",
        "good_plugins/conf/experiment/dripping.yaml": """
            # @package _global_
            defaults:
              - override /model: slow_drip
              - override /processor: noop
            """,
        "good_plugins/conf/model/slow_drip.yaml": """
            # A model of the package: model=slow_drip
            _target_: good_plugins.models.Drip
            drops: 5
            """,
    },
    {
        "rompy.run": {
            "with_config": "good_plugins:WithConfig",
            "with_settings": "good_plugins:WithSettings",
        },
        "rompy.postprocess": {"counter": "good_plugins:Counter"},
        "rompy_hydra.pipeline": {"stepwise": "good_plugins:Stepwise"},
        "rompy_hydra.config": {"drip": "good_plugins.models:Drip"},
        "rompy_hydra.conf": {"good": "good_plugins.conf"},
    },
)

SLOW = Package(
    "slow-plugin",
    {
        "slow_plugin.py": TRACE
        + """
import time
time.sleep(2)
print("imported at last")

class SlowBackend:
    def run(self, model_run, patience: int = 1):
        return True
"""
    },
    {"rompy.run": {"slow": "slow_plugin:SlowBackend"}},
)

BROKEN = Package(
    "Broken.Plugin",
    {
        "broken_plugin.py": TRACE + "import there_is_no_such_module\n",
        "quitting_plugin.py": TRACE + "raise SystemExit('goodbye')\n",
        "misnamed_plugin.py": TRACE + "class Other: ...\n",
    },
    {
        "rompy.run": {"broken": "broken_plugin:Backend", "nothing": "misnamed_plugin:Other"},
        "rompy.postprocess": {"quitting": "quitting_plugin:Postprocessor"},
        "rompy.pipeline": {"misnamed": "misnamed_plugin:Pipeline"},
        "rompy_hydra.config": {"broken_model": "broken_plugin:Model"},
    },
    version="0.3",
)


# A pipeline that runs models elsewhere, in the shape of the reference.
CLOUD = Package(
    "cloud-pipeline",
    {
        "cloud_pipeline.py": TRACE
        + """
from pathlib import Path


class CloudPipelineBackend:
    def execute(self, model_run, **kwargs):
        with open("calls", "a") as calls:
            calls.write(model_run.run_id + " ")
        results = {"success": False, "run_id": model_run.run_id, "stages_completed": []}
        try:
            model_run.generate()
            results["stages_completed"].append("generate")
            job_id = self._submit_cloud_job(model_run, **kwargs)
            results["job_id"] = job_id
            results["stages_completed"].append("submit")
            self._download_results(model_run, job_id)
            results["stages_completed"].append("execute")
            if job_id == "job-vague":
                return "done"
            results["outputs"] = ["drip.csv"]
            results["stages_completed"].append("postprocess")
            results["success"] = True
            return results
        except Exception as e:
            results["error"] = str(e)
            return results

    def _submit_cloud_job(self, model_run, region="north", **kwargs):
        if region == "nowhere" and not Path("opened").exists():
            raise ValueError("no such region")
        if region == "odd" and model_run.config.drops % 2 == 0:
            raise ValueError("only odd numbers")
        if region == "interrupted":
            raise KeyboardInterrupt
        return f"job-{region}"

    def _download_results(self, model_run, job_id):
        if job_id != "job-forgetful":
            workspace = Path(model_run.output_dir) / model_run.run_id
            (workspace / "drip.csv").write_text(job_id)


class Raising:
    def execute(self, model_run):
        raise RuntimeError("the cloud is closed")
"""
    },
    {
        "rompy.pipeline": {
            "cloud": "cloud_pipeline:CloudPipelineBackend",
            "raising": "cloud_pipeline:Raising",
        }
    },
)


# Only the configuration of its postprocessor is registered, as rompy 0.6 reads it.
TRANSFER = Package(
    "transfer-plugin",
    {
        "transfer_plugin.py": TRACE
        + """
from pydantic import BaseModel, ConfigDict


class Transfer:
    def process(self, model_run, destination, keep=True):
        return {"success": True, "message": f"to {destination}, keep {keep}", "metrics": {"files": 1}}


class TransferConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: str = "ww3_transfer"
    timeout: int = 3600
    destination: str
    keep: bool = True

    def get_postprocessor_class(self):
        return Transfer
"""
    },
    {"rompy.postprocess.config": {"ww3_transfer": "transfer_plugin:TransferConfig"}},
)


def _twin(number: int) -> Package:
    source = f"""
class Twin:
    def run(self, model_run, workspace_dir):
        from pathlib import Path
        (Path(workspace_dir) / "profile.csv").write_text("a\\n1\\n")
        (Path(workspace_dir) / "run.log").write_text("beach completed by {number}\\n")
        return True
"""
    points = {"rompy.run": {"twin": f"twin_{number}:Twin"}}
    return Package(f"twin-{number}", {f"twin_{number}.py": TRACE + source}, points)


TWINS = (_twin(1), _twin(2))

# Registers itself under the names of this package's built-in plugins.
THIEF = Package(
    "thief",
    {
        "thief.py": TRACE
        + """
class Backend:
    def run(self, model_run, **kwargs):
        raise RuntimeError("the thief's backend")
"""
    },
    {"rompy.run": {"local": "thief:Backend"}, "rompy_hydra.postprocess": {"noop": "thief:Backend"}},
)

ALL = (GOOD, CLOUD, TRANSFER, SLOW, BROKEN, *TWINS, THIEF)
