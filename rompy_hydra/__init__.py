"""Declarative runs and sweeps of numerical models. Public names, imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

__version__ = "0.2.0"

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun
    from rompy_hydra.models import BaseConfig, Beach, SalishTsunami, SuccessChecks, TemplateModel
    from rompy_hydra.pipeline import BasePipeline, LocalPipelineBackend
    from rompy_hydra.postprocess import (
        BasePostprocessor,
        MapPostprocessor,
        NoopPostprocessor,
        SummaryPostprocessor,
    )
    from rompy_hydra.run import (
        BackendConfig,
        BaseRunBackend,
        DockerConfig,
        DockerRunBackend,
        LocalConfig,
        LocalRunBackend,
    )
    from rompy_hydra.time_range import TimeRange
    from rompy_hydra.workspace.record import RunRecord

_HOMES = {
    "model_run": ("ModelRun",),
    "models": ("BaseConfig", "Beach", "SalishTsunami", "SuccessChecks", "TemplateModel"),
    "pipeline": ("BasePipeline", "LocalPipelineBackend"),
    "postprocess": (
        "BasePostprocessor",
        "MapPostprocessor",
        "NoopPostprocessor",
        "SummaryPostprocessor",
    ),
    "run": (
        "BackendConfig",
        "BaseRunBackend",
        "DockerConfig",
        "DockerRunBackend",
        "LocalConfig",
        "LocalRunBackend",
    ),
    "time_range": ("TimeRange",),
    "workspace.record": ("RunRecord",),
}

__all__ = [
    "BackendConfig",
    "BaseConfig",
    "BasePipeline",
    "BasePostprocessor",
    "BaseRunBackend",
    "Beach",
    "DockerConfig",
    "DockerRunBackend",
    "LocalConfig",
    "LocalPipelineBackend",
    "LocalRunBackend",
    "MapPostprocessor",
    "ModelRun",
    "NoopPostprocessor",
    "RunRecord",
    "SalishTsunami",
    "SuccessChecks",
    "SummaryPostprocessor",
    "TemplateModel",
    "TimeRange",
]


__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
