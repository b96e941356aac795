"""Run models in containers."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.run.docker.backend import DockerRunBackend
    from rompy_hydra.run.docker.config import DockerConfig

__all__ = ["DockerConfig", "DockerRunBackend"]

__getattr__ = lazy(__name__, {"backend": ["DockerRunBackend"], "config": ["DockerConfig"]})
