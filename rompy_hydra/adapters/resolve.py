"""From a name, a class, a configuration or an object to a run backend or postprocessor of this package."""

from __future__ import annotations

from collections.abc import Mapping

from rompy_hydra.adapters.postprocessor import bind_postprocessor
from rompy_hydra.adapters.run_backend import ForeignRunBackend
from rompy_hydra.core import scope
from rompy_hydra.errors import ConfigError, NotAPlugin, shortened
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.signatures import construct
from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.redaction import redacted
from rompy_hydra.run.base import BackendConfig, BaseRunBackend

# The attribute of a rompy configuration object that stands for a backend or postprocessor of this package.
WRAPPED = "rompy_hydra_wrapped"


def resolve_backend(backend: object, settings: Mapping[str, object]) -> BaseRunBackend:
    """A run backend from its name or class with settings, its configuration object, or itself."""
    backend = getattr(backend, WRAPPED, backend)
    check_choice("backend", backend)
    current = scope.current()
    composed = current.plan.backend if current else None
    if composed and backend == composed.plugin_name and _same(settings, composed.plugin_settings):
        return composed  # a pipeline plugin hands on the name and the settings that it was given
    name, backend = load_by_name("run", backend, "run_backend")
    if settings and not isinstance(backend, type):
        raise ConfigError(
            f"settings ({', '.join(settings)}) go with a backend's name; put them into the object"
        )
    if isinstance(backend, type) and issubclass(backend, BackendConfig):
        backend, settings = construct(backend, settings), {}
    if isinstance(backend, BackendConfig):
        backend = backend.get_backend_class()(backend)
    if isinstance(backend, type) and issubclass(backend, BaseRunBackend):
        backend = backend(None, **settings)
    return backend if isinstance(backend, BaseRunBackend) else ForeignRunBackend(backend, settings, name)


def resolve_processors(chosen: object, settings: Mapping[str, object]) -> tuple[BasePostprocessor, ...]:
    """One or several postprocessors from names, classes, configurations or objects, with `settings`."""
    current = scope.current()
    composed = current.plan.processors if current else ()
    same = bool(composed) and chosen == ",".join(p.plugin_name for p in composed)
    if same and (len(composed) > 1 or _same(settings, composed[0].plugin_settings)):
        return composed
    several = chosen if isinstance(chosen, list | tuple) and chosen else [chosen]
    for each in several:
        check_choice("processor", each)
    return tuple(resolve_processor(each, settings) for each in several)


def resolve_processor(processor: object, settings: Mapping[str, object]) -> BasePostprocessor:
    """One postprocessor with its settings."""
    processor = getattr(processor, WRAPPED, processor)
    if isinstance(processor, BasePostprocessor) and not settings:
        return processor
    name, processor = load_by_name("postprocess", processor, "processor")
    return bind_postprocessor(processor, settings, name)


def check_choice(argument: str, value: object) -> None:
    """ConfigError for something that chooses no plugin: a ValueError, of a wrong type also a TypeError."""
    wrong = value is None or isinstance(value, bool | int | float | bytes | list | tuple)
    if wrong or (isinstance(value, str) and not value.strip()):
        kind = NotAPlugin if wrong else ConfigError
        raise kind(
            f"{argument} must be a non-empty string, a configuration or an object of its class, "
            f"not {shortened(redacted(value))}"
        )


def load_by_name(category: str, chosen: object, argument: str) -> tuple[str, object]:
    """The plugin with a name, and the name; anything else as it is."""
    check_choice(argument, chosen)
    if not isinstance(chosen, str):
        return "", chosen
    return chosen, registry.find(category, chosen).load()


def _same(settings: Mapping[str, object], composed: Mapping[str, object]) -> bool:
    return not settings or dict(settings) == dict(composed)
