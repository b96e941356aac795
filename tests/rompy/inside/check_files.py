"""rompy's YAML files, run by rompy itself and by `--rompy`: the generated files are identical."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.rompy.inside.configurations import GRID
from tests.rompy.inside.conftest import SWAN

# When a file was generated, in the words of the templates of SWAN, SCHISM and XBeach.
GENERATED = re.compile(rb"(?m)^.*(?:Generated|Date:|generated).*$")
# Written by this program beside the inputs.
OWN = {"run.json", "run.sh", "claims", ".hydra", "exit_code", "run.log"}
RUN = {
    "run_id": "deep",
    "output_dir": "out",
    "period": {"start": "20230101T00", "duration": "1d", "interval": "1h"},
}


def generated(directory: Path) -> dict[str, bytes]:
    """The files below a directory without the time of their generation, and without this program's own."""
    return {
        str(path.relative_to(directory)): GENERATED.sub(b"", path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file() and OWN.isdisjoint(path.relative_to(directory).parts)
    }


def both(directory: Path, code: str, *command: str, **variables: str) -> tuple[Path, Path]:
    """Two directories with the same files, in which rompy and this program have worked."""
    places = []
    for name, argv in (("theirs", ["-c", code]), ("ours", ["-m", "rompy_hydra", *command])):
        place = directory / name
        shutil.copytree(directory / "files", place)
        answer = subprocess.run(
            [sys.executable, *argv],
            cwd=place,
            env={**os.environ, "PYTHONHASHSEED": "0", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        places.append(place)
    return places[0], places[1]


def rompy(*arguments: str) -> str:
    """Code that runs rompy's own command line."""
    return f"import sys; sys.argv = ['rompy', *{arguments!r}]; from rompy.cli import main; main()"


def write(directory: Path, name: str, content: object) -> None:
    path = directory / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))


def test_a_swan_file_with_variables_and_an_include(tmp_path):
    write(tmp_path, "swan.yml", {"model_type": "swanconfig", **SWAN})
    lines = "run_id: run_${CYCLE|strftime:%Y%m%d}\noutput_dir: ${OUT:-out}\nconfig: !include swan.yml\n"
    lines += "period: {start: '${CYCLE}', end: '${CYCLE|as_datetime|shift:+1d}', interval: 1H}\n"
    write(tmp_path, "run.yml", lines)
    theirs, ours = both(
        tmp_path, rompy("generate", "run.yml"), "--rompy", "run.yml", CYCLE="2023-01-01T00:00:00"
    )
    found = generated(ours / "out")
    assert found == generated(theirs / "out")
    assert list(found) == ["run_20230101/INPUT"]
    assert b"COMPUTE NONSTATIONARY tbegc=20230101.000000" in found["run_20230101/INPUT"]


def test_a_pipeline_file_runs_the_command_and_the_postprocessor(tmp_path):
    backend = {
        "type": "local", "timeout": 600, "command": "grep -c COMPUTE INPUT > found.txt", "shell": True,
        "capture_output": True, "env_vars": {"OMP_NUM_THREADS": "2"},
    }  # fmt: skip
    model = {"model_type": "swanconfig", **SWAN}
    write(tmp_path, "parts/backend.yml", backend)
    write(tmp_path, "run.yml", {**RUN, "config": model})
    text = "config: !include run.yml\nbackend: !include parts/backend.yml\npostprocessor: {type: noop}\n"
    write(tmp_path, "pipeline.yml", text)
    theirs, ours = both(tmp_path, rompy("pipeline", "pipeline.yml"), "--rompy", "pipeline.yml")
    found = generated(ours / "out")
    assert found == generated(theirs / "out")
    assert found["deep/found.txt"] == b"1\n"


def test_a_schism_file(tmp_path):
    write(tmp_path, "hgrid.gr3", GRID)
    grid = {
        "grid_type": "schism",
        "hgrid": {"id": "hgrid", "model_type": "data_blob", "source": "hgrid.gr3"},
    }
    nml = {"param": {"core": {"dt": 150.0, "nspool": 24, "ihfskip": 1152}, "schout": {"iof_hydro__1": 1}}}
    model = {"model_type": "schism", "grid": {**grid, "drag": 2.5e-3}, "nml": nml}
    write(tmp_path, "schism.yml", {**RUN, "delete_existing": True, "config": model})
    theirs, ours = both(tmp_path, rompy("generate", "schism.yml"), "--rompy", "schism.yml")
    found = generated(ours / "out")
    assert found == generated(theirs / "out")
    assert {"deep/param.nml", "deep/hgrid.gr3", "deep/drag.gr3"} <= found.keys()


def test_the_file_that_the_xbeach_package_ships(tmp_path):
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    answer = subprocess.run(
        [*download, "rompy-xbeach==0.1.0"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert answer.returncode == 0, answer.stderr
    with tarfile.open(tmp_path / "rompy_xbeach-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "rompy_xbeach-0.1.0" / "tests").rename(tmp_path / "files")
    code = (
        "import yaml; from rompy.model import ModelRun; from rompy.core.time import TimeRange\n"
        "period = TimeRange(start='2023-01-01', duration='12h', interval='1h')\n"
        "config = yaml.safe_load(open('test_config.yml'))\n"
        "ModelRun(run_id='deep', output_dir='.', period=period, config=config).generate()\n"
    )
    period = ["period.start=2023-01-01", "period.duration=12h"]
    theirs, ours = both(
        tmp_path, code, "--rompy", "test_config.yml", "run_id=deep", "output_dir=.", *period
    )
    found = generated(ours / "deep")
    assert found == generated(theirs / "deep")
    assert {"params.txt", "bathy.txt", "xdata.txt"} <= found.keys()


@pytest.mark.parametrize("command", ["check", "from-rompy"])
def test_a_swan_file_is_checked_and_converted(tmp_path, program, command):
    path = tmp_path / "swan.yml"
    path.write_text(yaml.safe_dump({**RUN, "config": {"model_type": "swanconfig", **SWAN}}))
    answer = program(command, *(["--rompy"] if command == "check" else []), str(path))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    if command == "from-rompy":
        answer = program("--config-dir", "conf", "experiment=swan", "pipeline.stages=[generate]")
        assert answer.returncode == 0, answer.stdout + answer.stderr
