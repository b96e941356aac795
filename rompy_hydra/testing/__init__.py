"""Contracts for plugins: inherit one of them, and pytest tries your plugin with the real engine.

::

    from rompy_hydra.testing import RunBackendContract
    from my_package import MyRunBackend

    class TestMyRunBackend(RunBackendContract):
        plugin = MyRunBackend
"""

from rompy_hydra.testing.model import ModelContract
from rompy_hydra.testing.pipeline import PipelineContract
from rompy_hydra.testing.postprocessor import PostprocessorContract
from rompy_hydra.testing.run_backend import RunBackendContract

__all__ = ["ModelContract", "PipelineContract", "PostprocessorContract", "RunBackendContract"]
