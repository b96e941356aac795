"""Postprocessors: what to compute from the outputs."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.postprocess.base import BasePostprocessor
    from rompy_hydra.postprocess.map import MapPostprocessor
    from rompy_hydra.postprocess.noop import NoopPostprocessor
    from rompy_hydra.postprocess.summary import SummaryPostprocessor

__all__ = ["BasePostprocessor", "MapPostprocessor", "NoopPostprocessor", "SummaryPostprocessor"]

__getattr__ = lazy(
    __name__,
    {
        "base": ["BasePostprocessor"],
        "map": ["MapPostprocessor"],
        "noop": ["NoopPostprocessor"],
        "summary": ["SummaryPostprocessor"],
    },
)
