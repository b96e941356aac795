"""A driver whose run another driver has taken over stops its model and changes nothing more."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.errors import LeaseLost
from rompy_hydra.run.docker.container import Container
from rompy_hydra.run.docker.engine import get_engine
from tests.conftest import LIMIT, living, wait_until
from tests.run.conftest import BUSYBOX

OTHER = {"host": "elsewhere/12345678", "pid": 7, "started": 1.0}


class Driven:
    """A run in another thread, of a model that would take ten minutes."""

    def __init__(self, directory, backend: str) -> None:
        self.mark = str(directory)
        config = BaseConfig(commands=[f"sleep 600.0; echo {directory} > wrong"], image=BUSYBOX)
        self.run = ModelRun(run_id="taken", output_dir=directory, config=config)
        self.path = self.run.workspace.path
        self.result: dict[str, Any] = {}
        arguments = {"run_backend": backend}
        self._thread = threading.Thread(target=lambda: self.result.update(self.run.pipeline(**arguments)))
        self._thread.start()
        wait_until(lambda: (self.path / "run.json").exists() and self.record()["backend_facts"])

    def record(self) -> dict[str, Any]:
        return json.loads((self.path / "run.json").read_bytes())

    def take_over(self) -> None:
        (self.path / "claims" / "2.json").write_text(json.dumps(OTHER))

    def wait(self) -> dict[str, Any]:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        return self.result


@pytest.mark.parametrize("backend", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_driver_that_lost_its_lease_stops_its_model(request, tmp_path, backend):
    if backend == "docker":
        request.getfixturevalue("docker_engine")
    driven = Driven(tmp_path, backend)
    before = (driven.path / "run.json").read_bytes()
    driven.take_over()
    result = driven.wait()
    assert result["error_type"] == LeaseLost.__name__
    assert (driven.path / "run.json").read_bytes() == before
    assert not (driven.path / "wrong").exists()
    if backend == "docker":
        assert Container.find(get_engine(), driven.run.workspace) == []
    else:
        wait_until(lambda: not living(driven.mark))


@pytest.mark.docker
def test_a_container_that_another_driver_waits_for_goes_on(docker_engine, tmp_path):
    driven = Driven(tmp_path, "docker")
    record = driven.record() | {"driver": OTHER, "claim": 2}
    (driven.path / "run.json").write_text(json.dumps(record))
    driven.take_over()
    assert driven.wait()["error_type"] == LeaseLost.__name__
    (container,) = Container.find(get_engine(), driven.run.workspace)
    assert container.inspect()["State"]["Running"]
    container.stop(0.1)
    container.remove()
