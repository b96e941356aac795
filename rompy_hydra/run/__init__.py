"""Run backends: where a model executes."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.run.base import BackendConfig, BaseRunBackend, Job, Outcome
    from rompy_hydra.run.docker import DockerConfig, DockerRunBackend
    from rompy_hydra.run.local import LocalConfig, LocalRunBackend

__all__ = [
    "BackendConfig",
    "BaseRunBackend",
    "DockerConfig",
    "DockerRunBackend",
    "Job",
    "LocalConfig",
    "LocalRunBackend",
    "Outcome",
]

__getattr__ = lazy(
    __name__,
    {
        "base": ["BackendConfig", "BaseRunBackend", "Job", "Outcome"],
        "docker": ["DockerConfig", "DockerRunBackend"],
        "local": ["LocalConfig", "LocalRunBackend"],
    },
)
