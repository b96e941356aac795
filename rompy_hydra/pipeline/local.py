"""All stages, one after the other, driven by this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from loguru import logger
from pydantic import field_validator

from rompy_hydra.adapters.resolve import chosen_backend, chosen_processors
from rompy_hydra.core.plan import Task
from rompy_hydra.errors import ConfigError, GenerateError
from rompy_hydra.model_run import ModelRun, own_run
from rompy_hydra.pipeline.base import BasePipeline, Results
from rompy_hydra.postprocess.base import merge_results
from rompy_hydra.run.base import check_model_run
from rompy_hydra.workspace.record import COMPLETED, STAGES

Stage = Literal["generate", "run", "postprocess"]


class LocalPipelineBackend(BasePipeline):
    """Generates, runs and postprocesses; what was done before and is intact is not done again.

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
        """Carry out the pipeline; see `BasePipeline.execute` for the answer.

        `run_backend` and `processor` are names with their `run_kwargs` and `process_kwargs`, or
        objects that hold their settings; `processor` may be a list.
        """
        check_model_run(model_run)
        overwrite = bool(getattr(model_run, "delete_existing", False))
        model_run = own_run(model_run)
        _check_choice("run_backend", run_backend)
        _check_choice("processor", processor)
        if unused:
            logger.warning("the local pipeline does not use {}", ", ".join(sorted(unused)))
        settings = {"cleanup_on_failure": cleanup_on_failure, "validate_stages": validate_stages}
        given = {key: value for key, value in settings.items() if value is not None}
        pipeline = self.model_copy(update=given)
        results: Results = {
            "success": False,
            "run_id": model_run.run_id,
            "stages_completed": [],
            "run_backend": run_backend,
            "processor": processor,
        }
        stage = "run"
        try:
            backend = chosen_backend(run_backend, run_kwargs or {})
            stage = "postprocess"
            several = isinstance(processor, list | tuple)
            chosen = chosen_processors(processor if several else [processor], process_kwargs or {})  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - a plugin's constructor may raise anything
            return _failed(results, stage, error)
        task = Task(model_run, pipeline.stages, backend=backend, processors=chosen, overwrite=overwrite)
        results = pipeline.carry_out(task, results)
        if not results["success"]:
            logger.error("{}", results["message"])
        return results

    def carry_out(self, task: Task, results: Results | None = None) -> Results:
        """Do a task's stages and answer; the one broad `except`: the record has the failure by then."""
        if results is None:
            results = {"success": False, "run_id": task.model_run.run_id, "stages_completed": []}
        task.stages = self.stages
        try:
            record = task.model_run.perform(task)
            if self.validate_stages and not task.workspace.exists():
                raise GenerateError(f"no run directory after generating: {task.workspace.path}")
        except Exception as error:  # noqa: BLE001 - it is recorded, and answered here
            results |= _progress(task)
            stage = task.progress.stage or "generate"
            # Outputs of a model that ran are kept: only their processing failed.
            if self.cleanup_on_failure and stage != "postprocess" and not isinstance(error, ConfigError):
                _clean_up(task)
            return _failed(results, stage, error)
        results |= _progress(task)
        done = "Pipeline completed successfully"
        if record.state != COMPLETED:
            done = f"Stopped after {self.stages[-1]}, as asked for"
        return {**results, "success": True, "message": done}


def _check_choice(name: str, value: object) -> None:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} must be a non-empty string")


def _progress(task: Task) -> Results:
    record = task.progress.record
    if record is None:
        return {}
    completed = [name for name in STAGES if record.stages[name].state == COMPLETED]
    found: Results = {"stages_completed": completed, "staging_dir": task.workspace.root}
    if record.stages["run"].started:
        found["run_success"] = record.stages["run"].state == COMPLETED
    if task.progress.answers:
        found["postprocess_results"] = merge_results(task.progress.answers)
    elif record.stages["postprocess"].state == COMPLETED:
        found["postprocess_results"] = {
            "success": True,
            "message": "unchanged: skipped",
            "metrics": dict(record.metrics),
        }
    return found


def _failed(results: Results, stage: str, error: Exception) -> Results:
    told = {
        "generate": "Input file generation failed",
        "run": "Model run failed",
        "postprocess": "Postprocessing failed",
    }
    message = f"{told[stage]}: {error}"
    told_error = {"error": str(error), "error_type": type(error).__name__}
    return {**results, "success": False, "stage": stage, "message": message, **told_error}


def _clean_up(task: Task) -> None:
    record = task.progress.record
    if record is None:
        return
    made = [name for name in task.workspace.names() if name not in record.found]
    task.workspace.remove_files(made)
    logger.info("removed {} files of the failed run; kept its log and record", len(made))
