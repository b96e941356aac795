"""A model leaves links, pipes and other traps in its run directory: the driver never goes through them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from rompy_hydra.workspace import Workspace
from tests.conftest import LIMIT, _kill_processes_below, wait_until
from tests.drivers import Driver, ForkServer

SECRET = "hunter2: a line of somebody else's file\n"
PROGRAM = "import sys\nfrom rompy_hydra.cli import main\nsys.exit(main(sys.argv[1:]))\n"
MODULES = ("rompy_hydra.cli.run", "rompy_hydra.models.template", "rompy_hydra.postprocess.summary")

# What a model does in its run directory; $V is a directory outside of it.
ATTACKS = {
    "log is a link": 'rm run.log; ln -s "$V/secret" run.log',
    "log is a dangling link": 'rm run.log; ln -s "$V/new" run.log',
    "log is a pipe": "rm run.log; mkfifo run.log",
    "log is a directory": "rm run.log; mkdir run.log",
    "exit code is a link": 'rm exit_code; ln -s "$V/secret" exit_code',
    "exit code is a dangling link": 'rm exit_code; ln -s "$V/new" exit_code',
    "exit code is a pipe": "rm exit_code; mkfifo exit_code",
    "record is a link": 'rm run.json; ln -s "$V/secret" run.json',
    "record is a pipe": "rm run.json; mkfifo run.json",
    "script is a link": 'rm run.sh; ln -s "$V/secret" run.sh',
    "script is a pipe": "rm run.sh; mkfifo run.sh",
    "configuration is a link": 'rm -r .hydra; ln -s "$V" .hydra',
    "a file of the configuration is a link": 'rm .hydra/*; ln -s "$V/secret" .hydra/config.yaml',
    "archive is a link": 'rm -rf attempts; ln -s "$V" attempts',
    "archive of this attempt is a link": 'mkdir -p attempts; ln -s "$V" attempts/1; ln -s "$V" attempts/2',
    "archived directory is a link": 'mkdir -p attempts/1; ln -s "$V" attempts/1/sub',
    "claims are a link": 'rm -r claims; ln -s "$V" claims',
    "claim is a link": 'rm claims/*; ln -s "$V/secret" claims/1.json; ln -s "$V/new" claims/2.unused',
    "claim is a pipe": "rm claims/*; mkfifo claims/1.json",
    "input is a link": 'rm in.txt; ln -s "$V/secret" in.txt',
    "input is a pipe": "rm in.txt; mkfifo in.txt",
    "directory of inputs is a link": 'rm -r sub; ln -s "$V" sub',
    "output directory is a link": 'rm -r out; ln -s "$V" out',
    "output is a link": 'ln -s "$V/secret" result.csv',
    "output is a pipe": "mkfifo result.csv",
    "output is a device": "mknod result.csv c 1 5",
    "metrics are a link": 'ln -s "$V/secret" metrics.json',
    "build log is a link": 'ln -s "$V/secret" build.log',
    "run directory is a link": 'd=$PWD; cd ..; mv "$d" moved; ln -s "$V" "$d"',
}


class Hostile:
    """A run of a model that attacks in its first attempt, and ends with the code that a test asks for."""

    def __init__(self, start_driver, directory: Path) -> None:
        self._start = start_driver
        self.victim = directory / "victim"
        self.run = directory / "runs" / "hostile"
        self._work = directory
        template = directory / "template" / "sub"
        template.mkdir(parents=True)
        (template / "in2.txt").write_text("in a directory\n")
        (template.parent / "in.txt").write_text("an input\n")
        self.victim.mkdir()
        (self.victim / "secret").write_text(SECRET)
        (self.victim / "in2.txt").write_text("in a directory\n")
        for path in self.victim.iterdir():
            os.utime(path, (1, 1))
        self.before = self.snapshot()

    def command(self, attack: str, code: int) -> list[str]:
        (self._work / "model.sh").write_text(
            f'V="{self.victim}"\n'
            f'[ -e "{self._work}/attacked" ] && exit 0\n: > "{self._work}/attacked"\n'
            f"echo 1,2 > values.csv\n{attack}\nexit {code}\n"
        )
        return [
            "model=template",
            f"model.template={self._work}/template",
            f"model.commands=['. {self._work}/model.sh']",
            "model.directories=[out]",
            "model.success.log_must_not_contain=[hunter2]",
            "processor=summary",
            "run_id=hostile",
            f"output_dir={self.run.parent}",
        ]

    def drive(self, *command: str) -> str:
        """Run a command; what it printed. It must end by itself, and know what happened."""
        driver = self._start(*command)
        assert driver.wait() in (0, 1, 2), driver.output
        assert "Traceback" not in driver.output
        return driver.output

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        found = {}
        for path in [self.victim, *sorted(self.victim.rglob("*"))]:
            facts = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = facts.st_mode, facts.st_mtime_ns, facts.st_size, content
        return found

    def check(self, output: str) -> None:
        """Nothing was written elsewhere, and nothing from there has come to where the model sees it."""
        assert self.snapshot() == self.before
        assert "hunter2" not in output.replace("[hunter2]", "").replace("'hunter2'", "")
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        for path in [p for p in self._work.rglob("*") if not p.is_relative_to(self.victim)]:
            if path.is_file() and not path.is_symlink():
                text = path.read_text(errors="replace")
                assert "somebody else" not in text, path
                assert digest not in text, path


@pytest.fixture(scope="module")
def _programs():
    """A process that has imported the program already, so that starting one takes no time."""
    fork_server = ForkServer(*MODULES)
    yield fork_server
    fork_server.close()


@pytest.fixture
def start_program(_programs, tmp_path):
    """Start the command line."""
    drivers = []

    def start(*arguments, **environment):
        script = tmp_path / f"program{len(drivers)}.py"
        script.write_text(PROGRAM)
        drivers.append(Driver(_programs, script, arguments, os.environ | environment))
        return drivers[-1]

    yield start
    for driver in drivers:
        if driver.process.poll() is None:
            driver.kill()
    _kill_processes_below(tmp_path)


@pytest.fixture
def hostile(start_program, tmp_path):
    return Hostile(start_program, tmp_path)


@pytest.mark.parametrize("code", [0, 3], ids=["completes", "fails"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_read_or_written_through_what_a_model_left(hostile, attack, code):
    command = hostile.command(attack, code)
    output = hostile.drive(*command)
    hostile.check(output)
    for arguments in ([], ["overwrite=true"]):
        output += hostile.drive(*command, *arguments)
        hostile.check(output)


def test_a_link_that_a_model_left_is_recorded_as_a_link(hostile):
    command = hostile.command('ln -s "$V/secret" result.csv; ln -s values.csv latest.csv', 0)
    output = hostile.drive(*command)
    assert "result.csv leads out of the run directory" in output
    record = (hostile.run / "run.json").read_text()
    assert f'"link:{hostile.victim}/secret"' in record
    assert '"link:values.csv"' in record
    assert "up to date" in (again := hostile.drive(*command)) or "nothing to do" in again, again


def test_a_log_that_is_replaced_while_the_model_runs_does_not_change_where_its_output_goes(hostile):
    attack = 'mv run.log kept.log; ln -s "$V/new" run.log; echo "after the attack"; sleep 0.2'
    output = hostile.drive(*hostile.command(attack, 0), "run_backend.stream_output=true")
    hostile.check(output)
    assert "after the attack" in output
    assert "after the attack" in (hostile.run / "kept.log").read_text()


@pytest.mark.parametrize(
    ("name", "target"),
    [("out", "victim"), ("build.log", "victim/secret"), ("run.log", "victim/new"), ("sub", "victim")],
)
def test_links_that_are_already_in_a_run_directory_are_refused_before_anything_is_written(
    hostile, tmp_path, name, target
):
    hostile.run.mkdir(parents=True)
    (hostile.run / name).symlink_to(tmp_path / target)
    before = sorted(path.name for path in hostile.run.iterdir())
    output = hostile.drive(*hostile.command("true", 0))
    hostile.check(output)
    assert f"{name} is a symbolic link" in output or f"{name} that a run would replace" in output, output
    assert sorted(path.name for path in hostile.run.iterdir()) == before


def test_a_run_directory_that_is_a_link_is_refused(hostile, tmp_path):
    hostile.run.parent.mkdir()
    hostile.run.symlink_to(hostile.victim)
    output = hostile.drive(*hostile.command("true", 0))
    hostile.check(output)
    assert f"{hostile.run} is a symbolic link" in output


def test_a_heartbeat_does_not_touch_the_file_that_a_claim_was_linked_to(hostile, start_program):
    attack = 'rm claims/1.json; ln -s "$V/secret" claims/1.json; sleep 1.5'
    command = hostile.command(attack, 0)
    driver = start_program(*command, ROMPY_HYDRA_STALE_SECONDS="1")
    wait_until(lambda: driver.process.poll() is not None, LIMIT)
    assert hostile.snapshot() == hostile.before


def test_a_full_disk_does_not_make_the_record_go_through_a_link(small_disk, tmp_path):
    from rompy_hydra.workspace.record import RunRecord

    workspace = Workspace(small_disk / "run")
    workspace.create()
    record = RunRecord("run", state="running")
    record.save(workspace)
    victim = tmp_path / "victim"
    victim.write_text("x" * 20000)
    workspace.record.unlink()
    workspace.record.symlink_to(victim)
    with open(small_disk / "filler", "wb", 0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left"):
        record.save(workspace)
    assert victim.read_text() == "x" * 20000


@pytest.mark.parametrize("name", ["exit_code", "run.json", "run.sh", "claims/1.json"])
def test_a_file_larger_than_the_memory_is_not_read_as_a_whole(hostile, start_program, name):
    command = hostile.command(f"truncate -s 30G big; mv big {name}", 0)
    driver = start_program(*command)
    peak = 0
    deadline = time.monotonic() + LIMIT
    while driver.process.poll() is None:
        assert time.monotonic() < deadline, driver.output
        peak = max(peak, _memory(driver.pid))
        time.sleep(0.01)
    assert "Traceback" not in driver.output
    assert "MemoryError" not in driver.output
    assert peak < 1_500_000  # kB


def test_a_table_without_line_ends_is_not_read_as_a_whole(tmp_path):
    from rompy_hydra.errors import PostprocessError
    from rompy_hydra.postprocess.statistics import table_statistics

    with open(tmp_path / "result.csv", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PostprocessError, match="a line is longer than"):
        table_statistics(tmp_path / "result.csv")


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
