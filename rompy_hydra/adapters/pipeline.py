"""Pipeline backends of any shape as a `BasePipeline`: how they are called, and whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from loguru import logger
from pydantic import BaseModel

from rompy_hydra.adapters.resolve import load_by_name, resolve_backend, resolve_processors
from rompy_hydra.adapters.rompy import as_rompy
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.errors import ConfigError, DamagedRecord, PluginError
from rompy_hydra.plugins.answers import as_bool, as_results, describe
from rompy_hydra.plugins.configured import name_of
from rompy_hydra.plugins.signatures import CHOICES, check_arguments, instantiate, takes, takes_anything
from rompy_hydra.postprocess.base import Results
from rompy_hydra.workspace.record import COMPLETED, RunRecord


def resolve_pipeline(pipeline: object, settings: Mapping[str, object]) -> BasePipeline:
    """A pipeline backend from its name or class with settings, or itself."""
    name, found = load_by_name("pipeline", pipeline, "pipeline_backend")
    arguments = dict(settings)
    instance: Any = found
    if isinstance(found, type):
        # The choice of backend and postprocessor goes to `execute`, everything else where it is taken.
        fields = found.model_fields.keys() if issubclass(found, BaseModel) else settings.keys() - CHOICES
        own = {key: value for key, value in settings.items() if key in fields}
        instance, more = instantiate(found, own, "pipeline")
        arguments = {**more, **{key: value for key, value in settings.items() if key not in fields}}
    if isinstance(instance, BasePipeline) and not arguments:
        return instance
    if not callable(getattr(instance, "execute", None)):
        raise ConfigError(f"{instance!r} is not a pipeline backend: it has no execute()")
    chosen = name_of("pipeline", type(instance), name)
    return ForeignPipeline(instance=instance, arguments=arguments, chosen_name=chosen)


class ForeignPipeline(BasePipeline):
    """A pipeline backend with `execute(model_run, **settings)`, and the settings it is called with."""

    name: ClassVar[str] = "foreign"

    instance: Any
    arguments: dict[str, Any]
    chosen_name: str

    @property
    def plugin_name(self) -> str:
        return self.chosen_name

    def stages_of(self) -> tuple[str, ...]:
        stages = getattr(self.instance, "stages", None)
        return tuple(stages) if stages else super().stages_of()

    def choices(self, plan: RunPlan) -> dict[str, object]:
        """As far as `execute` takes them."""
        execute, chosen = self.instance.execute, super().choices(plan)
        if takes_anything(execute) or _is_like_rompys(execute):
            return chosen
        left_out = [name for name in ("run_backend", "processor") if not takes(execute, name)]
        if left_out:
            logger.warning("the pipeline {} chooses its own {}", self.chosen_name, " and ".join(left_out))
        return {name: value for name, value in chosen.items() if takes(execute, name)}

    def execute(self, model_run: RunSpec, **settings: object) -> Results:
        """Call it; PluginError if whether it succeeded cannot be determined."""
        arguments = {**self.arguments, **settings}
        execute = self.instance.execute
        if _is_like_rompys(execute):
            arguments = _with_rompy_configs(arguments)
        returned = execute(model_run, **check_arguments(execute, arguments))
        return self._checked(returned, model_run)

    def _checked(self, returned: object, run: RunSpec) -> Results:
        results = as_results(returned)
        if "success" not in results:
            raise PluginError(
                f"the pipeline {self.chosen_name} returned {describe(returned)}, so whether it succeeded "
                "cannot be determined; it must return a dict with 'success' (True or False), 'run_id' and "
                "'stages_completed'"
            )
        results = {"run_id": run.run_id, "stages_completed": [], **results}
        stage, doubt = _doubt(results, run) if results["success"] else (None, None)
        if doubt:
            message = f"the pipeline {self.chosen_name} reported success, but {doubt}"
            return {**results, "success": False, "stage": stage, "message": message, "error": message}
        if results["success"]:
            return results
        why = results.get("message") or results.get("error")
        message = str(why or f"the pipeline {self.chosen_name} reported a failure and no reason")
        return {"stage": "pipeline", "message": message, "error": message, **results}


def _doubt(results: Results, run: RunSpec) -> tuple[str | None, str | None]:
    """The stage in which a reported success is contradicted, and by what."""
    processed = results.get("postprocess_results")
    if isinstance(processed, Mapping) and as_bool(processed.get("success")) is False:
        return "postprocess", f"its postprocessor failed: {processed.get('message', '')}"
    try:
        record = RunRecord.load(run.workspace)
    except DamagedRecord as error:
        return "pipeline", str(error)
    if record is not None and record.ended and record.state != COMPLETED:
        error_facts = record.error or {}
        return str(error_facts.get("stage")), f"the run {record.state}: {error_facts.get('message', '')}"
    return None, None


def _is_like_rompys(execute: object) -> bool:
    """Whether it insists on configuration objects, as rompy 0.6 does; others take names as well."""
    return takes(execute, "backend_config") and not takes(execute, "run_backend")


def _with_rompy_configs(arguments: Mapping[str, object]) -> dict[str, object]:
    """The choices as the configuration objects that rompy's pipelines insist on."""
    given = dict(arguments)
    run_kwargs, process_kwargs = given.pop("run_kwargs", None), given.get("process_kwargs")
    backend = given.pop("run_backend", None)
    if given.get("backend_config") is None and backend is not None:
        given["backend_config"] = as_rompy(
            resolve_backend(backend, run_kwargs if isinstance(run_kwargs, Mapping) else {})
        )
    processor = given.get("processor", "noop")
    if processor is not None and not hasattr(processor, "get_postprocessor_class"):
        settings = process_kwargs if isinstance(process_kwargs, Mapping) else {}
        resolved = resolve_processors(processor, settings)
        if len(resolved) > 1:
            raise ConfigError("rompy's pipelines take one postprocessor; choose pipeline=local for several")
        given["processor"] = as_rompy(resolved[0])
        given.pop("process_kwargs", None)
    return given
