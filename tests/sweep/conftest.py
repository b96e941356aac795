"""Sweeps as a user starts them, of a model that records its starts outside its run directory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _kill_processes_below, wait_until
from tests.drivers import Driver, ForkServer
from tests.terminal import Terminal

_MODULES = ("rompy_hydra.cli.sweep", "rompy_hydra.cli.run", "rompy_hydra.postprocess.noop")
_PROGRAM = "import sys\nfrom rompy_hydra.cli import main\nsys.exit(main(sys.argv[1:]))\n"

# Prints a line before and after its work; waits while `hold` exists; fails if `fail-X` exists.
_PROBE = """
echo "{{ model.x }}" >> "{{ model.outside }}/started"
while [ -e "{{ model.outside }}/hold" ]; do sleep 0.02; done
sleep {{ model.seconds }}
echo "probe {{ model.x }} says {{ model.text }}"
if [ -e "{{ model.outside }}/fail-{{ model.x }}" ]; then echo "Fatal: no water at {{ model.x }}"; exit 3; fi
echo "{{ model.x }}" > result.txt
echo "{{ model.x }}" >> "{{ model.outside }}/finished"
{# Any parameter may be added: #}{% if model %}{% endif %}
"""
_MODEL = """
_target_: rompy_hydra.models.TemplateModel
template: {template}
parameters: {{x: 0, seconds: 0, text: hello, outside: '{outside}'}}
commands: [sh probe.sh]
success: {{must_exist: [result.txt]}}
"""


class Sweeps:
    """Runs `rompy-hydra` in a temporary directory, and reads the results.

    All runs of the model `probe` read files in `outside`: `hold` keeps them running, `fail-X`
    makes the run with `x=X` fail. `started` and `finished` have one line per start or end of a model.
    """

    def __init__(self, fork_server: ForkServer, directory: Path) -> None:
        self._fork_server = fork_server
        self._scripts = directory / "drivers"
        self.directory = directory / "work"
        self.outside = directory / "outside"
        self.configs = directory / "configs"
        template = directory / "template"
        for created in (self._scripts, self.directory, self.outside, self.configs / "model", template):
            created.mkdir(parents=True)
        (template / "probe.sh").write_text(_PROBE)
        model = _MODEL.format(template=template, outside=self.outside)
        (self.configs / "model" / "probe.yaml").write_text(model)
        self.path = self.directory / "sweeps" / "probe"
        self.drivers: list[Driver] = []

    def start(self, *arguments: str) -> Driver:
        """Start a command; the test can wait for the driver process, interrupt it or kill it."""
        script = self._scripts / f"{len(self.drivers)}.py"
        script.write_text(_PROGRAM)
        found = (*arguments, f"--config-dir={self.configs}")
        self.drivers.append(Driver(self._fork_server, script, found, os.environ, self.directory))
        return self.drivers[-1]

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command, check its exit code, and return its output."""
        driver = self.start(*arguments)
        ended = driver.wait()
        assert code is None or ended == code, driver.output
        return driver.output

    def on_terminal(self, *arguments: str) -> Terminal:
        return Terminal([f"--config-dir={self.configs}", *arguments], self.directory)

    def sweep(self, *arguments: str, code: int | None = 0) -> str:
        """Run a sweep of the model `probe`, and return its output."""
        return self.run(*self.command(*arguments), code=code)

    def start_sweep(self, *arguments: str) -> Driver:
        return self.start(*self.command(*arguments))

    def command(self, *arguments: str) -> tuple[str, ...]:
        return ("-m", "model=probe", "processor=noop", *arguments)

    def hold(self) -> None:
        """Keep models that are started from now on running until `release`."""
        (self.outside / "hold").touch()

    def release(self) -> None:
        (self.outside / "hold").unlink(missing_ok=True)

    def kill_models(self, *points: object) -> None:
        """Kill the models of these points, as a crash of the machine would."""
        for point in points:
            _kill_processes_below(self.runs()[str(point)])

    def fail(self, *points: object) -> None:
        for point in points:
            (self.outside / f"fail-{point}").touch()

    def fix(self, *points: object) -> None:
        for point in points:
            (self.outside / f"fail-{point}").unlink()

    def started(self) -> list[str]:
        """The `x` of each start of a model, sorted."""
        return self._lines("started")

    def finished(self) -> list[str]:
        return self._lines("finished")

    def _lines(self, name: str) -> list[str]:
        path = self.outside / name
        return sorted(path.read_text().split(), key=int) if path.exists() else []

    def wait_for_models(self, count: int) -> None:
        """Wait until `count` models have been started, and all records say so."""
        wait_until(lambda: len(self.started()) >= count)
        wait_until(lambda: "generating" not in self.states().values())

    def runs(self) -> dict[str, Path]:
        """The directories of the runs by their `x`."""
        return {x: directory for x, (directory, _) in self._records().items()}

    def record(self, x: object) -> dict[str, Any]:
        return self._records()[str(x)][1]

    def states(self) -> dict[str, object]:
        return {x: record["state"] for x, (_, record) in self._records().items()}

    def _records(self) -> dict[str, tuple[Path, dict[str, Any]]]:
        """The directories and records of the runs, sorted by `x`."""
        found = {}
        for path in self.path.glob("*/run.json"):
            record = json.loads(path.read_bytes())
            found[str(record["parameters"]["model.parameters.x"])] = path.parent, record
        return dict(sorted(found.items(), key=lambda each: int(each[0])))

    def table(self, name: str = "probe") -> list[dict[str, str]]:
        with (self.path.with_name(name) / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def snapshot(self, directory: Path | None = None) -> dict[str, tuple[int, bytes]]:
        """All files below a directory, with their times and contents."""
        root = directory or self.directory
        return {
            str(path.relative_to(root)): (
                path.lstat().st_mtime_ns,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(root.rglob("*"))
        }


@pytest.fixture(scope="session")
def _sweep_fork_server() -> Iterator[ForkServer]:
    fork_server = ForkServer(*_MODULES)
    yield fork_server
    fork_server.close()


@pytest.fixture
def sweeps(_sweep_fork_server: ForkServer, tmp_path: Path) -> Iterator[Sweeps]:
    created = Sweeps(_sweep_fork_server, tmp_path)
    yield created
    created.release()
    for driver in created.drivers:
        if driver.process.poll() is None:
            driver.kill()
    _kill_processes_below(tmp_path)


@pytest.fixture
def sweeps_in(_sweep_fork_server: ForkServer) -> Iterator[Callable[[Path], Sweeps]]:
    """Create sweeps in the given directories."""
    created: list[Sweeps] = []

    def make(directory: Path) -> Sweeps:
        created.append(Sweeps(_sweep_fork_server, directory))
        return created[-1]

    yield make
    for each in created:
        each.release()
        for driver in each.drivers:
            if driver.process.poll() is None:
                driver.kill()
        _kill_processes_below(each.directory)
