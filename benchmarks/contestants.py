"""The ways of running the same model many times that `sweep.py` compares, each in its own environment."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-bench"

_HYDRA_APP = """
import subprocess
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config):
    directory = Path(HydraConfig.get().runtime.output_dir)
    (directory / "in.txt").write_text(f"x={config.x}\\n")
    subprocess.run(["sh", "-c", config.command], cwd=directory, check=True)

if __name__ == "__main__":
    main()
"""

_ROMPY_LOOP = """
import sys
from rompy.backends import LocalConfig
from rompy.model import ModelRun

count, command = int(sys.argv[1]), sys.argv[2]
for number in range(count):
    run = ModelRun(run_id=f"x={number}", output_dir="runs")
    if not run.run(LocalConfig(command=command)):
        sys.exit(1)
"""


@dataclass(frozen=True)
class Contestant:
    """One way: what it needs, and its command for `count` runs of a shell line with two at once."""

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, str], None]
    command: Callable[[Path, int, str], list[str]]
    # Slow ones are given fewer runs of the trivial model; the table tells the time of one.
    trivial_runs: int = 1000
    one_second_runs: int = 20
    own: bool = False

    @functools.cached_property
    def python(self) -> Path:
        """The interpreter of its environment, made on first use."""
        if not self.packages and not self.own:
            return Path(sys.executable)
        directory = ENVIRONMENTS / self.name.replace(" ", "-").replace("/", "-")
        python = directory / "bin" / "python"
        marker = directory / ".installed"
        wanted = [str(ROOT)] if self.own else list(self.packages)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        if not marker.exists():
            subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
            subprocess.run([*install, *wanted], check=True)
            marker.touch()
        elif self.own:  # as it is now, and not as it was the last time
            subprocess.run([*install, "--force-reinstall", "--no-deps", *wanted], check=True)
        return python


def _template(directory: Path, _command: str) -> None:
    (directory / "tpl").mkdir()
    (directory / "tpl" / "in.txt").write_text("x={{ model.x }}\n")


def _rompy_hydra(python: Path, count: int, command: str) -> list[str]:
    return [
        *(str(python), "-m", "rompy_hydra", "-m", "model=template", "model.template=tpl"),
        f"model.commands=['{command}']",
        *("processor=noop", "sweep.name=bench", f"sweep.max_points={max(count, 1)}"),
        f"+model.parameters.x=range(0,{count})",
        "hydra.launcher.workers=2",
    ]


def _hydra_app(directory: Path, command: str) -> None:
    conf = directory / "conf"
    shutil.copytree(ROOT / "conf", conf, ignore=shutil.ignore_patterns("hydra", "experiment"))
    groups = ("model: beach", "period: three_days", "run_backend: local", "processor: noop")
    groups += ("pipeline: local", "site: workstation")
    lines = ["defaults:", "  - _self_", *(f"  - {group}" for group in groups)]
    (conf / "config.yaml").write_text("\n".join([*lines, "x: 0", f"command: '{command}'"]) + "\n")
    (directory / "app.py").write_text(_HYDRA_APP)


def _hydra(launcher: str) -> Callable[[Path, int, str], list[str]]:
    def command(python: Path, count: int, _command: str) -> list[str]:
        jobs = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
        return [str(python), "app.py", "-m", f"hydra/launcher={launcher}", f"x=range(0,{count})", *jobs]

    return command


def _snakefile(directory: Path, command: str) -> None:
    rule = 'rule run:\n    output: "runs/{x}/done"\n    shell: "echo x={wildcards.x} > '
    rule += f'runs/{{wildcards.x}}/in.txt; {command}; touch {{output}}"\n'
    everything = 'rule all:\n    input: expand("runs/{x}/done", x=range(int(config["count"])))\n\n'
    (directory / "Snakefile").write_text(everything + rule)


def _snakemake(python: Path, count: int, _command: str) -> list[str]:
    program = str(python.parent / "snakemake")
    return [program, "--cores", "2", "--quiet", "all", "--config", f"count={count}"]


def _rompy(directory: Path, _command: str) -> None:
    (directory / "loop.py").write_text(_ROMPY_LOOP)


def _xargs(_python: Path, count: int, command: str) -> list[str]:
    line = f'mkdir -p runs/$1 && cd runs/$1 && echo x=$1 >in.txt && sh -c "{command}"'
    return ["sh", "-c", f"seq {count} | xargs -P2 -I{{}} sh -c '{line}' run {{}}"]


def _nothing(_directory: Path, _command: str) -> None:
    return None


CONTESTANTS = (
    Contestant("rompy_hydra", (), _template, _rompy_hydra, one_second_runs=120, own=True),
    Contestant("xargs -P2", (), _nothing, _xargs, one_second_runs=120),
    Contestant("snakemake", ("snakemake",), _snakefile, _snakemake, trivial_runs=200),
    Contestant(
        "rompy loop", ("rompy==0.6.4",), _rompy, lambda p, n, c: [str(p), "loop.py", str(n), c], 100
    ),
    Contestant("hydra basic", ("hydra-core==1.3.8",), _hydra_app, _hydra("basic"), trivial_runs=100),
    Contestant(
        "hydra joblib",
        ("hydra-core==1.3.8", "hydra-joblib-launcher"),
        _hydra_app,
        _hydra("joblib"),
        trivial_runs=100,
    ),
)


def environment() -> dict[str, str]:
    """One thread a model, and programs that start compiled, whatever this one's environment says."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
