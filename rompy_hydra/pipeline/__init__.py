"""Pipeline backends: in which order the stages are done, and what happens on a failure."""

from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.pipeline.local import LocalPipelineBackend

__all__ = ["BasePipeline", "LocalPipelineBackend"]
