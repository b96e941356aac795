"""Run models in containers."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.run.docker.backend import DockerRunBackend as DockerRunBackend
    from rompy_hydra.run.docker.config import DockerConfig as DockerConfig

__getattr__, __dir__, __all__ = lazy(
    __name__, {"backend": ["DockerRunBackend"], "config": ["DockerConfig"]}
)
