"""Faults of container runs: limits, interrupts, dead drivers, dead engines, invalid settings."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import BaseConfig, DockerConfig, DockerRunBackend, ModelRun, RunRecord
from rompy_hydra.core.execute import preflight
from rompy_hydra.errors import ConfigError, ModelTimedOut, RunError, RunLost
from rompy_hydra.process import StopSignal
from tests.conftest import LIMIT, Driver, living, wait_until
from tests.plans import plan_of
from tests.run.conftest import BUSYBOX, ContainerRun, OwnEngine, containers_below

pytestmark = [
    pytest.mark.docker,
    # The docker package does not close a socket that it fails to connect.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PYTHON = "rompy-hydra-test/python:1"
# Creates the file `started`, and runs until the file `go` exists.
WAITING = "touch started; until [ -e go ]; do sleep 0.05; done; echo done > result"
DRIVER = """
from rompy_hydra import DockerConfig
config = BaseConfig(commands=(sys.argv[2],), image="rompy-hydra-test/busybox:1")
run = ModelRun(run_id="a run, with = signs", output_dir=sys.argv[1], config=config)
try:
    say(run.run(DockerConfig()))
except KeyboardInterrupt:
    say("interrupted")
"""


@pytest.fixture(autouse=True)
def collect_unclosed_sockets() -> Iterator[None]:
    """Garbage-collect these sockets in the test that created them."""
    yield
    gc.collect()


def in_thread(work: Callable[[], object]) -> Callable[[], object]:
    """Start a function in a thread; the returned function waits for its result or its exception."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - may be an interrupt
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> object:
        thread.join(LIMIT)
        return results[0]

    return result


def test_running_out_of_memory_is_reported_with_the_limit(in_container: Any) -> None:
    run = in_container("python3 -c 'data = bytearray(200_000_000)'", image=PYTHON)
    outcome = run.execute(memory="32m")
    assert outcome.exit_code == 137
    assert (
        outcome.facts["why"]
        == "it ran out of memory: the container's limit is 32m; raise run_backend.memory"
    )
    assert run.model_run.run(DockerConfig(memory="32m")) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert "exited with 137 (SIGKILL); it ran out of memory" in str(record.error["message"])


def test_a_script_that_continues_after_its_program_ran_out_of_memory_has_failed(in_container: Any) -> None:
    run = in_container("python3 -c 'data = bytearray(200_000_000)' || true; echo went on", image=PYTHON)
    outcome = run.execute(memory="32m")
    assert "went on" in run.log
    assert outcome.exit_code == 137
    assert "ran out of memory" in outcome.facts["why"]


def test_a_run_can_be_retried_with_a_higher_limit(in_container: Any) -> None:
    run = in_container("python3 -c 'print(len(bytearray(100_000_000)))'", image=PYTHON)
    assert run.model_run.run(DockerConfig(memory="32m")) is False
    assert run.model_run.run(DockerConfig(memory="256m")) is True


def test_a_timeout_stops_the_model_with_all_its_children(in_container: Any) -> None:
    run = in_container("setsid sh -c 'while :; do echo child >> child; sleep 0.02; done' & sleep 600")
    with pytest.raises(ModelTimedOut, match=r"exceeded its time limit of 0.5 s \(run_backend.timeout\)"):
        run.execute(timeout=0.5)
    size = (run.workspace.path / "child").stat().st_size
    assert living(f"{run.workspace.path}/run.sh") == []
    assert (run.workspace.path / "child").stat().st_size == size


def test_a_model_gets_sigterm_before_sigkill(in_container: Any) -> None:
    tidy = "(trap 'echo tidied up > last; exit 0' TERM; while :; do sleep 0.05; done) & wait"
    run = in_container(tidy)
    with pytest.raises(ModelTimedOut):
        run.execute(timeout=0.3)
    assert (run.workspace.path / "last").read_text() == "tidied up\n"


def test_a_model_that_ignores_sigterm_is_killed_after_kill_grace(in_container: Any) -> None:
    run = in_container("trap '' TERM; while :; do sleep 0.05; done")
    begin = time.monotonic()
    with pytest.raises(ModelTimedOut):
        run.execute(timeout=0.3, kill_grace=0.2)
    assert time.monotonic() - begin < 4.5


def test_another_thread_can_stop_a_run(in_container: Any) -> None:
    run = in_container(WAITING)
    stop = StopSignal()
    result = in_thread(lambda: run.execute(stop))
    wait_until((run.workspace.path / "started").exists)
    stop.set()
    assert isinstance(result(), KeyboardInterrupt)
    stop.close()


def test_ctrl_c_stops_the_container_and_the_record_says_interrupted(
    docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    driver = start_driver(DRIVER, tmp_path, WAITING)
    directory = tmp_path / "a run, with = signs"
    wait_for_start(driver, directory)
    driver.send(signal.SIGINT)
    assert driver.wait() == 0, driver.output
    assert "interrupted" in driver.output
    assert containers_below(docker_engine, tmp_path) == []
    record = RunRecord.read(directory / "run.json")
    assert record is not None and record.state == "interrupted"


def test_sigterm_to_the_command_stops_the_container(
    docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    driver = start_driver(
        """
from rompy_hydra.cli import main
sys.exit(main())
""",
        "run_backend=docker",
        "run_id=shoal",
        "processor=noop",
        f"run_backend.image={BUSYBOX}",
        f"run_backend.executable='{WAITING}'",
    )
    wait_for_start(driver, tmp_path / "runs" / "shoal")
    driver.send(signal.SIGTERM)
    assert driver.wait() == 130, driver.output
    assert containers_below(docker_engine, tmp_path) == []


def wait_for_start(driver: Driver, directory: Path) -> None:
    """Wait until the model has started."""
    wait_until(lambda: (directory / "started").exists() or driver.process.poll() is not None)
    assert (directory / "started").exists(), driver.output


def killed_driver(
    tmp_path: Path, start_driver: Callable[..., Driver], command: str = WAITING
) -> ContainerRun:
    """A run whose driver was killed while its model was running."""
    driver = start_driver(DRIVER, tmp_path / "runs", command)
    run = ContainerRun(tmp_path / "runs", (command,), "a run, with = signs", generate=False)
    wait_for_start(driver, run.workspace.path)
    driver.kill()
    return run


def test_a_running_container_of_a_killed_driver_is_reattached(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend()
    result = in_thread(lambda: backend.reattach(run.job(backend), {}))
    (run.workspace.path / "go").touch()
    outcome: Any = result()
    assert outcome.exit_code == 0
    assert outcome.facts["adopted"] is True
    assert outcome.facts["image"] == BUSYBOX
    assert outcome.seconds > 0
    assert (run.workspace.path / "result").read_text() == "done\n"


def test_a_container_that_finished_after_its_driver_was_killed_is_reattached(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver, f"{WAITING}; exit 9")
    (run.workspace.path / "go").touch()
    docker_engine.wait(containers_below(docker_engine, tmp_path)[0]["Id"])
    backend = run.backend()
    outcome = backend.reattach(run.job(backend), {})
    assert outcome is not None and outcome.exit_code == 9


def test_a_reattached_container_keeps_its_timeout(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(timeout=0.2)
    with pytest.raises(ModelTimedOut):
        backend.reattach(run.job(backend), {})


def test_a_container_that_was_killed_with_its_driver_is_removed(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    docker_engine.kill(containers_below(docker_engine, tmp_path)[0]["Id"])
    backend = run.backend()
    assert backend.reattach(run.job(backend), {}) is None
    assert containers_below(docker_engine, tmp_path) == []


def test_a_container_with_a_different_script_is_removed(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(executable="echo something else", kill_grace=0)
    assert backend.reattach(run.job(backend), {}) is None
    assert containers_below(docker_engine, tmp_path) == []


def test_cleaning_up_removes_the_container_of_a_killed_driver(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    run.backend().clean_up(run.workspace)
    assert containers_below(docker_engine, tmp_path) == []
    run.backend().clean_up(run.workspace)


def test_a_new_start_replaces_the_container_of_a_killed_driver(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(executable="echo again", kill_grace=0)
    assert backend.execute(run.job(backend)).exit_code == 0
    assert run.log.endswith("again\n")


def test_rerunning_the_command_reattaches_the_container_of_a_killed_driver(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    result = in_thread(lambda: run.model_run.pipeline(run_backend=DockerConfig(), processor="noop"))
    (run.workspace.path / "go").touch()
    answer: Any = result()
    assert answer["success"], answer
    record = RunRecord.load(run.workspace)
    assert record is not None
    assert (record.state, record.attempt) == ("completed", 1)
    assert record.backend_facts["adopted"] is True


def test_two_drivers_cannot_use_the_same_run_directory(in_container: Any) -> None:
    run = in_container(WAITING)
    first = in_thread(run.execute)
    wait_until((run.workspace.path / "started").exists)
    with pytest.raises(RunError, match="another driver is using"):
        run.execute()
    (run.workspace.path / "go").touch()
    outcome: Any = first()
    assert outcome.exit_code == 0


def test_a_container_removed_by_another_process_is_reported(
    in_container: Any, docker_engine: Any, tmp_path: Path
) -> None:
    run = in_container(WAITING)
    result = in_thread(run.execute)
    wait_until((run.workspace.path / "started").exists)
    docker_engine.remove_container(containers_below(docker_engine, tmp_path)[0]["Id"], force=True)
    answer = result()
    # The driver may notice that the container was killed before it notices that it was removed.
    assert "from outside" in str(answer if isinstance(answer, RunError) else answer.facts["why"])  # type: ignore[attr-defined]


def test_twelve_parallel_runs_share_one_engine(in_container: Any) -> None:
    runs = [in_container(f"echo {number}", run_id=f"run {number}") for number in range(12)]
    backend = DockerRunBackend()
    results = [in_thread(lambda run=run: backend.execute(run.job(backend))) for run in runs]  # type: ignore[misc]
    assert [getattr(result(), "exit_code", None) for result in results] == [0] * 12
    assert [run.log for run in runs] == [f"{number}\n" for number in range(12)]


def preflight_error(model_run: ModelRun, **fields: Any) -> str:
    """The message with which the preflight rejects a run; it must not write anything."""
    plan = plan_of(model_run, backend=DockerRunBackend(**fields))
    with pytest.raises(ConfigError) as error:
        preflight(plan)
    assert not model_run.output_dir.exists()
    return str(error.value)


@pytest.fixture
def new_run(docker_engine: Any, tmp_path: Path) -> ModelRun:
    config = BaseConfig(commands=("true",), image=BUSYBOX)
    return ModelRun(run_id="new", output_dir=tmp_path / "runs", config=config)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("unix:///nowhere/docker.sock", "nothing listens there. Start the engine"),
        ("tcp://127.0.0.1:9", "cannot be reached (DOCKER_HOST=tcp://127.0.0.1:9)"),
        ("bogus", "this is not a valid address. Write unix:///path"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_reported_on_one_line(
    host: str, message: str, new_run: ModelRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    error = preflight_error(new_run)
    assert message in error
    assert host in error
    assert "\n" not in error
    backend = DockerRunBackend()
    assert backend.image_key(BUSYBOX) == BUSYBOX
    with pytest.raises(RunLost, match="a container may still be running in"):
        backend.clean_up(new_run.workspace)


def test_missing_permission_for_the_socket_is_reported_with_instructions(
    docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    driver = start_driver(
        """
import os, docker
from rompy_hydra import DockerRunBackend
docker.from_env().close()  # imports modules that the other user may not read
os.setgroups([])
os.setgid(54321)
os.setuid(12345)
try:
    DockerRunBackend().preflight(("true",), set(), "rompy-hydra-test/busybox:1")
except ValueError as error:
    say(error)
"""
    )
    assert driver.wait() == 0, driver.output
    assert "this user may not use its socket. Join the group docker" in driver.output


def test_invalid_settings_are_reported_before_anything_is_written(
    new_run: ModelRun, tmp_path: Path
) -> None:
    message = preflight_error(
        new_run,
        volumes=(f"{tmp_path}/missing:/in:ro",),
        cpu=999,
        network="nosuch",
        image="no/such:1",
        pull="never",
    )
    lines = message.splitlines()
    assert len(lines) == 4
    assert f"the host path {tmp_path}/missing does not exist" in lines[0]
    assert "run_backend.cpu=999: the engine has" in lines[1]
    assert "run_backend.network=nosuch: the engine has no such network" in lines[2]
    assert "the engine has no image no/such:1, and run_backend.pull=never" in lines[3]


def test_an_image_that_cannot_be_pulled_is_reported(new_run: ModelRun) -> None:
    message = preflight_error(new_run, image="127.0.0.1:9/no/such:1")
    assert "the engine has no image 127.0.0.1:9/no/such:1 and cannot pull it" in message


def test_a_missing_image_is_reported_with_the_settings_that_specify_one(
    docker_engine: Any, tmp_path: Path
) -> None:
    bare = ModelRun(run_id="bare", output_dir=tmp_path / "runs", config=BaseConfig(commands=("true",)))
    assert "Give run_backend.image=NAME or run_backend.dockerfile=PATH" in preflight_error(bare)
    assert "run_backend.dockerfile: there is no file /nowhere/Dockerfile" in preflight_error(
        bare, dockerfile="/nowhere/Dockerfile"
    )


def test_a_program_that_is_not_one_of_the_files_is_reported(docker_engine: Any, tmp_path: Path) -> None:
    config = BaseConfig(commands=("./swan.exe",), image=BUSYBOX)
    run = ModelRun(run_id="bare", output_dir=tmp_path / "runs", config=config)
    assert "the program './swan.exe' is not among the run's files" in preflight_error(run)


@pytest.mark.parametrize("built", [False, True])
def test_a_valid_run_passes_ten_thousand_checks_quickly(
    built: bool, new_run: ModelRun, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"volumes": ("/tmp:/in:ro",), "network": "host"}
    if built:
        (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\n")
        for number in range(100):
            (tmp_path / f"module{number}.f90").write_text("end\n")
        fields["dockerfile"] = str(tmp_path / "Dockerfile")
    backend = DockerRunBackend(**fields)
    begin = time.monotonic()
    for _ in range(10_000):
        backend.preflight(("true",), set(), BUSYBOX)
        assert backend.image_key(BUSYBOX)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": "nobody-here"}, "does not know run_backend.user=nobody-here"),
        ({"user": "0:nobody-here"}, "does not know run_backend.user=0:nobody-here"),
        ({"cap_add": ("NO_SUCH_THING",)}, "give Linux capabilities"),
        ({"image": "rompy-hydra-test/noshell:1"}, "has no /bin/sh"),
        ({"image": "rompy-hydra-test/noshell:1", "init": False}, "has no /bin/sh"),
        ({"volumes": ("/no/where:/in",)}, "host path /no/where does not exist"),
        ({"network": "container:nosuch"}, "run_backend.network=container:nosuch"),
    ],
)
def test_a_setting_that_the_engine_rejects_is_reported_by_name(
    fields: dict[str, Any], message: str, in_container: Any
) -> None:
    run = in_container("true")
    with pytest.raises(RunError) as error:
        run.execute(**fields)
    assert message in str(error.value)
    assert run.model_run.run(DockerConfig(**fields)) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert record.state == "failed"
    assert message in str(record.error["message"])


def on_own_engine(own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ContainerRun:
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    return ContainerRun(tmp_path / "runs", (WAITING,))


def driver_is_waiting() -> bool:
    """Whether the driver waits for the container, which the engine has started."""
    return any(thread.name == "container engine" for thread in threading.enumerate())


def test_a_crash_of_the_engine_is_reported_and_the_next_start_runs_the_model_again(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    backend = run.backend()
    result = in_thread(lambda: run.model_run.run(backend))
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_is_waiting())
    own_engine.kill()
    assert result() is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert (record.state, record.error["type"]) == ("failed", "RunLost")
    message = str(record.error["message"])
    assert "stopped answering while the model was running" in message
    assert "Start the engine, then rerun the command" in message
    assert run.model_run.run(backend) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert (record.attempt, record.error["type"]) == (1, "RunLost")
    assert "a container may still be running in" in str(record.error["message"])
    own_engine.start()
    again = in_thread(lambda: run.model_run.run(backend))
    wait_until((run.workspace.path / "attempts" / "1" / "started").exists)
    wait_until((run.workspace.path / "started").exists)
    (run.workspace.path / "go").touch()
    assert again() is True
    record = RunRecord.load(run.workspace)
    assert record is not None
    assert (record.state, record.attempt) == ("completed", 2)


@pytest.mark.parametrize("own_engine", [("--live-restore",)], indirect=True)
def test_a_container_that_outlives_the_engine_is_reattached_when_the_engine_is_back(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    backend = run.backend()
    result = in_thread(lambda: run.model_run.run(backend))
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_is_waiting())
    own_engine.kill()
    (run.workspace.path / "go").touch()
    assert result() is False
    assert (run.workspace.path / "result").exists()
    own_engine.start("--live-restore")
    assert run.model_run.run(backend) is True
    record = RunRecord.load(run.workspace)
    assert record is not None
    assert (record.state, record.attempt, record.error) == ("completed", 1, None)
    assert record.backend_facts["adopted"] is True


@pytest.mark.parametrize("own_engine", [("--live-restore",)], indirect=True)
def test_a_restart_of_the_engine_does_not_disturb_a_run(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    result = in_thread(run.execute)
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_is_waiting())
    own_engine.kill()
    own_engine.start("--live-restore")
    (run.workspace.path / "go").touch()
    outcome: Any = result()
    assert getattr(outcome, "exit_code", outcome) == 0


def test_a_full_disk_during_a_build_is_reported(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    dockerfile = tmp_path / "docker" / "Dockerfile"
    dockerfile.parent.mkdir()
    dockerfile.write_text(f"FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=200\n")
    with pytest.raises(RunError) as error:
        run.execute(dockerfile=str(dockerfile))
    assert "the engine's disk is full" in str(error.value)
    assert "docker system prune" in str(error.value)
