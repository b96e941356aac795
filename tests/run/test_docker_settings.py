"""Each setting of the docker backend takes effect in a container of a real engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import Beach, DockerConfig, ModelRun, RunRecord
from rompy_hydra.errors import RunError
from rompy_hydra.run.docker.engine import get_engine

pytestmark = pytest.mark.docker

PYTHON = "rompy-hydra-test/python:1"


def cgroup(controller: str, old: str, new: str) -> str:
    """A shell command that prints a limit, with cgroup v1 or v2."""
    return f"cat /sys/fs/cgroup/{controller}/{old} 2>/dev/null || cat /sys/fs/cgroup/{new}"


def test_the_log_contains_all_output_and_the_outcome_contains_the_facts(in_container: Any) -> None:
    run = in_container("echo out; echo err >&2", "printf 'no line end'")
    outcome = run.execute()
    assert run.log == "out\nerr\nno line end"
    assert outcome.exit_code == 0
    assert outcome.seconds > 0
    assert outcome.facts["image"] == "rompy-hydra-test/busybox:1"
    assert outcome.facts["image_id"].startswith("sha256:")
    assert len(outcome.facts["container"]) == 64
    assert outcome.facts["engine"]
    assert run.workspace.exit_code() == 0


def test_the_exit_code_of_the_command_is_reported(in_container: Any) -> None:
    run = in_container("exit 42", "echo never")
    assert run.execute().exit_code == 42
    assert run.workspace.exit_code() == 42
    assert run.log == ""


def test_cpu_time_and_memory_are_reported(in_container: Any) -> None:
    work = "begin = time.process_time()\nwhile time.process_time() < begin + 0.5: pass"
    run = in_container(f"python3 -c \"import time; data = b'x' * 60_000_000; {work}\"", image=PYTHON)
    outcome = run.execute()
    assert outcome.cpu_seconds is not None and 0.5 <= outcome.cpu_seconds < 5
    assert outcome.peak_memory_bytes is not None and outcome.peak_memory_bytes > 60e6


def test_the_image_of_the_backend_takes_precedence_over_that_of_the_model(in_container: Any) -> None:
    run = in_container("python3 -c 'print(1)'")
    assert run.execute(image=PYTHON).facts["image"] == PYTHON


def test_the_run_directory_is_mounted_at_the_same_path(in_container: Any) -> None:
    run = in_container("pwd; echo made > here", run_id="a run, with = signs")
    run.execute()
    assert run.log.strip() == str(run.workspace.path)
    assert (run.workspace.path / "here").read_text() == "made\n"


def test_the_container_sees_only_the_run_directory(in_container: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    run = in_container(f"ls -A {tmp_path} {tmp_path}/runs")
    run.execute()
    assert "secret" not in run.log


def test_an_executable_replaces_the_commands(in_container: Any) -> None:
    run = in_container("echo own")
    run.execute(executable="echo 'of the backend'")
    assert run.log == "of the backend\n"


def test_mpiexec_starts_one_process_of_the_executable_per_core(in_container: Any) -> None:
    run = in_container("echo own")
    run.execute(mpiexec="echo mpirun --bind", executable="./swan -v", cpu=2)
    assert run.log == "mpirun --bind -n 2 ./swan -v\n"


def test_cpu_limits_the_cpu_time(in_container: Any) -> None:
    run = in_container(cgroup("cpu", "cpu.cfs_quota_us", "cpu.max"))
    run.execute(cpu=0.5)
    assert run.log.split()[0] == "50000"


def test_memory_limits_the_memory(in_container: Any) -> None:
    run = in_container(cgroup("memory", "memory.limit_in_bytes", "memory.max"))
    run.execute(memory="64m")
    assert run.log.strip() == str(64 * 2**20)


def test_pids_limit_limits_the_processes(in_container: Any) -> None:
    run = in_container(cgroup("pids", "pids.max", "pids.max"))
    run.execute(pids_limit=77)
    assert run.log.strip() == "77"


def test_the_number_of_processes_is_limited_by_default(in_container: Any) -> None:
    run = in_container(cgroup("pids", "pids.max", "pids.max"))
    run.execute()
    assert run.log.strip() == "4096"


def test_shm_size_sets_the_size_of_the_shared_memory(in_container: Any) -> None:
    run = in_container("grep /dev/shm /proc/mounts")
    run.execute(shm_size="8m")
    assert "size=8192k" in run.log


def test_gpus_are_requested_from_the_engine(in_container: Any, docker_engine: Any) -> None:
    if "nvidia" in docker_engine.info().get("Runtimes", {}):
        pytest.skip("this engine has GPUs")
    run = in_container("true")
    for value in ("all", 1, "device=0,1"):
        with pytest.raises(RunError, match=r"cannot provide GPUs.*run_backend.gpus"):
            run.execute(gpus=value)


def test_a_read_only_volume_cannot_be_changed(in_container: Any, tmp_path: Path) -> None:
    data = tmp_path / "my data: été, x"
    data.mkdir()
    (data / "tide").write_text("tide\n")
    run = in_container("cat /in/tide; echo mine > /in/tide; rm /in/tide; touch /in/new; true")
    run.execute(volumes=(f"{data}:/in:ro",))
    assert run.log.startswith("tide\n")
    assert run.log.count("Read-only file system") == 3
    assert [path.name for path in data.iterdir()] == ["tide"]
    assert (data / "tide").read_text() == "tide\n"


def test_one_host_path_can_be_mounted_several_times_also_with_labels(
    in_container: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    run = in_container("echo written > /rw/file; cat /ro/file /shared/file; echo no > /shared/x; true")
    run.execute(volumes=(f"{data}:/rw", f"{data}:/ro:ro", f"{data}:/shared:ro,z"))
    assert run.log.startswith("written\nwritten\n")
    assert "Read-only file system" in run.log
    assert [path.name for path in data.iterdir()] == ["file"]


def test_a_relative_host_path_is_resolved_against_the_working_directory(
    in_container: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tide").write_text("tide\n")
    monkeypatch.chdir(tmp_path)
    run = in_container("cat /in/tide")
    run.execute(volumes=("./data:/in:ro",))
    assert run.log == "tide\n"


def test_a_linked_input_is_readable_but_not_writable(in_container: Any, tmp_path: Path) -> None:
    (tmp_path / "large data").mkdir()
    source = tmp_path / "large data" / "bathymetry.nc"
    source.write_text("deep\n")
    (tmp_path / "latest.nc").symlink_to(source)
    run = in_container(
        "cat linked chained; echo shallow > linked; true",
        files=(
            {"source": str(source), "target": "linked", "link": True},
            {"source": str(tmp_path / "latest.nc"), "target": "chained", "link": True},
        ),
    )
    assert (run.workspace.path / "linked").is_symlink()
    run.execute()
    assert run.log.startswith("deep\ndeep\n")
    assert "Read-only file system" in run.log
    assert source.read_text() == "deep\n"


def test_environment_variables_arrive_unchanged(in_container: Any) -> None:
    value = "two words 'and' \"quotes\" $HOME\nanother line"
    run = in_container('printf "%s|%s" "$VALUE" "$OWN"', env={"OWN": "model", "VALUE": "hidden"})
    run.execute(env_vars={"VALUE": value})
    assert run.log == f"{value}|model"


def test_secrets_reach_the_model_and_are_never_written_to_a_file(in_container: Any, tmp_path: Path) -> None:
    run = in_container('echo "${#API_TOKEN} letters"')
    config = DockerConfig(env_vars={"API_TOKEN": "hush-hush"})
    assert run.model_run.run(config) is True
    assert run.log == "9 letters\n"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hush-hush" not in path.read_bytes(), path


def test_commands_start_in_the_working_directory(in_container: Any) -> None:
    run = in_container("pwd")
    run.execute(working_dir="/bin")
    assert run.log == "/bin\n"
    assert run.workspace.exit_code() == 0


def test_a_missing_working_directory_is_reported_in_the_log(in_container: Any) -> None:
    run = in_container("pwd")
    assert run.execute(working_dir="/no/where").exit_code == 126
    assert "/no/where" in run.log


def test_by_default_the_container_has_only_the_rights_of_its_user(in_container: Any) -> None:
    run = in_container("grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status; cat /proc/1/comm")
    run.execute()
    *status, first_process = run.log.split()
    assert status == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert first_process.endswith("-init")


def test_each_restriction_can_be_lifted_by_its_setting(in_container: Any) -> None:
    run = in_container("grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; cat /proc/1/comm")
    run.execute(cap_add=("CHOWN", "SYS_PTRACE"), no_new_privileges=False, init=False)
    capabilities = f"{(1 << 0) | (1 << 19):016x}"
    assert run.log.split() == ["CapBnd:", capabilities, "NoNewPrivs:", "0", "sh"]


def test_by_default_there_is_no_network_but_the_name_of_the_container_resolves(in_container: Any) -> None:
    run = in_container(
        "python3 -c \"import os, socket; print(sorted(os.listdir('/sys/class/net')), "
        'socket.gethostbyname(socket.gethostname()))"',
        image=PYTHON,
    )
    run.execute()
    assert "eth" not in run.log
    assert "127.0.0.1" in run.log


def test_the_container_can_use_the_network_of_the_host(in_container: Any) -> None:
    run = in_container("ls /sys/class/net")
    run.execute(network="host")
    assert run.log.split() == sorted(os.listdir("/sys/class/net"))


def test_the_entry_point_and_other_defaults_of_the_image_do_not_interfere(
    in_container: Any, docker_engine: Any, tmp_path: Path
) -> None:
    dockerfile = tmp_path / "docker" / "Dockerfile"
    dockerfile.parent.mkdir()
    dockerfile.write_text(
        'FROM rompy-hydra-test/busybox:1\nENTRYPOINT ["/bin/false"]\nCMD ["nothing"]\nWORKDIR /elsewhere\n'
        "ENV GREETING=hello\nENV HOME=/home/model\nSTOPSIGNAL SIGKILL\nHEALTHCHECK CMD false\n"
    )
    run = in_container('echo "$GREETING $HOME"; pwd')
    outcome = run.execute(dockerfile=str(dockerfile))
    docker_engine.remove_image(outcome.facts["image"])
    assert run.log == f"hello /home/model\n{run.workspace.path}\n"


def test_a_kept_container_does_not_block_the_next_run(in_container: Any, docker_engine: Any) -> None:
    run = in_container("echo once")
    kept = [run.execute(remove_container=False).facts["container"] for _ in range(2)]
    backend = run.backend()
    adopted = backend.reattach(run.job(backend), {})
    assert adopted is None or "container" not in adopted.facts
    backend.clean_up(run.workspace)
    for container in kept:
        facts = docker_engine.inspect_container(container)
        assert facts["State"]["Status"] == "exited"
        assert facts["Name"].startswith("/rompy_hydra-shoal-")
        docker_engine.remove_container(container)


@pytest.fixture
def foreign_directory() -> Iterator[Path]:
    """A directory in /tmp that another user owns."""
    if os.getuid() != 0:
        pytest.skip("changing the owner of a directory needs root")
    directory = Path(tempfile.mkdtemp(prefix="rompy_hydra-"))
    os.chown(directory, 12345, 54321)
    yield directory
    shutil.rmtree(directory)


def test_outputs_belong_to_the_calling_user(
    docker_engine: Any, foreign_directory: Path, start_driver: Callable[..., Any]
) -> None:
    """The driver runs as another user, who may only use the engine's socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    socket = Path(host.removeprefix("unix://"))
    driver = start_driver(
        """
import os
import docker
from rompy_hydra import DockerConfig
docker.from_env().close()  # imports modules that the other user may not read
os.setgroups([int(sys.argv[2])])
os.setgid(54321)
os.setuid(12345)
config = BaseConfig(commands=("id -u; id -g; mkdir made; echo out > made/file; echo $HOME",),
                    image="rompy-hydra-test/busybox:1")
run = ModelRun(run_id="mine", output_dir=sys.argv[1], config=config)
say(run.run(DockerConfig()))
""",
        foreign_directory,
        socket.stat().st_gid,
    )
    assert driver.wait() == 0, driver.output
    assert "True" in driver.output, driver.output
    directory = foreign_directory / "mine"
    assert (directory / "run.log").read_text().split() == ["12345", "54321", "/tmp"]
    for path in [directory, *directory.rglob("*")]:
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321), path


def test_a_run_of_root_in_another_users_directory_runs_as_that_user(
    in_container: Any, foreign_directory: Path
) -> None:
    run = in_container("id -u; echo out > file")
    workspace = foreign_directory / "given"
    shutil.copytree(run.workspace.path, workspace)
    os.chown(workspace, 12345, 54321)
    run.workspace = type(run.workspace)(workspace)
    assert run.execute().exit_code == 0
    assert run.log == "12345\n"
    assert (workspace / "file").stat().st_uid == 12345


def test_the_user_can_be_set(in_container: Any) -> None:
    run = in_container("id -u; id -g; echo out > file; echo $HOME")
    os.chmod(run.workspace.path, 0o777)
    run.execute(user="1234:5678")
    assert run.log == "1234\n5678\n/tmp\n"
    facts = (run.workspace.path / "file").stat()
    assert (facts.st_uid, facts.st_gid) == (1234, 5678)


def test_a_user_who_may_not_write_to_the_run_directory_is_reported(in_container: Any) -> None:
    run = in_container("echo out > file")
    outcome = run.execute(user="1234:5678")
    assert outcome.exit_code != 0
    assert "1234:5678 may not write to" in outcome.facts["why"]
    assert "leave run_backend.user null" in outcome.facts["why"]


def test_the_default_model_writes_the_same_bytes_in_a_container(docker_engine: Any, tmp_path: Path) -> None:
    results = []
    for backend in ("local", "docker"):
        run = ModelRun(run_id=backend, output_dir=tmp_path, config=Beach())
        answer = run.pipeline(run_backend=backend, processor="noop")
        assert answer["success"], answer
        results.append((run.workspace.path / "profile.csv").read_bytes())
    assert results[0] == results[1]
    record = RunRecord.load(ModelRun(run_id="docker", output_dir=tmp_path, config=Beach()).workspace)
    assert record is not None
    assert record.backend_facts["image"] == "python:3.12-slim"
    assert str(record.backend_facts["image_id"]).startswith("sha256:")


def test_a_completed_run_is_skipped_until_its_image_changes(
    docker_engine: Any, in_container: Any, tmp_path: Path
) -> None:
    docker_engine.tag("rompy-hydra-test/busybox:1", "rompy-hydra-test/moving", "1")
    try:
        run = in_container("cat /proc/sys/kernel/random/uuid", image="rompy-hydra-test/moving:1")
        backend = run.backend()
        first = run.model_run.pipeline(run_backend=backend, processor="noop")
        log = run.log
        run.model_run.pipeline(run_backend=backend, processor="noop")
        assert first["success"]
        assert run.log == log
        docker_engine.tag(PYTHON, "rompy-hydra-test/moving", "1", force=True)
        get_engine().cache.clear()
        run.model_run.pipeline(run_backend=run.backend(), processor="noop")
        assert run.log != log
    finally:
        docker_engine.remove_image("rompy-hydra-test/moving:1")
