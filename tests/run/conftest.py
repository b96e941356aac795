"""What the tests of the run backends share: a real container engine, and jobs for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import BaseConfig, DockerRunBackend, ModelRun
from rompy_hydra.errors import RunError
from rompy_hydra.process import StopSignal
from rompy_hydra.run import Job, Outcome

BUSYBOX = "rompy-hydra-test/busybox:1"


def engine_is_required() -> bool:
    """In CI an absent engine is a failure; on a laptop the tests that need it are left out."""
    return os.environ.get("CI") == "true" or os.environ.get("ROMPY_HYDRA_REQUIRE_DOCKER") == "1"


@pytest.fixture(scope="session")
def docker_engine() -> Any:
    """The API of the real engine; without one the test is skipped with the reason, or fails in CI."""
    from rompy_hydra.run.docker_engine import engine

    try:
        found = engine()
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
    """A run of shell lines in a container: what tests look at."""

    def __init__(self, directory: Path, commands: tuple[str, ...], run_id: str, **model: Any) -> None:
        model = {"image": BUSYBOX, **model}
        config = BaseConfig(commands=commands, **model)
        self.model_run = ModelRun(run_id=run_id, output_dir=directory, config=config)
        self.model_run.generate()
        self.workspace = self.model_run.workspace

    def backend(self, **fields: Any) -> DockerRunBackend:
        return DockerRunBackend(**fields)

    def job(self, backend: DockerRunBackend, stop: StopSignal | None = None) -> Job:
        return backend.job(self.model_run, self.workspace, stop)

    def execute(self, stop: StopSignal | None = None, **fields: Any) -> Outcome:
        backend = self.backend(**fields)
        return backend.execute(self.job(backend, stop))

    @property
    def log(self) -> str:
        return self.workspace.log.read_text()


@pytest.fixture
def in_container(docker_engine: Any, tmp_path: Path) -> Iterator[Callable[..., ContainerRun]]:
    """Make runs of shell lines; at the end of the test no container of theirs may be left."""

    def make(*commands: str, run_id: str = "shoal", **model: Any) -> ContainerRun:
        return ContainerRun(tmp_path / "runs", commands, run_id, **model)

    yield make
    left = containers_below(docker_engine, tmp_path)
    for container in left:
        docker_engine.remove_container(container["Id"], force=True, v=True)
    assert not left, f"containers were left: {[c['Names'] for c in left]}"


def containers_below(api: Any, directory: Path) -> list[Any]:
    """The containers, running or not, of run directories below a directory."""
    found = api.containers(all=True, filters={"label": ["rompy_hydra.workspace"]})
    place = f"{directory}/"
    return [c for c in found if c["Labels"]["rompy_hydra.workspace"].startswith(place)]
