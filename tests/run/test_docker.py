"""The docker backend passes the contract tests of run backends, on a real engine."""

from __future__ import annotations

from typing import Any

import pytest

from rompy_hydra import DockerConfig
from tests.run.contract import Place, RunBackendContract

pytestmark = pytest.mark.docker


class TestTheDockerBackendKeepsTheContract(RunBackendContract):
    @pytest.fixture
    def place(self, docker_engine: Any) -> Place:
        return Place("docker", DockerConfig, {"image": "rompy-hydra-test/busybox:1"})
