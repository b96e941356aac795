"""From a name, a configuration or an object to something that the stages can use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rompy_hydra import plugins
from rompy_hydra.errors import ConfigError, PluginError
from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.provenance import Json
from rompy_hydra.record import plain
from rompy_hydra.run.base import BackendConfig, BaseRunBackend
from rompy_hydra.task import ChosenBackend, ChosenProcessor

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun


def chosen_backend(backend: object, settings: Mapping[str, object]) -> ChosenBackend:
    """A run backend from its name with settings, its configuration object, its class or itself."""
    name = ""
    if isinstance(backend, str):
        if not backend.strip():
            raise ValueError("run_backend must be a non-empty string")
        name = backend
        backend = plugins.load("run", backend)
    elif settings:
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
        backend = backend.get_backend_class()
    instance = backend() if isinstance(backend, type) else backend
    run = getattr(instance, "run", None)
    if not callable(run):
        raise PluginError(f"{instance!r} is no run backend: it has no run()")

    def call(model_run: ModelRun, workspace: Path) -> object:
        given: dict[str, object] = {**settings, "workspace_dir": str(workspace)}
        if config is not None:
            given["config"] = config
        return run(model_run, **_accepted(run, given, optional={"workspace_dir"}))

    data = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(settings)
    return ChosenBackend(name or type(instance).__name__, plain(data), call=call)


def _accepted(
    function: Callable[..., object], given: dict[str, object], optional: set[str]
) -> dict[str, object]:
    """The arguments that a plugin's function takes; an `optional` one is left out if it knows it not."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return given
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return given
    return {k: v for k, v in given.items() if k in parameters or k not in optional}


def chosen_processors(
    processors: Iterable[object], settings: Mapping[str, object]
) -> tuple[ChosenProcessor, ...]:
    """Postprocessors from names, classes or objects; `settings` go to each."""
    return tuple(_chosen_processor(processor, settings) for processor in processors)


def _chosen_processor(processor: object, settings: Mapping[str, object]) -> ChosenProcessor:
    name = ""
    if isinstance(processor, str):
        if not processor.strip():
            raise ValueError("processor must be a non-empty string")
        name = processor
        processor = plugins.load("postprocess", processor)
    instance = processor() if isinstance(processor, type) else processor
    process = getattr(instance, "process", None)
    if not callable(process):
        raise PluginError(f"{instance!r} is no postprocessor: it has no process()")
    name = name or getattr(instance, "name", type(instance).__name__)
    data: dict[str, Json] = plain(settings)
    if isinstance(instance, BasePostprocessor):
        data = plain(instance.model_dump(mode="json")) | data

    def call(model_run: ModelRun) -> object:
        return process(model_run, **settings)

    return ChosenProcessor(name, call, data)
