"""Fixtures for the tests of run backends: real container engines, and runs in containers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rompy_hydra import BaseConfig, DockerRunBackend, ModelRun
from rompy_hydra.errors import RunError
from rompy_hydra.process import StopSignal
from rompy_hydra.run import Job, Outcome
from tests.conftest import LIMIT, living, wait_until

BUSYBOX = "rompy-hydra-test/busybox:1"


def engine_is_required() -> bool:
    """Whether a missing engine fails the tests, as in CI, instead of skipping them."""
    return os.environ.get("CI") == "true" or os.environ.get("ROMPY_HYDRA_REQUIRE_DOCKER") == "1"


@pytest.fixture(scope="session")
def docker_engine() -> Any:
    """The API of the real engine; if it is missing, the test is skipped with the reason, or fails in CI."""
    from rompy_hydra.run.docker.engine import get_engine

    try:
        found = get_engine()
        missing = None if found.image(BUSYBOX) else f"the engine has no image {BUSYBOX}"
    except RunError as error:
        missing = str(error)
    if missing is None:
        return found.api
    message = f"{missing} (tests/services/docker.sh start)"
    if engine_is_required():
        pytest.fail(message)
    pytest.skip(message)


class ContainerRun:
    """A run of shell commands in a container."""

    def __init__(
        self,
        directory: Path,
        commands: tuple[str, ...],
        run_id: str = "shoal",
        *,
        generate: bool = True,
        **model: Any,
    ) -> None:
        config = BaseConfig(commands=commands, **{"image": BUSYBOX, **model})
        self.model_run = ModelRun(run_id=run_id, output_dir=directory, config=config)
        self.workspace = self.model_run.workspace
        if generate:
            self.model_run.generate()

    def backend(self, **fields: Any) -> DockerRunBackend:
        return DockerRunBackend(**fields)

    def job(self, backend: DockerRunBackend, stop: StopSignal | None = None) -> Job:
        return backend.job(self.model_run, self.model_run.config, self.workspace, stop)

    def execute(self, stop: StopSignal | None = None, **fields: Any) -> Outcome:
        backend = self.backend(**fields)
        return backend.execute(self.job(backend, stop))

    @property
    def log(self) -> str:
        return self.workspace.log.read_text()


@pytest.fixture
def in_container(docker_engine: Any, tmp_path: Path) -> Iterator[Callable[..., ContainerRun]]:
    """Create runs of shell commands; the test fails if it leaves any of their containers behind."""

    def make(*commands: str, run_id: str = "shoal", **model: Any) -> ContainerRun:
        return ContainerRun(tmp_path / "runs", commands, run_id, **model)

    yield make
    left = containers_below(docker_engine, tmp_path)
    for container in left:
        docker_engine.remove_container(container["Id"], force=True, v=True)
    assert not left, f"containers were left: {[c['Names'] for c in left]}"


def containers_below(api: Any, directory: Path) -> list[Any]:
    """All containers, running or not, whose run directory is below a directory."""
    found = api.containers(all=True, filters={"label": ["rompy_hydra.workspace"]})
    return [c for c in found if c["Labels"]["rompy_hydra.workspace"].startswith(f"{directory}/")]


class OwnEngine:
    """A second engine with a small disk, which the test may kill."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self.host = f"unix://{directory}/docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None
        self.api: Any = None

    def start(self, *options: str) -> None:
        """Start the daemon and wait until it answers."""
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        # The pid files of a killed daemon prevent the next start until its processes have been reaped.
        (self._directory / "docker.pid").unlink(missing_ok=True)
        (self._directory / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        with (self._directory / "dockerd.log").open("ab") as log:
            command = ["dockerd", "--bridge=none", "--iptables=false", f"--host={self.host}"]
            command += [f"--data-root={self._data}", f"--exec-root={self._directory}/exec"]
            command += [f"--pidfile={self._directory}/docker.pid", *options]
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        self.api = docker.APIClient(base_url=self.host, version="1.41", timeout=30)

        def answers() -> bool:
            assert self._daemon is not None and self._daemon.poll() is None, "dockerd did not start"
            try:
                return bool(self.api.ping())
            except (DockerException, RequestException):
                return False

        wait_until(answers)

    def kill(self) -> None:
        """Simulate a crash of the engine, with SIGKILL."""
        self.api.close()
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait(LIMIT)

    def stop(self) -> None:
        """Stop the daemon and everything that it started."""
        if self.api is not None:
            self.api.close()
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            self._daemon.wait(LIMIT)
        # A killed daemon leaves a shim for each container, with the processes of the container as children.
        for pid in living(str(self._directory / "exec")):
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


@pytest.fixture
def own_engine(
    docker_engine: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OwnEngine]:
    """A running engine for this test only, with the small test image and 64 MB of disk.

    The parameter is a list of options of the daemon.
    """
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        message = "a second engine needs root and dockerd"
        pytest.fail(message) if engine_is_required() else pytest.skip(message)
    directory = tmp_path_factory.mktemp("engine")
    (directory / "data").mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(directory / "data")]
    subprocess.run(disk, check=True)
    engine = OwnEngine(directory)
    try:
        engine.start(*getattr(request, "param", ()))
        engine.api.load_image(b"".join(docker_engine.get_image(BUSYBOX)))
        yield engine
    finally:
        engine.stop()
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for mount in sorted((line.split()[1] for line in mounts), reverse=True):
            if mount.startswith(f"{directory}/"):
                subprocess.run(["umount", "--lazy", mount], check=True)
