"""Declarative runs and sweeps of numerical models. Public names, imported when they are used."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

__version__ = "0.2.0"

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun as ModelRun
    from rompy_hydra.models import BaseConfig as BaseConfig
    from rompy_hydra.models import Beach as Beach
    from rompy_hydra.models import SalishTsunami as SalishTsunami
    from rompy_hydra.models import SuccessChecks as SuccessChecks
    from rompy_hydra.models import TemplateModel as TemplateModel
    from rompy_hydra.pipeline import BasePipeline as BasePipeline
    from rompy_hydra.pipeline import LocalPipelineBackend as LocalPipelineBackend
    from rompy_hydra.postprocess import BasePostprocessor as BasePostprocessor
    from rompy_hydra.postprocess import MapPostprocessor as MapPostprocessor
    from rompy_hydra.postprocess import NoopPostprocessor as NoopPostprocessor
    from rompy_hydra.postprocess import SummaryPostprocessor as SummaryPostprocessor
    from rompy_hydra.run.base import BackendConfig as BackendConfig
    from rompy_hydra.run.base import BaseRunBackend as BaseRunBackend
    from rompy_hydra.run.docker import DockerConfig as DockerConfig
    from rompy_hydra.run.docker import DockerRunBackend as DockerRunBackend
    from rompy_hydra.run.local import LocalConfig as LocalConfig
    from rompy_hydra.run.local import LocalRunBackend as LocalRunBackend
    from rompy_hydra.time_range import TimeRange as TimeRange
    from rompy_hydra.workspace.record import RunRecord as RunRecord

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "model_run": ["ModelRun"],
        "models": ["BaseConfig", "Beach", "SalishTsunami", "SuccessChecks", "TemplateModel"],
        "pipeline": ["BasePipeline", "LocalPipelineBackend"],
        "postprocess": [
            "BasePostprocessor",
            "MapPostprocessor",
            "NoopPostprocessor",
            "SummaryPostprocessor",
        ],
        "run.base": ["BackendConfig", "BaseRunBackend"],
        "run.docker": ["DockerConfig", "DockerRunBackend"],
        "run.local": ["LocalConfig", "LocalRunBackend"],
        "time_range": ["TimeRange"],
        "workspace.record": ["RunRecord"],
    },
)
