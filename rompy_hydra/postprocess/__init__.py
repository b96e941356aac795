"""Postprocessors: what to compute from the outputs."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.postprocess.base import BasePostprocessor as BasePostprocessor
    from rompy_hydra.postprocess.map import MapPostprocessor as MapPostprocessor
    from rompy_hydra.postprocess.noop import NoopPostprocessor as NoopPostprocessor
    from rompy_hydra.postprocess.summary import SummaryPostprocessor as SummaryPostprocessor
    from rompy_hydra.postprocess.transfer import TransferPostprocessor as TransferPostprocessor

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "base": ["BasePostprocessor"],
        "map": ["MapPostprocessor"],
        "noop": ["NoopPostprocessor"],
        "summary": ["SummaryPostprocessor"],
        "transfer": ["TransferPostprocessor"],
    },
)
