"""The contract of pipeline backends, and how one carries out a composed plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from rompy_hydra.core import scope
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.errors import PipelineFailed, RompyHydraError
from rompy_hydra.jsonable import Json, plain
from rompy_hydra.plugins.configured import Configured
from rompy_hydra.postprocess.base import Results
from rompy_hydra.process import StopSignal
from rompy_hydra.run.handle import Waiting
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import STAGES, RunRecord


class BasePipeline(Configured, BaseModel, ABC):
    """In which order the stages are done, and what happens on a failure.

    `execute` returns a dict with `success`, `run_id` and `stages_completed`, and on a failure also
    `stage`, `message` and `error`.
    """

    # The validator is built on first use: most programs use few classes of this kind.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    category: ClassVar[str] = "pipeline"

    @abstractmethod
    def execute(self, model_run: RunSpec, **settings: object) -> Results:
        """Carry out the pipeline. Raises ValueError for arguments that make no sense."""

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return plain(self.model_dump(mode="json"))

    def stages_of(self) -> tuple[str, ...]:
        """The stages that it carries out."""
        return tuple(getattr(self, "stages", STAGES))

    def choices(self, plan: RunPlan) -> dict[str, object]:
        """The arguments of `execute` that tell it the backend and the postprocessors of a plan."""
        processors = plan.processors
        chosen: dict[str, object] = {
            "processor": ",".join(p.plugin_name for p in processors) or "noop",
        }
        if plan.backend is not None:
            chosen["run_backend"] = plan.backend.plugin_name
            chosen["run_kwargs"] = dict(plan.backend.plugin_settings)
        if len(processors) == 1:
            chosen["process_kwargs"] = dict(processors[0].plugin_settings)
        return chosen

    def steps(
        self,
        plan: RunPlan,
        *,
        stop: StopSignal | None = None,
        watch: Watch = ignore,
        seen: Snapshot | None = None,
    ) -> Waiting[RunRecord | None]:
        """Carry out a composed plan, see `core.execute.steps`; the record, if there is one.

        Here: `execute` is called, and the methods of its model run are steps of the plan.
        PipelineFailed if it reports a failure.
        """
        try:
            with scope.entered(plan, stop, watch):
                results = self.execute(plan.spec, **self.choices(plan))
        except RompyHydraError:
            raise
        except Exception as error:
            message = f"the pipeline {self.plugin_name} failed: {type(error).__name__}: {error}"
            raise PipelineFailed(message) from error
        if results.get("success") is not True:
            message = str(results.get("error") or results.get("message"))
            raise PipelineFailed(message, str(results.get("stage") or "pipeline"))
        return RunRecord.load(plan.workspace)
        yield
