"""A package in rompy's shape, installed beside the program, and rompy's kinds of configuration files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.plugins.packaging import CommandResult, Package, Program, install

LAKE = Package(
    "lake-model",
    {
        "lake_model.py": '''
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

if os.environ.get("TRACES"):
    Path(os.environ["TRACES"], __name__).touch()


class Lake(BaseModel):
    """A model configuration with `model_type`, `__call__` and `render`, as those of rompy."""

    model_config = ConfigDict(extra="forbid")

    model_type: Literal["lakeconfig", "LAKECONFIG"] = "lakeconfig"
    depth: float = 10.0
    name: str = "lake"
    levels: dict[int, float] = {}
    extra: Any = None

    def __call__(self, runtime):
        return self.model_dump_json()

    def render(self, context, output_dir):
        runtime = context["runtime"]
        start, end = runtime["period"]["start"], runtime["period"]["end"]
        text = f"{runtime['run_id']} {start} {end} {context['config']}"
        (Path(runtime["staging_dir"]) / "lake.txt").write_text(text + chr(10))
''',
        "lake_parts.py": """
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class LakeBackendConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    nodes: int = 1


class LakeBackend:
    def run(self, model_run, config: LakeBackendConfig, workspace_dir=None):
        (Path(workspace_dir or model_run.staging_dir) / "nodes.txt").write_text(str(config.nodes))
        return True
""",
    },
    {
        "rompy.config": {"lake": "lake_model:Lake"},
        "rompy.run": {"lakes": "lake_parts:LakeBackend"},
    },
)

MODEL = """\
model_type: lakeconfig   # the kind
# how deep it is
depth: 12.5
levels: {0: 1.5, 1: 2.5}
"""
RUN = """\
run_id: deep
output_dir: simulations
period:
  start: 20230101T00
  duration: 1d
  interval: 1H
config:
  model_type: lakeconfig   # the kind
  # how deep it is
  depth: 12.5
  levels: {0: 1.5, 1: 2.5}
"""
BACKEND = """\
type: local
timeout: 7200
command: "cp lake.txt result.txt"
shell: true
capture_output: true
env_vars:
  OMP_NUM_THREADS: "4"
"""
PIPELINE = """\
config: !include run.yml
backend: !include parts/backend.yml
postprocessor:
  type: noop
  validate_outputs: true
"""


@pytest.fixture(scope="session")
def lake_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip."""
    return install(tmp_path_factory.mktemp("lake"), LAKE)


class Files:
    """The program in a directory with rompy's files."""

    def __init__(self, site: Path, directory: Path) -> None:
        self.here = directory
        self._program = Program(site, directory)
        self.write("run.yml", RUN)
        self.write("model.yml", MODEL)
        self.write("parts/backend.yml", BACKEND)
        self.write("pipeline.yml", PIPELINE)

    def write(self, name: str, text: str) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """The output of a command, which must end with this exit code."""
        answer = self._program(*arguments, **variables)
        out = answer.stdout + answer.stderr
        assert answer.returncode == code, out
        return out

    def run_all(self, *commands: Sequence[str], **variables: str) -> list[CommandResult]:
        """Several commands in one process, which all succeed."""
        answers = self._program.run_all(*commands, **variables)
        for answer in answers:
            assert answer.returncode == 0, answer.stdout + answer.stderr
        return answers

    def snapshot(self) -> dict[str, bytes]:
        """Every file, with its content."""
        files = (path for path in self.here.rglob("*") if path.is_file())
        return {str(path.relative_to(self.here)): path.read_bytes() for path in files}


@pytest.fixture
def files(lake_site: Path, tmp_path: Path) -> Files:
    return Files(lake_site, tmp_path)


Write = Callable[[str, str], Path]
