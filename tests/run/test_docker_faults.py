"""What goes wrong with containers: limits, interrupts, dead drivers, dead engines, bad settings."""

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
    # The docker package forgets a socket that cannot be connected.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PYTHON = "rompy-hydra-test/python:1"
# Tells when it has started, and ends when it is let go.
HELD = "touch started; until [ -e go ]; do sleep 0.05; done; echo done > result"
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
def forgotten_sockets() -> Iterator[None]:
    """Such sockets end with the test that made them."""
    yield
    gc.collect()


def in_thread(work: Callable[[], object]) -> Callable[[], object]:
    """Do something in a thread; the answer waits for what it returned or raised."""
    results: list[object] = []

    def do() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - the answer may be an interrupt
            results.append(error)

    thread = threading.Thread(target=do)
    thread.start()

    def result() -> object:
        thread.join(LIMIT)
        return results[0]

    return result


def test_too_much_memory_is_told_with_the_limit(in_container: Any) -> None:
    run = in_container("python3 -c 'data = bytearray(200_000_000)'", image=PYTHON)
    outcome = run.execute(memory="32m")
    assert outcome.exit_code == 137
    assert (
        outcome.facts["why"]
        == "it ran out of memory: the limit of its container is 32m (run_backend.memory)"
    )
    assert run.model_run.run(DockerConfig(memory="32m")) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert "exited with 137 (SIGKILL); it ran out of memory" in str(record.error["message"])


def test_a_script_that_goes_on_after_its_program_ran_out_of_memory_has_failed(in_container: Any) -> None:
    run = in_container("python3 -c 'data = bytearray(200_000_000)' || true; echo went on", image=PYTHON)
    outcome = run.execute(memory="32m")
    assert "went on" in run.log
    assert outcome.exit_code == 137
    assert "ran out of memory" in outcome.facts["why"]


def test_a_higher_limit_lets_the_same_run_directory_go_on(in_container: Any) -> None:
    run = in_container("python3 -c 'data = bytearray(100_000_000)'", image=PYTHON)
    assert run.model_run.run(DockerConfig(memory="32m")) is False
    assert run.model_run.run(DockerConfig(memory="256m")) is True


def test_a_timeout_ends_the_model_with_all_its_children(in_container: Any) -> None:
    run = in_container("setsid sh -c 'while :; do echo child >> child; sleep 0.02; done' & sleep 600")
    with pytest.raises(ModelTimedOut, match=r"did not end within 0.5 s \(run_backend.timeout\)"):
        run.execute(timeout=0.5)
    size = (run.workspace.path / "child").stat().st_size
    assert living(f"{run.workspace.path}/run.sh") == []
    assert (run.workspace.path / "child").stat().st_size == size


def test_a_model_is_asked_to_end_before_it_is_ended(in_container: Any) -> None:
    tidy = "(trap 'echo tidied up > last; exit 0' TERM; while :; do sleep 0.05; done) & wait"
    run = in_container(tidy)
    with pytest.raises(ModelTimedOut):
        run.execute(timeout=0.3)
    assert (run.workspace.path / "last").read_text() == "tidied up\n"


def test_a_model_that_does_not_end_by_itself_has_only_the_grace_that_is_given(in_container: Any) -> None:
    run = in_container("trap '' TERM; while :; do sleep 0.05; done")
    begin = time.monotonic()
    with pytest.raises(ModelTimedOut):
        run.execute(timeout=0.3, kill_grace=0.2)
    assert time.monotonic() - begin < 4.5


def test_another_thread_can_stop_a_run(in_container: Any) -> None:
    run = in_container(HELD)
    stop = StopSignal()
    result = in_thread(lambda: run.execute(stop))
    wait_until((run.workspace.path / "started").exists)
    stop.set()
    assert isinstance(result(), KeyboardInterrupt)
    stop.close()


def test_ctrl_c_ends_the_container_and_the_record_says_so(
    docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    driver = start_driver(DRIVER, tmp_path, HELD)
    directory = tmp_path / "a run, with = signs"
    wait_for_start(driver, directory)
    driver.send(signal.SIGINT)
    assert driver.wait() == 0, driver.output
    assert "interrupted" in driver.output
    assert containers_below(docker_engine, tmp_path) == []
    record = RunRecord.read(directory / "run.json")
    assert record is not None and record.state == "interrupted"


def test_sigterm_to_the_command_ends_the_container(
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
        f"run_backend.executable='{HELD}'",
    )
    wait_for_start(driver, tmp_path / "runs" / "shoal")
    driver.send(signal.SIGTERM)
    assert driver.wait() == 130, driver.output
    assert containers_below(docker_engine, tmp_path) == []


def wait_for_start(driver: Driver, directory: Path) -> None:
    """Wait until the model has started."""
    wait_until(lambda: (directory / "started").exists() or driver.process.poll() is not None)
    assert (directory / "started").exists(), driver.output


def killed_driver(tmp_path: Path, start_driver: Callable[..., Driver], command: str = HELD) -> ContainerRun:
    """A run whose driver was killed while the model runs."""
    driver = start_driver(DRIVER, tmp_path / "runs", command)
    run = ContainerRun.__new__(ContainerRun)
    config = BaseConfig(commands=(command,), image=BUSYBOX)
    run.model_run = ModelRun(run_id="a run, with = signs", output_dir=tmp_path / "runs", config=config)
    run.workspace = run.model_run.workspace
    wait_for_start(driver, run.workspace.path)
    driver.kill()
    return run


def test_a_container_whose_driver_was_killed_is_waited_for(
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


def test_a_container_that_ended_after_its_driver_was_killed_is_taken_over(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver, f"{HELD}; exit 9")
    (run.workspace.path / "go").touch()
    docker_engine.wait(containers_below(docker_engine, tmp_path)[0]["Id"])
    backend = run.backend()
    outcome = backend.reattach(run.job(backend), {})
    assert outcome is not None and outcome.exit_code == 9


def test_what_is_taken_over_keeps_its_time_limit(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(timeout=0.2)
    with pytest.raises(ModelTimedOut):
        backend.reattach(run.job(backend), {})


def test_a_container_that_was_killed_with_its_driver_is_no_result(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    docker_engine.kill(containers_below(docker_engine, tmp_path)[0]["Id"])
    backend = run.backend()
    assert backend.reattach(run.job(backend), {}) is None
    assert containers_below(docker_engine, tmp_path) == []


def test_a_container_of_another_script_is_not_taken_over(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(executable="echo something else", kill_grace=0)
    assert backend.reattach(run.job(backend), {}) is None
    assert containers_below(docker_engine, tmp_path) == []


def test_cleaning_up_ends_what_a_killed_driver_left(
    in_container: Any, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    run.backend().clean_up(run.workspace)
    assert containers_below(docker_engine, tmp_path) == []
    run.backend().clean_up(run.workspace)


def test_a_new_start_takes_the_place_of_what_a_killed_driver_left(
    in_container: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    run = killed_driver(tmp_path, start_driver)
    backend = run.backend(executable="echo anew", kill_grace=0)
    assert backend.execute(run.job(backend)).exit_code == 0
    assert run.log.endswith("anew\n")


def test_the_same_command_again_goes_on_where_a_killed_driver_was(
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


def test_two_drivers_do_not_work_in_one_directory(in_container: Any) -> None:
    run = in_container(HELD)
    first = in_thread(run.execute)
    wait_until((run.workspace.path / "started").exists)
    with pytest.raises(RunError, match="another driver works in"):
        run.execute()
    (run.workspace.path / "go").touch()
    outcome: Any = first()
    assert outcome.exit_code == 0


def test_a_container_that_is_removed_from_outside_is_told(
    in_container: Any, docker_engine: Any, tmp_path: Path
) -> None:
    run = in_container(HELD)
    result = in_thread(run.execute)
    wait_until((run.workspace.path / "started").exists)
    docker_engine.remove_container(containers_below(docker_engine, tmp_path)[0]["Id"], force=True)
    answer = result()
    # Its end and its removal are two things, and the driver may see the one without the other.
    assert "from outside" in str(answer if isinstance(answer, RunError) else answer.facts["why"])  # type: ignore[attr-defined]


def test_twelve_runs_at_once_share_one_engine(in_container: Any) -> None:
    runs = [in_container(f"echo {number}", run_id=f"run {number}") for number in range(12)]
    backend = DockerRunBackend()
    results = [in_thread(lambda run=run: backend.execute(run.job(backend))) for run in runs]  # type: ignore[misc]
    assert [getattr(result(), "exit_code", None) for result in results] == [0] * 12
    assert [run.log for run in runs] == [f"{number}\n" for number in range(12)]


def refusal(model_run: ModelRun, **fields: Any) -> str:
    """What a check says, which leaves nothing behind."""
    plan = plan_of(model_run, backend=DockerRunBackend(**fields))
    with pytest.raises(ConfigError) as error:
        preflight(plan)
    assert not model_run.output_dir.exists()
    return str(error.value)


@pytest.fixture
def unmade(docker_engine: Any, tmp_path: Path) -> ModelRun:
    config = BaseConfig(commands=("true",), image=BUSYBOX)
    return ModelRun(run_id="unmade", output_dir=tmp_path / "runs", config=config)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("unix:///nowhere/docker.sock", "nothing listens there. Start it"),
        ("tcp://127.0.0.1:9", "cannot be reached (DOCKER_HOST=tcp://127.0.0.1:9)"),
        ("bogus", "this is no address. Write unix:///path"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_told_in_one_line(
    host: str, told: str, unmade: ModelRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    message = refusal(unmade)
    assert told in message
    assert host in message
    assert "\n" not in message
    backend = DockerRunBackend()
    assert backend.image_key(BUSYBOX) == BUSYBOX
    with pytest.raises(RunLost, match="a container may still work in"):
        backend.clean_up(unmade.workspace)


def test_a_user_without_permission_is_told_what_to_do(
    docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    driver = start_driver(
        """
import os, docker
from rompy_hydra import DockerRunBackend
docker.from_env().close()  # imports what the other user may not read
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


def test_a_wrong_setting_is_told_before_anything_is_written(unmade: ModelRun, tmp_path: Path) -> None:
    message = refusal(
        unmade,
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


def test_an_image_that_cannot_be_pulled_is_told(unmade: ModelRun) -> None:
    message = refusal(unmade, image="127.0.0.1:9/no/such:1")
    assert "the engine has no image 127.0.0.1:9/no/such:1 and cannot pull it" in message


def test_without_any_image_it_is_told_which_setting_gives_one(docker_engine: Any, tmp_path: Path) -> None:
    bare = ModelRun(run_id="bare", output_dir=tmp_path / "runs", config=BaseConfig(commands=("true",)))
    assert "give run_backend.image=NAME or run_backend.dockerfile=PATH" in refusal(bare)
    assert "run_backend.dockerfile: there is no file /nowhere/Dockerfile" in refusal(
        bare, dockerfile="/nowhere/Dockerfile"
    )


def test_a_program_that_is_not_among_the_files_is_told(docker_engine: Any, tmp_path: Path) -> None:
    config = BaseConfig(commands=("./swan.exe",), image=BUSYBOX)
    run = ModelRun(run_id="bare", output_dir=tmp_path / "runs", config=config)
    assert "the program './swan.exe' is not among the run's files" in refusal(run)


@pytest.mark.parametrize("built", [False, True])
def test_a_run_that_can_work_passes_ten_thousand_checks_quickly(
    built: bool, unmade: ModelRun, tmp_path: Path
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
    ("fields", "told"),
    [
        ({"user": "nobody-here"}, "does not know run_backend.user=nobody-here"),
        ({"user": "0:nobody-here"}, "does not know run_backend.user=0:nobody-here"),
        ({"cap_add": ("NO_SUCH_THING",)}, "name Linux capabilities"),
        ({"image": "rompy-hydra-test/noshell:1"}, "has no /bin/sh"),
        ({"image": "rompy-hydra-test/noshell:1", "init": False}, "has no /bin/sh"),
        ({"volumes": ("/no/where:/in",)}, "host path /no/where does not exist"),
        ({"network": "container:nosuch"}, "run_backend.network=container:nosuch"),
    ],
)
def test_what_the_engine_refuses_is_told_with_the_setting(
    fields: dict[str, Any], told: str, in_container: Any
) -> None:
    run = in_container("true")
    with pytest.raises(RunError) as error:
        run.execute(**fields)
    assert told in str(error.value)
    assert run.model_run.run(DockerConfig(**fields)) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert record.state == "failed"
    assert told in str(record.error["message"])


def on_own_engine(own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ContainerRun:
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    return ContainerRun(tmp_path / "runs", (HELD,), "shoal")


def driver_waits() -> bool:
    """Whether the engine has answered that the container is started."""
    return any(thread.name == "container engine" for thread in threading.enumerate())


def test_an_engine_that_dies_in_mid_run_is_told_and_the_next_start_begins_anew(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    backend = run.backend()
    result = in_thread(lambda: run.model_run.run(backend))
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_waits())
    own_engine.kill()
    assert result() is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert (record.state, record.error["type"]) == ("failed", "RunLost")
    message = str(record.error["message"])
    assert "went away while the model ran" in message
    assert "Start it again, then run the same command" in message
    assert run.model_run.run(backend) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert (record.attempt, record.error["type"]) == (1, "RunLost")
    assert "a container may still work in" in str(record.error["message"])
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
def test_a_container_that_outlives_its_engine_is_taken_over_when_it_is_back(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    backend = run.backend()
    result = in_thread(lambda: run.model_run.run(backend))
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_waits())
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
def test_an_engine_that_is_only_restarted_is_not_noticed(
    own_engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_own_engine(own_engine, tmp_path, monkeypatch)
    result = in_thread(run.execute)
    wait_until(lambda: (run.workspace.path / "started").exists() and driver_waits())
    own_engine.kill()
    own_engine.start("--live-restore")
    (run.workspace.path / "go").touch()
    outcome: Any = result()
    assert getattr(outcome, "exit_code", outcome) == 0


def test_a_full_disk_during_a_build_is_told(
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
