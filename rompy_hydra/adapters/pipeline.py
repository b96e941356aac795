"""Pipeline backends of any kind: how they are chosen, called and believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger
from pydantic import BaseModel

from rompy_hydra.adapters.resolve import (
    ChosenName,
    chosen_backend,
    chosen_processors,
    load_by_name,
    name_of,
)
from rompy_hydra.core.plan import Task
from rompy_hydra.errors import ConfigError, DamagedRecord, PluginError, RompyHydraError
from rompy_hydra.plugins.answers import as_bool, as_results, describe
from rompy_hydra.plugins.construct import check_arguments, construct, instantiate, takes, takes_anything
from rompy_hydra.plugins.signatures import CHOICES
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.record import STAGES, RunRecord

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

Results = dict[str, object]


@dataclass(frozen=True)
class ChosenPipeline:
    """A pipeline backend with the settings that its `execute` gets."""

    name: str
    backend: Any
    settings: Mapping[str, object]

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(getattr(self.backend, "stages", STAGES))

    def execute(self, model_run: ModelRun, given: Mapping[str, object]) -> Results:
        """Call it, and judge its answer; PluginError for an answer that cannot be judged."""
        arguments = {**self.settings, **given}
        if takes(self.backend.execute, "backend_config"):
            arguments = _as_rompy_has_it(arguments)
        returned = self.backend.execute(model_run, **check_arguments(self.backend.execute, arguments))
        return self._judged(returned, model_run)

    def carry_out(self, task: Task) -> Results:
        """Call it for a composed run, whose backend and processors are chosen already; never raises."""
        run = task.model_run
        failed: Results = {"success": False, "run_id": run.run_id, "stages_completed": []}
        try:
            with logger.contextualize(run_id=run.run_id), run.within(task):
                return self.execute(run, self._choices(task))
        except RompyHydraError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - it is somebody else's code
            message = f"the pipeline {self.name} failed: {type(error).__name__}: {error}"
        return {**failed, "stage": "pipeline", "message": message, "error": message}

    def _choices(self, task: Task) -> dict[str, object]:
        """The chosen backend and processors by name and settings, as far as `execute` takes them."""
        execute, backend, processors = self.backend.execute, task.backend, task.processors
        choices: dict[str, object] = {}
        if backend is not None:
            choices["run_backend"] = ChosenName(backend.name, [backend])
            choices["run_kwargs"] = dict(backend.settings)
        if processors:
            choices["processor"] = ChosenName(",".join(p.name for p in processors), processors)
            choices["process_kwargs"] = dict(processors[0].settings) if len(processors) == 1 else {}
        else:
            choices["processor"] = "noop"
        if takes_anything(execute) or takes(execute, "backend_config"):
            return choices
        left_out = [name for name in ("run_backend", "processor") if not takes(execute, name)]
        if left_out:
            logger.warning("the pipeline {} chooses its own {}", self.name, " and ".join(left_out))
        return {name: value for name, value in choices.items() if takes(execute, name)}

    def _judged(self, returned: object, run: ModelRun) -> Results:
        results = as_results(returned)
        if "success" not in results:
            raise PluginError(
                f"the pipeline {self.name} returned {describe(returned)}, whose success cannot be told; it "
                "must return a dict with 'success' (True or False), 'run_id' and 'stages_completed'"
            )
        results = {"run_id": run.run_id, "stages_completed": [], **results}
        stage, doubt = _doubt(results, run) if results["success"] else (None, None)
        if doubt:
            message = f"the pipeline {self.name} reported success, but {doubt}"
            return {**results, "success": False, "stage": stage, "message": message, "error": message}
        if results["success"]:
            return results
        why = results.get("message") or results.get("error")
        message = str(why or f"the pipeline {self.name} reported a failure and no reason")
        return {"stage": "pipeline", "message": message, "error": message, **results}


def _doubt(results: Results, run: ModelRun) -> tuple[str | None, str | None]:
    """The stage and the reason why a success is none."""
    processed = results.get("postprocess_results")
    if isinstance(processed, Mapping) and as_bool(processed.get("success")) is False:
        return "postprocess", f"its postprocessor failed: {processed.get('message', '')}"
    try:
        record = RunRecord.load(run.workspace)
    except DamagedRecord as error:
        return "pipeline", str(error)
    if record is not None and record.ended and record.state != rec.COMPLETED:
        told_there = record.error or {}
        return str(told_there.get("stage")), f"the run {record.state}: {told_there.get('message', '')}"
    return None, None


def chosen_pipeline(pipeline: object, settings: Mapping[str, object]) -> ChosenPipeline:
    """A pipeline backend from its name or class with settings, or itself."""
    name, found = load_by_name("pipeline", pipeline, "pipeline_backend")
    arguments = dict(settings)
    instance: Any = found
    if isinstance(found, type) and issubclass(found, BaseModel):
        instance = construct(found, {k: v for k, v in settings.items() if k in found.model_fields})
        arguments = {k: v for k, v in settings.items() if k not in found.model_fields}
    elif isinstance(found, type):
        choices = {k: v for k, v in settings.items() if k in CHOICES}
        others = {k: v for k, v in settings.items() if k not in CHOICES}
        instance, arguments = instantiate(found, others, "pipeline")
        arguments |= choices
    if not callable(getattr(instance, "execute", None)):
        raise PluginError(f"{instance!r} is no pipeline backend: it has no execute()")
    return ChosenPipeline(name_of("pipeline", name, type(instance)), instance, arguments)


def _as_rompy_has_it(arguments: Mapping[str, object]) -> dict[str, object]:
    """The choices as the configuration objects that rompy's pipelines insist on."""
    from rompy_hydra.adapters.rompy import as_rompy

    given = dict(arguments)
    run_kwargs, process_kwargs = given.pop("run_kwargs", None), given.get("process_kwargs")
    settings = run_kwargs if isinstance(run_kwargs, Mapping) else {}
    backend = given.pop("run_backend", None)
    if given.get("backend_config") is None and backend is not None:
        given["backend_config"] = as_rompy(chosen_backend(backend, settings))
    processor = given.get("processor", "noop")
    if processor is not None and not hasattr(processor, "get_postprocessor_class"):
        settings = process_kwargs if isinstance(process_kwargs, Mapping) else {}
        several = processor if isinstance(processor, list | tuple) else [processor]
        chosen = chosen_processors(several, settings)
        if len(chosen) > 1:
            raise ConfigError("rompy's pipelines take one postprocessor; choose pipeline=local for several")
        given["processor"] = as_rompy(chosen[0])
        given.pop("process_kwargs", None)
    return given
