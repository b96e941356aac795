"""Real faults: kills, interrupts, full and read-only disks, and competing drivers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from rompy_hydra import BaseConfig, ModelRun, SuccessChecks
from rompy_hydra.core.status import recorded_state
from rompy_hydra.errors import Busy, GenerateError, RunError
from rompy_hydra.sweep.results_table import row_of
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord
from tests.conftest import LIMIT, is_gone, living, wait_until

# A model that records each start, then waits for the file `go`.
PATIENT = ["echo $$ >> starts; until [ -e go ]; do sleep 0.01; done", "echo data > out.nc; exit $(cat go)"]

DRIVE = """
import signal
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
config = CONFIG
run = ModelRun(run_id="shoal", output_dir="runs", config=config)
try:
    say("success: " + str(run.pipeline()["success"]))
except KeyboardInterrupt:
    say("interrupted")
    sys.exit(130)
"""
DRIVE_PATIENT = DRIVE.replace("CONFIG", f"BaseConfig(commands={PATIENT})")
GENERATE_PATIENT = DRIVE_PATIENT.replace("run.pipeline()[", '{"success": run.generate()}[')

# The child that calls the hook imports the main script again, and must not get beyond the class.
DRIVE_HOOK = """
import os, time
class Hook:
    def run(self, model_run):
        Path("starts").open("a").write(f"{os.getpid()}\\n")
        while not Path("go").exists():
            time.sleep(0.01)
        return True
if __name__ == "__main__":
    run = ModelRun(run_id="shoal", output_dir="runs", config=Hook())
    say("success: " + str(run.pipeline()["success"]))
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "runs" / "shoal"


@pytest.fixture
def started(directory, start_driver):
    """Wait until the model has been started after `before`; returns the process ids of all its starts."""

    def started(before=()):
        file = directory / "starts"

        def ids():
            if file.exists() and (found := file.read_text().split()) != list(map(str, before)):
                return found
            ended = all(driver.process.poll() is not None for driver in start_driver.drivers)
            assert not ended, start_driver.drivers[-1].output
            return []

        pids = [int(pid) for pid in wait_until(ids)]
        # A model is recorded once it has run for a moment; a separate test covers what comes before.
        wait_until(lambda: record_of(directory).state != "generating")
        return pids

    return started


def record_of(directory: Path) -> RunRecord:
    return RunRecord.read(directory / "run.json")


def fill(disk: Path) -> Path:
    """Fill a small disk to its last byte."""
    filler = disk / "filler"
    with filler.open("wb", 0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


def small_model(output_dir: Path, *commands: str, run_id: str = "shoal", **fields: object) -> ModelRun:
    return ModelRun(run_id=run_id, output_dir=output_dir, config=BaseConfig(commands=commands, **fields))


# --- interrupts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_driver_stops_its_model_and_records_the_interrupt(
    start_driver, directory, started, number
):
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    driver.send(number)
    assert driver.wait() == 130
    assert is_gone(model)
    record = record_of(directory)
    assert (record.state, record.stages["run"].state) == ("interrupted", "interrupted")
    assert (record.error["type"], record.error["message"]) == ("KeyboardInterrupt", "interrupted")


def test_an_interrupted_run_is_repeated_as_a_new_attempt(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    model = started()
    driver.send(signal.SIGINT)
    driver.wait()
    second = start_driver(DRIVE_PATIENT)
    started(before=model)
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert (record.state, record.attempt) == ("completed", 2)
    assert record.attempts[0]["state"] == "interrupted"


class Interrupts:
    """A postprocessor that the user interrupts, unless `patience` is set."""

    patience = False

    def process(self, model_run):
        if not self.patience:
            signal.raise_signal(signal.SIGINT)
        return {"success": True, "message": ""}


def test_an_interrupt_during_postprocessing_keeps_the_outputs_of_the_model(tmp_path):
    run = small_model(tmp_path, f"echo x >> '{tmp_path}/starts'; echo data > out.nc")
    impatient, patient = Interrupts(), Interrupts()
    patient.patience = True
    with pytest.raises(KeyboardInterrupt):
        run.pipeline(processor=impatient)
    record = RunRecord.load(run.workspace)
    assert (record.state, record.error["stage"]) == ("interrupted", "postprocess")
    assert run.pipeline(processor=patient)["success"]
    assert (tmp_path / "starts").read_text() == "x\n"


# --- killed drivers -----------------------------------------------------------------------------


def test_a_killed_driver_leaves_the_run_marked_lost(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    started()
    workspace = Workspace(directory)
    assert recorded_state(workspace, record_of(directory)) == "running"
    driver.kill()
    assert record_of(directory).state == "running"
    assert recorded_state(workspace, record_of(directory)) == "lost"


@pytest.mark.parametrize("generated", [False, True])
def test_a_model_started_just_before_its_driver_died_is_reattached_or_stopped(
    start_driver, directory, generated
):
    if generated:
        assert start_driver(GENERATE_PATIENT).wait() == 0
    first = start_driver(DRIVE_PATIENT)
    starts = directory / "starts"
    model = int(wait_until(lambda: starts.exists() and starts.read_text().strip()))
    first.kill()
    second = start_driver(DRIVE_PATIENT)
    wait_until(lambda: "looking for the model" in second.output or "ended what" in second.output)
    taken_over = "looking for the model" in second.output
    assert taken_over or is_gone(model)
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert (record.state, record.attempt) == ("completed", 1 if taken_over else 2)
    assert len(starts.read_text().split()) == 1


def test_a_model_that_outlived_its_driver_is_waited_for_and_its_result_is_used(
    start_driver, directory, started
):
    start = start_driver(DRIVE_PATIENT)
    (model,) = started()
    start.kill()
    second = start_driver(DRIVE_PATIENT)
    wait_until(lambda: "looking for the model" in second.output)
    assert recorded_state(Workspace(directory), record_of(directory)) == "running"
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert (record.state, record.attempt, record.exit_code) == ("completed", 1, 0)
    assert record.backend_facts["adopted"] is True
    assert started() == [model]


def test_a_model_that_finished_without_a_driver_is_not_restarted(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    driver.kill()
    (directory / "go").write_text("0")
    wait_until(lambda: Workspace(directory).exit_code() == 0)
    second = start_driver(DRIVE_PATIENT)
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert (record.state, record.attempt) == ("completed", 1)
    assert started() == [model]


def test_the_run_time_of_a_reattached_model_starts_at_its_start(start_driver, directory, started):
    first = start_driver(DRIVE_PATIENT)
    started()
    begin = time.monotonic()
    first.kill()
    second = start_driver(DRIVE_PATIENT)
    wait_until(lambda: "looking for the model" in second.output)
    seen = time.monotonic() - begin
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert record.stages["run"].seconds >= record.resources["seconds"] >= seen
    assert row_of("shoal", record).seconds >= seen


@pytest.mark.parametrize("code", [0, 3])
def test_the_run_time_of_a_model_without_a_driver_ends_when_its_exit_code_is_written(
    start_driver, directory, started, code
):
    finish_without_driver(start_driver, directory, started, code, seconds=3600)
    start_driver(DRIVE_PATIENT).wait()
    record = record_of(directory)
    assert record.exit_code == code
    assert record.resources["seconds"] == 3600
    assert 3600 <= record.stages["run"].seconds < 3600 + LIMIT
    assert 3600 <= row_of("shoal", record).seconds < 3600 + LIMIT


def test_no_run_time_is_reported_for_a_model_that_finished_before_it_started(
    start_driver, directory, started
):
    finish_without_driver(start_driver, directory, started, 0, seconds=-1)
    assert start_driver(DRIVE_PATIENT).wait() == 0
    record = record_of(directory)
    assert (record.state, record.attempt) == ("completed", 1)
    assert record.resources["seconds"] is record.stages["run"].seconds is None
    assert row_of("shoal", record).seconds is None


def finish_without_driver(start_driver, directory, started, code, seconds):
    """Let a model finish without a driver, `seconds` after its start according to the file times."""
    driver = start_driver(DRIVE_PATIENT)
    started()
    driver.kill()
    (directory / "go").write_text(str(code))
    wait_until(lambda: Workspace(directory).exit_code() == code)
    begin = datetime.fromisoformat(record_of(directory).stages["run"].started).timestamp()
    os.utime(directory / "exit_code", (begin + seconds, begin + seconds))


def test_processes_left_behind_by_a_model_without_a_driver_are_terminated(start_driver, tmp_path):
    driver = start_driver("""
commands = ["sh -c 'sleep 1000 & echo $! > late'; while [ ! -e go ]; do sleep 0.02; done"]
ModelRun(run_id="shoal", output_dir="runs", config=BaseConfig(commands=commands)).run()
""")
    directory = tmp_path / "runs" / "shoal"
    wait_until(lambda: (directory / "late").exists() and (directory / "late").read_text().strip())
    late = int((directory / "late").read_text())
    driver.kill()
    (directory / "go").touch()
    wait_until(lambda: Workspace(directory).exit_code() == 0)
    assert not is_gone(late)
    second = start_driver("""
commands = ["sh -c 'sleep 1000 & echo $! > late'; while [ ! -e go ]; do sleep 0.02; done"]
say(ModelRun(run_id="shoal", output_dir="runs", config=BaseConfig(commands=commands)).run())
""")
    assert second.wait() == 0, second.output
    assert is_gone(late)
    assert record_of(directory).backend_facts["adopted"] is True


def test_a_model_that_failed_without_a_driver_is_recorded_as_failed(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    started()
    driver.kill()
    (directory / "go").write_text("3")
    wait_until(lambda: Workspace(directory).exit_code() == 3)
    second = start_driver(DRIVE_PATIENT)
    second.wait()
    assert "success: False" in second.output
    record = record_of(directory)
    assert (record.state, record.attempt, record.exit_code) == ("failed", 1, 3)


def test_a_run_whose_driver_and_model_were_killed_is_a_lost_attempt_and_is_repeated(
    start_driver, directory, started
):
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    driver.kill()
    os.killpg(os.getpgid(model), signal.SIGKILL)
    wait_until(lambda: is_gone(model))
    second = start_driver(DRIVE_PATIENT)
    started(before=[model])
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    record = record_of(directory)
    assert (record.state, record.attempt) == ("completed", 2)
    assert record.attempts[0]["state"] == "lost"
    assert "the driver of this attempt died" in record.attempts[0]["error"]["message"]
    assert (directory / "attempts" / "1" / "starts").exists()


def test_a_timeout_of_the_second_driver_applies_to_the_reattached_model(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    driver.kill()
    second = start_driver(
        DRIVE_PATIENT.replace("run.pipeline()", 'run.pipeline(run_kwargs={"timeout": 0.5})')
    )
    second.wait()
    record = record_of(directory)
    assert record.state == "timed_out", second.output
    assert record.stages["run"].seconds >= 0.5
    assert is_gone(model)


def test_an_interrupt_of_the_second_driver_stops_the_reattached_model(start_driver, directory, started):
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    driver.kill()
    second = start_driver(DRIVE_PATIENT)
    wait_until(lambda: "looking for the model" in second.output)
    second.send(signal.SIGINT)
    assert second.wait() == 130
    assert record_of(directory).state == "interrupted"
    assert is_gone(model)


def test_a_model_with_outdated_inputs_is_stopped_and_not_reattached(
    start_driver, tmp_path, directory, started
):
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "INPUT").write_text("one")
    drive = DRIVE_PATIENT.replace("BaseConfig(", 'TemplateModel(template="template", ')
    driver = start_driver(drive)
    (model,) = started()
    driver.kill()
    (tmp_path / "template" / "INPUT").write_text("two")
    second = start_driver(drive)
    started(before=[model])
    assert is_gone(model)
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    assert record_of(directory).attempt == 2
    assert (directory / "INPUT").read_text() == "two"


def test_a_model_without_its_leader_process_is_stopped_and_not_reattached(start_driver, directory):
    """The script is dead, so no exit code will be written, but a process that it started is alive."""
    mark = f"half-dead-{os.getpid()}"
    command = f"echo started; [ -e ../go ] || {{ setsid tail -f /dev/null {mark} & wait; }}"
    drive = DRIVE.replace("CONFIG", f"BaseConfig(commands=[{command!r}])")
    driver = start_driver(drive)
    (tail,) = wait_until(lambda: [pid for pid in living(mark) if _is(pid, "tail")])
    script = wait_until(lambda: record_of(directory).backend_facts.get("pid"))
    driver.kill()
    os.kill(script, signal.SIGKILL)
    wait_until(lambda: is_gone(script))
    assert not is_gone(tail)
    (directory.parent / "go").touch()
    second = start_driver(drive)
    assert second.wait() == 0, second.output
    assert is_gone(tail)
    assert (record_of(directory).state, record_of(directory).attempt) == ("completed", 2)


def _is(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def test_a_hook_that_outlived_its_driver_is_reattached_as_well(start_driver, directory, started):
    driver = start_driver(DRIVE_HOOK)
    (hook,) = started()
    driver.kill()
    second = start_driver(DRIVE_HOOK)
    wait_until(lambda: "looking for the model" in second.output)
    (directory / "go").touch()
    assert second.wait() == 0, second.output
    assert started() == [hook]
    assert (record_of(directory).state, record_of(directory).attempt) == ("completed", 1)


def test_a_driver_that_is_killed_during_postprocessing_loses_no_results_of_the_model(
    start_driver, tmp_path, directory
):
    code = """
import os, signal
class Dies:
    def process(self, model_run):
        if not Path("repaired").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return {"success": True, "message": ""}
config = BaseConfig(commands=["echo x >> ../starts; echo data > out.nc"])
run = ModelRun(run_id="shoal", output_dir="runs", config=config)
say(run.pipeline(processor=Dies)["success"])
"""
    assert start_driver(code).wait() == -signal.SIGKILL
    assert recorded_state(Workspace(directory), record_of(directory)) == "lost"
    (tmp_path / "repaired").touch()
    second = start_driver(code)
    assert second.wait() == 0, second.output
    assert record_of(directory).state == "completed"
    assert (tmp_path / "runs" / "starts").read_text() == "x\n"


def test_killing_the_driver_at_any_moment_loses_no_results(start_driver, tmp_path, directory):
    code = """
import os, signal, time
Path("template").mkdir()
for number in range(20):
    Path(f"template/input{number}").write_text("{{ run.run_id }}\\n" * 100)
config = TemplateModel(
    template="template",
    commands=["echo x >> ../starts; sleep 0.03", "cat input* > out.txt"],
    success={"must_exist": ["out.txt"], "must_not_exist": ["half"]},
)
run = ModelRun(run_id="shoal", output_dir="runs", config=config)
logger.remove()
for number in range(40):
    child = os.fork()
    if not child:
        run.pipeline()
        os._exit(0)
    time.sleep(0.002 * number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
results = run.pipeline()
say(results["message"])
sys.exit(not results["success"])
"""
    driver = start_driver(code)
    assert driver.wait() == 0, driver.output
    record = record_of(directory)
    assert record.state == "completed"
    assert (directory / "out.txt").read_text() == "shoal\n" * 2000
    assert [fact.path for fact in record.outputs] == ["out.txt"]
    assert len(record.inputs) == 20
    assert all(fact.is_intact(Workspace(directory)) for fact in [*record.inputs, *record.outputs])
    starts = (tmp_path / "runs" / "starts").read_text().count("x")
    assert 1 <= starts <= 41
    assert all(earlier["state"] in ("lost", "failed") for earlier in record.attempts)


# --- competing drivers ---------------------------------------------------------------------------


def test_of_many_parallel_drivers_exactly_one_runs_the_model(start_driver, tmp_path, directory, started):
    together = "while not Path('all').exists():\n    pass\n"
    drivers = [start_driver(together + DRIVE_PATIENT) for _ in range(4)]
    (tmp_path / "all").touch()
    started()
    wait_until(lambda: sum(driver.process.poll() is not None for driver in drivers) == 3)
    (directory / "go").write_text("0")
    for driver in drivers:
        driver.wait()
    assert len(started()) == 1
    outputs = [driver.output for driver in drivers]
    assert sum("success: True" in output for output in outputs) == 1
    (winner,) = [driver for driver in drivers if "success: True" in driver.output]
    for output in outputs:
        assert (
            ("success: True" in output)
            or f"process {winner.pid} on" in output
            or "another driver" in output
        )
    assert record_of(directory).state == "completed"


def test_parallel_drivers_with_overwrite_leave_complete_runs(start_driver, tmp_path):
    code = """
from rompy_hydra.core.execute import execute
from rompy_hydra.errors import Busy
from tests.plans import plan_of
while not Path("all").exists():
    pass
config = BaseConfig(commands=["echo x >> ../starts; echo data > out.nc"])
run = ModelRun(run_id="shoal", output_dir="runs", config=config)
for _ in range(5):
    try:
        execute(plan_of(run, "generate", "run", overwrite=True))
    except Busy:
        pass
"""
    drivers = [start_driver(code) for _ in range(3)]
    (tmp_path / "all").touch()
    for driver in drivers:
        assert driver.wait() == 0, driver.output
    runs = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    with_record = [path for path in runs if (path / "run.json").exists()]
    assert {record_of(path).state for path in with_record} == {"completed"}
    assert len(with_record) == (tmp_path / "runs" / "starts").read_text().count("x")
    assert all((path / "out.nc").exists() for path in with_record)


def test_a_second_thread_of_the_same_process_cannot_use_a_running_run(tmp_path):
    run = small_model(tmp_path, *PATIENT)
    results = []
    first = threading.Thread(target=lambda: results.append(run.run()))
    first.start()
    wait_until(lambda: (run.workspace.path / "starts").exists())
    other = small_model(tmp_path, *PATIENT)
    with pytest.raises(Busy, match="is working on"):
        other.generate()
    assert other.run() is False
    (run.workspace.path / "go").write_text("0")
    first.join(LIMIT)
    assert results == [True]
    assert issubclass(Busy, RunError)


# --- disks --------------------------------------------------------------------------------------


def test_a_disk_that_becomes_full_while_inputs_are_written_is_reported_and_recorded(small_disk, tmp_path):
    big = tmp_path / "grid.nc"
    big.write_bytes(b"x" * 2**21)
    run = small_model(small_disk, "true", files=[str(big)])
    with pytest.raises(GenerateError, match=r"cannot write the input .*grid.nc: No space left on device"):
        run.generate()
    record = RunRecord.load(run.workspace)
    assert (record.state, record.error["stage"]) == ("failed", "generate")
    assert "No space left on device" in record.error["message"]
    assert not (run.workspace.path / "grid.nc").exists()
    big.write_bytes(b"small")
    assert run.run() is True


@pytest.mark.parametrize(("ending", "code"), [("", 1), ("; echo done > done.txt; exit 0", 0)])
def test_a_model_that_fills_the_disk_is_recorded_as_failed(small_disk, ending, code):
    checks = SuccessChecks(must_exist=["done.txt"])
    run = small_model(small_disk, f"cat /dev/zero > out.nc{ending}", success=checks)
    assert run.run() is False
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("failed", code)
    assert (
        "done.txt is empty" in record.error["message"]
        or "done.txt was not written" in record.error["message"]
    )
    (run.workspace.path / "out.nc").unlink()
    assert run.run() is False
    assert RunRecord.load(run.workspace).attempt == 2


def test_a_disk_that_is_full_from_the_start_is_reported(small_disk):
    filler = fill(small_disk)
    run = small_model(small_disk, "true")
    with pytest.raises(GenerateError, match="No space left on device"):
        run.generate()
    results = run.pipeline()
    assert (results["success"], results["stage"]) == (False, "generate")
    assert "No space left on device" in results["error"]
    filler.unlink()
    assert run.pipeline()["success"] is True


def test_a_read_only_disk_is_reported(read_only_directory):
    run = small_model(read_only_directory, "true")
    with pytest.raises(GenerateError, match=r"Read-only file system.* Choose another one with output_dir"):
        run.generate()
    assert run.run() is False
    assert "Read-only file system" in run.pipeline()["error"]


@pytest.fixture
def immutable(tmp_path):
    """Create a directory in which not even root can create or rename files."""
    made = []

    def immutable(path):
        answer = subprocess.run(["chattr", "+i", path], capture_output=True, text=True)
        if answer.returncode:
            pytest.skip(f"chattr +i does not work here: {answer.stderr.strip()}")
        made.append(path)

    yield immutable
    for path in made:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_run_directory_that_became_immutable_is_reported(tmp_path, immutable):
    run = small_model(tmp_path, "true")
    run.workspace.create()
    immutable(run.workspace.path)
    with pytest.raises(GenerateError, match=r"cannot work in the run directory .*Operation not permitted"):
        run.generate()


def test_a_record_is_written_even_if_the_directory_becomes_immutable_during_the_run(tmp_path, immutable):
    run = small_model(tmp_path, "touch here; until [ -e ../go ]; do sleep 0.01; done; echo late > out.nc")
    results = []
    worker = threading.Thread(target=lambda: results.append(run.run()))
    worker.start()
    wait_until(lambda: (run.workspace.path / "here").exists())
    wait_until(lambda: RunRecord.load(run.workspace).backend_facts)
    try:
        immutable(run.workspace.path)
    finally:
        (tmp_path / "go").touch()
        worker.join(LIMIT)
    assert results == [False]
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("failed", 2)


def test_a_record_that_a_full_disk_had_no_room_for_keeps_the_outputs_of_the_model(tmp_path, immutable):
    run = small_model(tmp_path, "echo 1 > out.csv")
    assert run.pipeline(processor="noop")["success"]
    before = RunRecord.load(run.workspace).outputs
    immutable(run.workspace.path)
    assert run.pipeline(processor="summary")["success"] is False
    assert RunRecord.load(run.workspace).outputs == before
    subprocess.run(["chattr", "-i", run.workspace.path], check=True)
    assert run.pipeline(processor="summary")["success"]
    (run.workspace.path / "out.csv").unlink()
    assert run.pipeline(processor="summary")["success"]
    assert RunRecord.load(run.workspace).stages["run"].why == "out.csv is missing or was changed"


def test_a_model_whose_outputs_could_not_be_recorded_runs_again(tmp_path):
    run = small_model(tmp_path, *(f"echo {n} > out{n}.csv" for n in range(30)))
    assert run.pipeline(processor="noop")["success"]
    record = RunRecord.load(run.workspace)
    record.error = {"stage": "postprocess", "message": "x" * 5000, "log": []}
    *_, shortest = record._ever_shorter()
    run.workspace.record.write_text(shortest)
    assert RunRecord.load(run.workspace).outputs == []
    assert run.pipeline(processor="noop")["success"]
    assert len(RunRecord.load(run.workspace).outputs) == 30
    assert RunRecord.load(run.workspace).stages["run"].why == "its outputs could not be recorded"


@pytest.mark.parametrize("closed", ["", "claims"])
def test_a_run_directory_that_cannot_be_read_is_reported(tmp_path, closed):
    run = small_model(tmp_path, "true")
    assert run.run()
    directory = run.workspace.path / closed
    command = [sys.executable, "-m", "rompy_hydra", "model=template", f"model.template={tmp_path}"]
    command += [f"output_dir={tmp_path}", f"run_id={run.run_id}", "model.commands=['true']", "--dry-run"]
    # Root without the rights that let it read everything.
    rights = "-dac_override,-dac_read_search"
    setpriv = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.getuid() == 0 else []
    directory.chmod(0)
    try:
        answer = subprocess.run([*setpriv, *command], capture_output=True, text=True, cwd=tmp_path)
    finally:
        directory.chmod(0o755)
    assert answer.returncode == 2, answer.stderr
    assert re.search("Permission denied|is not writable. Fix its permissions", answer.stderr)
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_an_unreadable_record_is_reported(tmp_path):
    run = small_model(tmp_path, "true")
    assert run.run()
    run.workspace.record.chmod(0)
    with pytest.raises(Exception, match="cannot be read: Permission denied"):
        run.generate()


def test_an_output_directory_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "runs").write_text("a file")
    run = small_model(tmp_path / "runs", "true")
    with pytest.raises(GenerateError, match="cannot create the run directory"):
        run.generate()
    assert run.run() is False


# --- what models do -----------------------------------------------------------------------------


def test_a_model_that_deletes_its_own_directory_has_failed(tmp_path):
    command = 'until [ -e "../go" ]; do sleep 0.01; done; rm -rf "$PWD"; echo gone'
    run = small_model(tmp_path, command)
    results = []
    worker = threading.Thread(target=lambda: results.append(run.pipeline()))
    worker.start()
    # Not while the driver writes there: the directory must be empty to be deleted.
    wait_until(lambda: run.workspace.record.exists() and RunRecord.load(run.workspace).backend_facts)
    (tmp_path / "go").touch()
    worker.join(LIMIT)
    assert results[0]["success"] is False
    assert "removed its own run directory" in results[0]["error"]


def test_a_model_may_delete_all_files_in_its_run_directory(tmp_path):
    results = small_model(tmp_path, "rm -rf ./* ./.[!.]*; echo data > out.nc", run_id="files").pipeline()
    assert results["success"] is True
    assert RunRecord.load(Workspace(tmp_path / "files")).state == "completed"


def test_links_pipes_and_sockets_among_the_outputs_are_ignored(tmp_path):
    run = small_model(
        tmp_path, "mkdir results; echo data > results/a.nc; ln -s results latest; mkfifo pipe"
    )
    for attempt in (1, 2):
        assert run.run() is True
        record = RunRecord.load(run.workspace)
        assert record.attempt == attempt
        assert [fact.path for fact in record.outputs] == ["results/a.nc"]


def test_the_command_for_a_manual_rerun_can_be_pasted_into_a_shell(tmp_path):
    run = small_model(tmp_path / "it's a place", "exit 3")
    assert run.run() is False
    message = RunRecord.load(run.workspace).error["message"]
    (line,) = [line for line in message.splitlines() if line.startswith("Rerun by hand: ")]
    assert subprocess.run(line.removeprefix("Rerun by hand: "), shell=True).returncode == 3


def test_a_model_may_print_binary_data(tmp_path, capfd):
    run = small_model(tmp_path, r"printf '\377\376\000\033[2Jx\n'; head -c 10000 /dev/urandom; exit 3")
    assert run.run("local", stream_output=True) is False
    record = json.loads(run.workspace.record.read_text())
    assert all(char.isprintable() or char in "\t\n" for char in record["error"]["message"])
    assert run.workspace.log.read_bytes().startswith(b"\xff\xfe\0\x1b[2Jx\n")


def test_a_log_of_a_hundred_megabytes_is_not_read_into_memory(start_driver, tmp_path):
    driver = start_driver("""
import os, resource
line = "a line of some length, as models print them " * 20
commands = [f"yes '{line}' | head -c 100000000; echo; echo the end"]
checks = SuccessChecks(log_must_contain=["^the end$"], log_must_not_contain=["error"])
config = BaseConfig(commands=commands, success=checks)
run = ModelRun(run_id="loud", output_dir="runs", config=config)
sys.stdout = open(os.devnull, "w")
success = run.run("local", stream_output=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
Path("facts").write_text(f"{success} {peak}")
""")
    assert driver.wait() == 0, driver.output
    success, peak = (tmp_path / "facts").read_text().split()
    assert success == "True"
    assert int(peak) < 250_000_000
    assert (tmp_path / "runs" / "loud" / "run.log").stat().st_size > 100_000_000


def test_the_exit_code_of_a_manual_start_is_not_mistaken_for_the_drivers(start_driver, directory, started):
    """Generate, start manually until the end, then run with a driver, kill the driver, and run again."""
    assert start_driver(GENERATE_PATIENT).wait() == 0
    (directory / "go").write_text("0")
    assert subprocess.run(["sh", directory / "run.sh"]).returncode == 0
    assert Workspace(directory).exit_code() == 0
    (directory / "go").unlink()
    (directory / "starts").unlink()
    driver = start_driver(DRIVE_PATIENT)
    (model,) = started()
    assert Workspace(directory).exit_code() is None
    driver.kill()
    os.killpg(os.getpgid(model), signal.SIGKILL)
    wait_until(lambda: is_gone(model))
    second = start_driver(DRIVE_PATIENT)
    started(before=[model])
    (directory / "go").write_text("0")
    assert second.wait() == 0, second.output
    assert record_of(directory).attempts[0]["state"] == "lost"


def test_the_exit_code_of_a_manual_start_is_deleted_before_inputs_are_generated_again(small_disk, tmp_path):
    staged = tmp_path / "grid.nc"
    staged.write_bytes(b"small")
    run = small_model(small_disk, "true", files=[str(staged)])
    run.generate()
    subprocess.run(["sh", run.workspace.script], check=True)
    assert run.workspace.exit_code() == 0
    staged.write_bytes(b"x" * 2**21)
    assert run.run() is False
    record = RunRecord.load(run.workspace)
    assert (record.state, record.error["stage"]) == ("failed", "generate")
    assert run.workspace.exit_code() is None


def test_secrets_reach_the_model_but_are_not_in_any_file_or_log(start_driver, tmp_path):
    driver = start_driver("""
logger.remove()
logger.add(sys.stdout, level=0)
config = BaseConfig(
    commands=["echo ${#DB_PASSWORD} ${#API_TOKEN} > lengths", "exit 3"], env={"DB_PASSWORD": "swordfish"}
)
run = ModelRun(run_id="secret", output_dir="runs", config=config)
say(run.pipeline(run_kwargs={"env_vars": {"API_TOKEN": "hunter2"}}))
""")
    assert driver.wait() == 0, driver.output
    assert (tmp_path / "runs" / "secret" / "lengths").read_text() == "9 7\n"
    texts = [driver.output, *(p.read_text() for p in (tmp_path / "runs").rglob("*") if p.is_file())]
    for secret in ("swordfish", "hunter2"):
        assert not [text for text in texts if secret in text]
