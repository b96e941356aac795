"""Postprocessors: what we learn from the outputs."""

from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.postprocess.map import MapPostprocessor
from rompy_hydra.postprocess.noop import NoopPostprocessor
from rompy_hydra.postprocess.summary import SummaryPostprocessor

__all__ = ["BasePostprocessor", "MapPostprocessor", "NoopPostprocessor", "SummaryPostprocessor"]
