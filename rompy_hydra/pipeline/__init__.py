"""Pipeline backends: in which order, and what happens on a failure."""

from rompy_hydra.pipeline.base import BasePipeline
from rompy_hydra.pipeline.local import LocalPipelineBackend

__all__ = ["BasePipeline", "LocalPipelineBackend"]
