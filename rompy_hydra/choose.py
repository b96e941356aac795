"""From a name, a configuration, a class or an object to something that the stages can use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rompy_hydra import plugins
from rompy_hydra.errors import ConfigError, PluginError
from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.provenance import Json
from rompy_hydra.record import STAGES, plain
from rompy_hydra.run.base import BackendConfig, BaseRunBackend
from rompy_hydra.shapes import accepted, instantiated
from rompy_hydra.task import ChosenBackend, ChosenProcessor

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun


def chosen_backend(backend: object, settings: Mapping[str, object]) -> ChosenBackend:
    """A run backend from its name or class with settings, its configuration object, or itself."""
    name, backend = _named("run", backend, "run_backend")
    if settings and not isinstance(backend, type):
        raise ConfigError(
            f"settings ({', '.join(settings)}) go with a backend's name; put them into the object"
        )
    if isinstance(backend, BackendConfig):
        backend = backend.get_backend_class()(backend)
    if isinstance(backend, type) and issubclass(backend, BaseRunBackend):
        backend = backend(None, **settings)
    if isinstance(backend, BaseRunBackend):
        fields = plain(backend.config.model_dump(mode="json"))
        return ChosenBackend(backend.name, fields, backend=backend)
    return _foreign_backend(backend, name, settings)


def _foreign_backend(backend: object, name: str, settings: Mapping[str, object]) -> ChosenBackend:
    """A plugin in the reference's shape: `run(model_run, **kwargs)` or `run(model_run, config)`."""
    config: object = None
    if hasattr(backend, "get_backend_class"):
        config = backend
        instance, arguments = backend.get_backend_class()(), {"config": backend}
    else:
        instance, arguments = instantiated(backend, settings)
        config = arguments.get("config")
    run = getattr(instance, "run", None)
    if not callable(run):
        raise PluginError(f"{instance!r} is no run backend: it has no run()")
    accepted(run, arguments)  # told now, and not when the model is to start

    def call(model_run: ModelRun, workspace: Path) -> object:
        return run(model_run, **accepted(run, {**arguments, "workspace_dir": str(workspace)}))

    data = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(settings)
    return ChosenBackend(name or _name_of("run", instance), plain(data), call=call)


def chosen_processors(
    processors: Iterable[object], settings: Mapping[str, object]
) -> tuple[ChosenProcessor, ...]:
    """Postprocessors from names, classes, configurations or objects; `settings` go to each."""
    return tuple(chosen_processor(processor, settings) for processor in processors)


def chosen_processor(processor: object, settings: Mapping[str, object]) -> ChosenProcessor:
    """One postprocessor with its settings."""
    name, processor = _named("postprocess", processor, "processor")
    arguments = dict(settings)
    if hasattr(processor, "get_postprocessor_class"):
        arguments = {**_processor_fields(processor), **arguments}
        processor = processor.get_postprocessor_class()
    instance, arguments = instantiated(processor, arguments)
    process = getattr(instance, "process", None)
    if not callable(process):
        raise PluginError(f"{instance!r} is no postprocessor: it has no process()")
    arguments = accepted(process, arguments)
    data: dict[str, Json] = plain(settings)
    if isinstance(instance, BasePostprocessor):
        data = plain(instance.model_dump(mode="json")) | data

    def call(model_run: ModelRun) -> object:
        return process(model_run, **arguments)

    return ChosenProcessor(name or _name_of("postprocess", instance), call, data)


@dataclass(frozen=True)
class ChosenPipeline:
    """A pipeline backend with the settings that its `execute` gets."""

    backend: object
    settings: Mapping[str, object]

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(getattr(self.backend, "stages", STAGES))


def chosen_pipeline(pipeline: object, settings: Mapping[str, object]) -> ChosenPipeline:
    """A pipeline backend from its name or class with settings, or itself."""
    _, pipeline = _named("pipeline", pipeline, "pipeline_backend")
    instance, arguments = instantiated(pipeline, settings)
    if not callable(getattr(instance, "execute", None)):
        raise PluginError(f"{instance!r} is no pipeline backend: it has no execute()")
    return ChosenPipeline(instance, arguments)


def _processor_fields(config: object) -> dict[str, object]:
    """The settings of one of rompy's postprocessor configurations, less what is not the processor's."""
    data = config.model_dump() if isinstance(config, BaseModel) else dict(vars(config))
    return {k: v for k, v in data.items() if k not in {"timeout", "env_vars", "working_dir", "type"}}


def _named(category: str, chosen: object, argument: str) -> tuple[str, object]:
    """The plugin behind a name, with the name; anything else as it is."""
    if not isinstance(chosen, str):
        return "", chosen
    if not chosen.strip():
        raise ValueError(f"{argument} must be a non-empty string")
    return chosen, plugins.load(category, chosen)


def _name_of(category: str, instance: object) -> str:
    """The name under which an object's class is registered, or else the class's own."""
    own = getattr(instance, "name", None)
    return own if isinstance(own, str) else plugins.name_of(category, type(instance))
