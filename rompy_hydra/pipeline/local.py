"""All stages, one after the other, driven by this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from loguru import logger
from pydantic import field_validator

from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.adapters.resolve import resolve_backend, resolve_processors
from rompy_hydra.core.attempt import record_of, stage_of
from rompy_hydra.core.execute import steps
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.errors import GenerateError
from rompy_hydra.model_run import ModelRun, own_run
from rompy_hydra.postprocess.base import Results, merge_results
from rompy_hydra.process import StopSignal
from rompy_hydra.run.base import check_model_run
from rompy_hydra.run.handle import Waiting
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import COMPLETED, STAGES, RunRecord

Stage = Literal["generate", "run", "postprocess"]
_FAILED = {
    "generate": "Input file generation failed",
    "run": "Model run failed",
    "postprocess": "Postprocessing failed",
}


class LocalPipelineBackend(BasePipeline):
    """Generates, runs and postprocesses; what was done before and is intact is skipped.

    `stages` may stop early, as in `[generate]`. `cleanup_on_failure` deletes the inputs and outputs
    of a run that failed, and keeps its log, its script and its record, and all files that were in the
    directory before. `validate_stages` makes sure that generating left a directory.
    """

    name: ClassVar[str] = "local"

    stages: tuple[Stage, ...] = STAGES  # type: ignore[assignment]
    cleanup_on_failure: bool = False
    validate_stages: bool = True

    @field_validator("stages")
    @classmethod
    def _in_order(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if not value or value != STAGES[: len(value)]:
            raise ValueError(
                f"{list(value)} must be the beginning of {list(STAGES)}: a stage needs those before it"
            )
        return value

    def execute(  # type: ignore[override]
        self,
        model_run: ModelRun,
        run_backend: object = "local",
        processor: object = "noop",
        run_kwargs: Mapping[str, object] | None = None,
        process_kwargs: Mapping[str, object] | None = None,
        cleanup_on_failure: bool | None = None,
        validate_stages: bool | None = None,
        **unused: object,
    ) -> Results:
        """Carry out the pipeline; see `BasePipeline.execute` for the result.

        `run_backend` and `processor` are names with their `run_kwargs` and `process_kwargs`, or
        objects that hold their settings; `processor` may be a list.
        """
        check_model_run(model_run)
        run = own_run(model_run)
        _check_choice("run_backend", run_backend)
        _check_choice("processor", processor)
        if unused:
            logger.warning("the local pipeline does not use {}", ", ".join(sorted(unused)))
        settings = {"cleanup_on_failure": cleanup_on_failure, "validate_stages": validate_stages}
        pipeline = self.model_copy(update={k: v for k, v in settings.items() if v is not None})
        results: Results = {
            "success": False,
            "run_id": run.run_id,
            "stages_completed": [],
            "run_backend": run_backend,
            "processor": processor,
        }
        stage = "run"
        # The one broad `except`: by then the record has the failure, and the dict reports it.
        try:
            backend = resolve_backend(run_backend, run_kwargs or {})
            stage = "postprocess"
            processors = resolve_processors(processor, process_kwargs or {})
            stage = "generate"
            plan = RunPlan(
                run,
                resolve_model(run.config, run.success),
                pipeline.stages,
                backend=backend,
                processors=processors,
            )
            record = run.perform(plan, pipeline.steps)
        except Exception as error:  # noqa: BLE001
            results |= _progress(run, record_of(error))
            stage = stage_of(error) or stage
            message = f"{_FAILED.get(stage, 'The pipeline failed')}: {error}"
            logger.error("{}", message)
            kind = type(error).__name__
            return {**results, "stage": stage, "message": message, "error": str(error), "error_type": kind}
        done = "Pipeline completed successfully"
        if record is not None and record.state != COMPLETED:
            done = f"Stopped after {pipeline.stages[-1]}, as asked for"
        return {**results, **_progress(run, record), "success": True, "message": done}

    def steps(
        self,
        plan: RunPlan,
        *,
        stop: StopSignal | None = None,
        watch: Watch = ignore,
        seen: Snapshot | None = None,
    ) -> Waiting[RunRecord | None]:
        if plan.stages != self.stages:
            plan = replace(plan, stages=self.stages)
        try:
            record = yield from steps(plan, stop=stop, watch=watch, seen=seen)
            if self.validate_stages and not plan.workspace.exists():
                raise GenerateError(f"no run directory after generating: {plan.workspace.path}")
        except Exception as error:
            # The outputs of a model that ran are kept if only their processing failed.
            if self.cleanup_on_failure and stage_of(error) != "postprocess":
                _clean_up(plan, record_of(error))
            raise
        return record


def _check_choice(name: str, value: object) -> None:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} must be a non-empty string")


def _progress(run: ModelRun, record: RunRecord | None) -> Results:
    """How far a run came, as the results of a pipeline say it."""
    if record is None:
        return {}
    completed = [name for name in STAGES if record.stages[name].state == COMPLETED]
    found: Results = {"stages_completed": completed, "staging_dir": run.workspace.root}
    if record.stages["run"].started:
        found["run_success"] = record.stages["run"].state == COMPLETED
    if record.answers:
        found["postprocess_results"] = merge_results(record.answers)
    elif record.stages["postprocess"].state == COMPLETED:
        found["postprocess_results"] = {
            "success": True,
            "message": "unchanged: skipped",
            "metrics": dict(record.metrics),
        }
    return found


def _clean_up(plan: RunPlan, record: RunRecord | None) -> None:
    if record is None:
        return
    made = [name for name in plan.workspace.names() if name not in record.found]
    plan.workspace.remove_files(made)
    logger.info("removed {} files of the failed run; kept its log and record", len(made))
