"""Run backends: where a model executes."""

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
