"""From a name, a configuration, a class or an object to something that the stages can use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel

from rompy_hydra.adapters.run_backend import ForeignBackend
from rompy_hydra.errors import ConfigError, PluginError
from rompy_hydra.jsonable import Json, plain, to_plain
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.configured import ChosenBackend, ChosenProcessor
from rompy_hydra.plugins.construct import check_arguments, construct, instantiate
from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.run.base import BackendConfig, BaseRunBackend

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

# What one of rompy's configuration objects holds that stands for a backend or processor of ours.
WRAPPED = "rompy_hydra_wrapped"


class ChosenName(str):
    """The name of what was chosen, and that itself: a pipeline plugin may take it for either."""

    def __new__(cls, name: str, chosen: Sequence[ChosenBackend | ChosenProcessor]) -> Self:
        made = super().__new__(cls, name)
        made.chosen = tuple(chosen)
        return made

    chosen: tuple[ChosenBackend | ChosenProcessor, ...]

    def stands_for(self, settings: Mapping[str, object]) -> bool:
        """Whether nobody changed the settings on the way."""
        return not settings or (len(self.chosen) == 1 and dict(settings) == dict(self.chosen[0].settings))


def chosen_backend(backend: object, settings: Mapping[str, object]) -> ChosenBackend:
    """A run backend from its name or class with settings, its configuration object, or itself."""
    if isinstance(backend, ChosenName) and backend.stands_for(settings):
        backend = backend.chosen[0]
    backend = getattr(backend, WRAPPED, backend)
    if isinstance(backend, ChosenBackend):
        return backend
    name, backend = load_by_name("run", backend, "run_backend")
    if settings and not isinstance(backend, type):
        raise ConfigError(
            f"settings ({', '.join(settings)}) go with a backend's name; put them into the object"
        )
    if isinstance(backend, type) and issubclass(backend, BackendConfig):
        backend = construct(backend, settings)
        settings = {}
    if isinstance(backend, BackendConfig):
        backend = backend.get_backend_class()(backend)
    if isinstance(backend, type) and issubclass(backend, BaseRunBackend):
        backend = backend(None, **settings)
    if isinstance(backend, BaseRunBackend):
        fields = plain(backend.config.model_dump(mode="json"))
        return ChosenBackend(name_of("run", name, type(backend)), fields, backend=backend)
    foreign = ForeignBackend(backend, settings)

    def call(model_run: ModelRun, workspace: Path) -> object:
        return foreign.call(model_run, workspace)

    name = name_of("run", name, type(foreign.instance))
    return ChosenBackend(name, foreign.settings, call=call, check=foreign.check)


def chosen_processors(
    processors: Iterable[object], settings: Mapping[str, object]
) -> tuple[ChosenProcessor, ...]:
    """Postprocessors from names, classes, configurations or objects; `settings` go to each."""
    found: list[ChosenProcessor] = []
    for each in processors:
        known = each.chosen if isinstance(each, ChosenName) and each.stands_for(settings) else (each,)
        found += [chosen_processor(processor, settings) for processor in known]
    return tuple(found)


def chosen_processor(processor: object, settings: Mapping[str, object]) -> ChosenProcessor:
    """One postprocessor with its settings."""
    processor = getattr(processor, WRAPPED, processor)
    if isinstance(processor, ChosenProcessor):
        return processor
    name, processor = load_by_name("postprocess", processor, "processor")
    arguments = dict(settings)
    if isinstance(processor, type) and hasattr(processor, "get_postprocessor_class"):
        processor, arguments = construct(processor, settings), {}
    if hasattr(processor, "get_postprocessor_class"):
        arguments = {**_processor_fields(processor), **arguments}
        processor = processor.get_postprocessor_class()
    data = to_plain(arguments)
    instance, arguments = instantiate(processor, arguments, "postprocess")
    process = getattr(instance, "process", None)
    if not callable(process):
        raise PluginError(f"{instance!r} is no postprocessor: it has no process()")
    arguments = check_arguments(process, arguments)
    assert isinstance(data, dict)
    if isinstance(instance, BasePostprocessor):
        data = plain(instance.model_dump(mode="json")) | data

    def call(model_run: ModelRun) -> object:
        return process(model_run, **arguments)

    instant = isinstance(instance, BasePostprocessor) and instance.instant
    return ChosenProcessor(name_of("postprocess", name, type(instance)), call, data, instant)


def _processor_fields(config: Any) -> dict[str, object]:
    """The settings of one of rompy's postprocessor configurations, less what is not the processor's."""
    data = config.model_dump() if isinstance(config, BaseModel) else dict(vars(config))
    return {k: v for k, v in data.items() if k not in {"timeout", "env_vars", "working_dir", "type"}}


def load_by_name(category: str, chosen: object, argument: str) -> tuple[str, object]:
    """The plugin behind a name, with the name; anything else as it is."""
    if not isinstance(chosen, str):
        return "", chosen
    if not chosen.strip():
        raise ValueError(f"{argument} must be a non-empty string")
    return chosen, registry.load(category, chosen)


def name_of(category: str, given: str, cls: type) -> str:
    """The name of what was chosen: the one under which its class is registered, if it is."""
    known: Json = registry.name_of(category, cls)
    own = getattr(cls, "name", None)
    if known == cls.__name__:
        return given or (own if isinstance(own, str) else cls.__name__)
    return str(known)
