"""Run backends: where a model executes."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.run.base import BackendConfig as BackendConfig
    from rompy_hydra.run.base import BaseRunBackend as BaseRunBackend
    from rompy_hydra.run.base import Handle as Handle
    from rompy_hydra.run.base import Job as Job
    from rompy_hydra.run.base import Outcome as Outcome
    from rompy_hydra.run.base import Update as Update
    from rompy_hydra.run.docker import DockerConfig as DockerConfig
    from rompy_hydra.run.docker import DockerRunBackend as DockerRunBackend
    from rompy_hydra.run.local import LocalConfig as LocalConfig
    from rompy_hydra.run.local import LocalRunBackend as LocalRunBackend

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "base": ["BackendConfig", "BaseRunBackend", "Handle", "Job", "Outcome", "Update"],
        "docker": ["DockerConfig", "DockerRunBackend"],
        "local": ["LocalConfig", "LocalRunBackend"],
    },
)
