"""Plans for runs of the Python API, like those of a composition or a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rompy_hydra import ModelRun
from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.adapters.resolve import resolve_backend
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.workspace.record import STAGES


def plan_of(
    run: ModelRun, *stages: str, backend: object = "local", settings: Mapping[str, Any] = {}, **fields: Any
) -> RunPlan:
    """A plan of the given stages, or of all stages, with a backend and its settings."""
    resolved = resolve_backend(backend, settings)
    return RunPlan(
        run, resolve_model(run.config, run.success), stages or STAGES, backend=resolved, **fields
    )
