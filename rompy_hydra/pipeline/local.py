"""All stages, one after the other, driven by this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from loguru import logger
from pydantic import field_validator

from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.adapters.resolve import check_choice, resolve_backend, resolve_processors
from rompy_hydra.core.attempt import record_of, stage_of
from rompy_hydra.core.execute import steps
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.errors import (
    ConfigError,
    GenerateError,
    ModelFailed,
    ModelRaised,
    PostprocessError,
    RunError,
)
from rompy_hydra.model_run import ModelRun, own_run
from rompy_hydra.plugins.answers import as_bool, describe
from rompy_hydra.postprocess.base import BasePostprocessor, Results, merge_results, normalise_answer
from rompy_hydra.process import StopSignal
from rompy_hydra.run.base import BaseRunBackend, check_model_run
from rompy_hydra.run.handle import Waiting
from rompy_hydra.workspace import Workspace, directory_of
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import COMPLETED, STAGES, RunRecord

Stage = Literal["generate", "run", "postprocess"]
_DONE = "Pipeline completed successfully"
_FAILED = {
    "generate": "Input file generation failed",
    "run": "Model run error",
    "postprocess": "Postprocessing error",
}
_VERBS: dict[str, object] = {
    "generate": ModelRun.generate,
    "run": ModelRun.run,
    "postprocess": ModelRun.postprocess,
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

    @property
    def result_key(self) -> str:
        return ""  # it does no stage by itself

    def execute(  # type: ignore[override]
        self,
        model_run: ModelRun,
        run_backend: object = "local",
        processor: object = "noop",
        run_kwargs: Mapping[str, object] | None = None,
        process_kwargs: Mapping[str, object] | None = None,
        cleanup_on_failure: bool | None = None,
        validate_stages: bool | None = None,
        backend_config: object = None,
    ) -> Results:
        """Carry out the pipeline; see `BasePipeline.execute` for the result.

        `run_backend` and `processor` are names with their `run_kwargs` and `process_kwargs`, or
        objects that hold their settings; `processor` may be a list. `backend_config` is the
        configuration object of a run backend, which takes the place of its name. The verbs of a model
        run that has some of its own are called.

        Raises ValueError for arguments that make no sense; a failed stage is reported in the result.
        """
        check_model_run(model_run)
        _check_choice("run_backend", run_backend)
        _check_choice("processor", processor)
        if backend_config is not None:
            check_choice("backend_config", backend_config)
            _check_alone(run_backend, run_kwargs)
        pipeline = self._switched(cleanup_on_failure, validate_stages)
        # A wrong choice is a wrong argument: it raises, and nothing has been generated.
        backend = resolve_backend(
            run_backend if backend_config is None else backend_config, _settings("run_kwargs", run_kwargs)
        )
        processors = resolve_processors(processor, _settings("process_kwargs", process_kwargs))
        run = None if has_own_verbs(model_run) else own_run(model_run)
        results: Results = {
            "success": False,
            "run_id": model_run.run_id if run is None else run.run_id,
            "stages_completed": [],
            "run_backend": backend.plugin_name,
            "processor": ",".join(each.plugin_name for each in processors),
        }
        if backend_config is not None:
            results["backend"] = backend.plugin_name
        if run is None:
            return pipeline._call_verbs(model_run, backend, processors, results)
        # The one broad `except`: by then the record has the failure, and the dict reports it.
        try:
            plan = RunPlan(
                run,
                resolve_model(run.config, run.success),
                pipeline.stages,
                backend=backend,
                processors=processors,
            )
            record = run.perform(plan, pipeline.steps)
        except Exception as error:  # noqa: BLE001
            return _failed({**results, **_progress(run, record_of(error))}, stage_of(error), error)
        done = _DONE
        if record is not None and record.state != COMPLETED:
            done = f"Stopped after {pipeline.stages[-1]}, as asked for"
        return {**results, **_progress(run, record), "success": True, "message": done}

    def _switched(self, cleanup_on_failure: object, validate_stages: object) -> LocalPipelineBackend:
        """This pipeline with the switches that are given."""
        given = {"cleanup_on_failure": cleanup_on_failure, "validate_stages": validate_stages}
        for name, value in given.items():
            if not isinstance(value, bool | None):
                raise ConfigError(f"{name} must be True or False, not {value!r}")
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})

    def _call_verbs(
        self,
        model_run: Any,
        backend: BaseRunBackend,
        processors: tuple[BasePostprocessor, ...],
        results: Results,
    ) -> Results:
        """Call the verbs of a model run that has some of its own, one after the other."""
        completed: list[str] = []
        results["stages_completed"] = completed
        stage = "generate"
        # Whatever such a verb raises is the answer, as in the plan of a run.
        try:
            directory = model_run.generate()
            results["staging_dir"] = str(directory) if directory else None
            if self.validate_stages and not os.path.isdir(directory or directory_of(model_run)):
                raise _NoDirectory(f"{directory or directory_of(model_run)}")
            completed.append(stage)
            stage = "run"
            if stage in self.stages:
                success = model_run.run(backend=_config_of(backend), workspace_dir=results["staging_dir"])
                results["run_success"] = as_bool(success) is True
                if not results["run_success"]:
                    raise ModelFailed(f"{type(model_run).__name__}.run() returned {describe(success)}")
                completed.append(stage)
            stage = "postprocess"
            if stage in self.stages:
                several: object = processors[0] if len(processors) == 1 else list(processors)
                answer = normalise_answer(str(results["processor"]), model_run.postprocess(several))
                results["postprocess_results"] = answer
                if not answer["success"]:
                    raise PostprocessError(str(answer["message"]))
                completed.append(stage)
        except Exception as error:  # noqa: BLE001
            if self.cleanup_on_failure and stage != "postprocess" and isinstance(model_run, ModelRun):
                _clean_up(model_run.workspace, RunRecord.load(model_run.workspace))
            return _failed(results, stage, error)
        return {**results, "success": True, "message": _DONE}

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
                raise _NoDirectory(f"{plan.workspace.path}")
        except Exception as error:
            # The outputs of a model that ran are kept if only their processing failed.
            if self.cleanup_on_failure and stage_of(error) != "postprocess":
                _clean_up(plan.workspace, record_of(error))
            raise
        return record


class _NoDirectory(GenerateError):
    """Generating has left no directory."""


def has_own_verbs(model_run: object) -> bool:
    """Whether one of the verbs of a model run is neither this package's nor rompy's."""
    for verb in STAGES:
        method = getattr(model_run, verb, None)
        function = getattr(method, "__func__", method)
        theirs = getattr(function, "__module__", None) == "rompy.model"
        if method is not None and function is not _VERBS[verb] and not theirs:
            return True
    return False


def _config_of(backend: BaseRunBackend) -> object:
    """A run backend as its configuration, which is what rompy hands on; else itself."""
    with contextlib.suppress(NotImplementedError):
        if backend.config.get_backend_class() is type(backend):
            return backend.config
    return backend


def _check_choice(name: str, value: object) -> None:
    if isinstance(value, list | tuple) and value and name == "processor":
        for each in value:
            _check_choice(name, each)
    else:
        check_choice(name, value)


def _settings(name: str, value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} must be a mapping of settings by name, not {describe(value)}")
    return value


def _failed(results: Results, failed: str | None, error: Exception) -> Results:
    """The answer for a failure, in the words of rompy; its whole explanation is in `error`."""
    stage = failed or "generate"
    raised = (error.__cause__ if isinstance(error, ModelRaised) else None) or error
    reason = (str(raised) or type(raised).__name__).split("\n", 1)[0]
    message = f"{_FAILED.get(stage, 'Pipeline error')}: {reason}"
    if isinstance(error, ModelFailed | RunError) and stage == "run" and not isinstance(error, TimeoutError):
        message = "Model run failed"
    if isinstance(error, _NoDirectory):
        message = f"Output directory not found after generation: {error}"
    logger.error("{}: {}", message, error) if message == "Model run failed" else logger.error("{}", message)
    kind = type(error).__name__
    return {**results, "stage": stage, "message": message, "error": str(error), "error_type": kind}


def _check_alone(run_backend: object, run_kwargs: Mapping[str, object] | None) -> None:
    """ConfigError if a run backend is chosen besides a `backend_config`: one of them would be ignored."""
    if run_backend != "local":
        raise ConfigError("give either run_backend or backend_config, not both: each chooses a run backend")
    if run_kwargs:
        raise ConfigError(
            f"run_kwargs ({', '.join(run_kwargs)}) go with the name of a run backend: put them into "
            "backend_config"
        )


def _progress(run: ModelRun, record: RunRecord | None) -> Results:
    """How far a run came, as the results of a pipeline say it."""
    if record is None:
        return {}
    completed = [name for name in STAGES if record.stages[name].state == COMPLETED]
    found: Results = {"stages_completed": completed}
    if completed:
        found["staging_dir"] = run.workspace.root
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


def _clean_up(workspace: Workspace, record: RunRecord | None) -> None:
    if record is None:
        return
    made = [name for name in workspace.names() if name not in record.found]
    workspace.remove_files(made)
    logger.info("removed {} files of the failed run; kept its log and record", len(made))
